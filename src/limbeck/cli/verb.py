"""What all verbs share: --quiet, --verbose, --debug, the log, and failures that become exit codes."""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from limbeck.cli import screen
from limbeck.cli.failures import STORAGE, failure_of

PANEL = "Messages"
Quiet = Annotated[
    bool, typer.Option("--quiet", help="No progress, no notes: errors only.", rich_help_panel=PANEL)
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what is done.", rich_help_panel=PANEL)]
Debug = Annotated[bool, typer.Option("--debug", help="Full traceback of an error.", rich_help_panel=PANEL)]
_SHARED = {"quiet": Quiet, "verbose": Verbose, "debug": Debug}


def verb(run: Callable[..., None]) -> Callable[..., None]:
    """The function with the shared options; `quiet` is passed on where the function asks for it."""
    own = inspect.signature(run, eval_str=True)
    takes_quiet = "quiet" in own.parameters

    def guarded(**arguments: Any) -> None:
        quiet, verbose, debug = (bool(arguments.pop(name)) for name in _SHARED)
        if takes_quiet:
            arguments["quiet"] = quiet
        with _messages(quiet=quiet, verbose=verbose), _exit_codes(debug=debug):
            run(**arguments)

    kept = [parameter for name, parameter in own.parameters.items() if name not in _SHARED]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in _SHARED.items()
    ]
    guarded.__signature__ = inspect.Signature([*kept, *shared])  # type: ignore[attr-defined]
    guarded.__annotations__ = {p.name: p.annotation for p in (*kept, *shared)}
    guarded.__doc__, guarded.__name__ = run.__doc__, run.__name__
    return guarded


@contextlib.contextmanager
def _exit_codes(*, debug: bool) -> Iterator[None]:
    """Whatever is raised inside becomes a line on stderr and an exit code."""
    try:
        yield
    except (typer.Exit, typer.BadParameter):
        raise
    except BrokenPipeError:  # `limbeck search ... | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(STORAGE) from None
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            import traceback

            traceback.print_exc()
        failure = failure_of(error, command=["limbeck", *sys.argv[1:]])
        screen.show_failure(failure)
        raise typer.Exit(failure.code) from None


@contextlib.contextmanager
def _messages(*, quiet: bool, verbose: bool) -> Iterator[None]:
    """The library's log and warnings as lines on stderr while a verb runs."""
    log = logging.getLogger("limbeck")
    before, handler = log.level, _Lines()
    log.addHandler(handler)
    log.setLevel(logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING)
    with warnings.catch_warnings():
        if not verbose:
            _only_ours(quiet=quiet)
        try:
            yield
        finally:
            log.removeHandler(handler)
            log.setLevel(before)


def _only_ours(*, quiet: bool) -> None:
    """Warnings of other packages are for those who develop; a user can do nothing about them."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if not quiet and category.__module__.startswith("limbeck"):
            screen.show_warning(str(message))

    warnings.showwarning = show


class _Lines(logging.Handler):
    """Each record as one line: notes dim, warnings yellow."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # a note whose words and figures do not fit must not end a job
            self.handleError(record)
            return
        if record.levelno >= logging.WARNING:
            screen.show_warning(text)
        else:
            screen.messages().print(text, style="dim", markup=False)
