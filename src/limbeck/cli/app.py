"""The program's verbs and what stands before them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from limbeck.cli.autopsy import autopsy
from limbeck.cli.compare import compare
from limbeck.cli.compress import build, distil
from limbeck.cli.diagnose import diagnose
from limbeck.cli.distil_encoder import distil_encoder
from limbeck.cli.doctor import doctor
from limbeck.cli.encode import encode
from limbeck.cli.evaluate import evaluate
from limbeck.cli.exchange import export_, import_
from limbeck.cli.hybrid import hybrid
from limbeck.cli.make_queries import make_queries
from limbeck.cli.plan import plan
from limbeck.cli.quickstart import quickstart
from limbeck.cli.search import search
from limbeck.cli.serve import serve
from limbeck.cli.systems import systems
from limbeck.cli.verb import verb
from limbeck.cli.verify import verify

app = typer.Typer(
    name="limbeck",
    help="Distil any embedding model into an index 50 to 100 times smaller, prove what was kept, and serve it.",
    epilog="Exit codes: 0 done, 1 a defect of Limbeck, 2 bad input, 3 a damaged or foreign index, "
    "4 disk or memory, 5 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _version(asked: bool) -> None:
    if asked:
        from limbeck.version import __version__

        sys.stdout.write(f"limbeck {__version__}\n")
        raise typer.Exit


@app.callback()
def _before(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


PANELS: dict[str, dict[str, Callable[..., None]]] = {
    "See it work": {"quickstart": quickstart},
    "Make": {
        "plan": plan,
        "distil": distil,
        "build": build,
        "distil-encoder": distil_encoder,
        "make-queries": make_queries,
        "hybrid": hybrid,
        "encode": encode,
    },
    "Use": {"search": search, "serve": serve, "export": export_, "import": import_},
    "Judge": {
        "evaluate": evaluate,
        "autopsy": autopsy,
        "diagnose": diagnose,
        "compare": compare,
        "verify": verify,
        "doctor": doctor,
        "systems": systems,
    },
}
for panel, functions in PANELS.items():
    for name, function in functions.items():
        app.command(name, rich_help_panel=panel)(verb(function))
