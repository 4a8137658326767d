"""`limbeck serve`: an index behind HTTP, with a page to search it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli import paths, screen
from limbeck.errors import ConfigError, MissingExtra, StorageError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TOKEN = "LIMBECK_TOKEN"


def serve(
    index: Annotated[Path, typer.Argument(help="Index folder.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine's need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
    query_encoder: Annotated[
        Path | None, typer.Option(help="Folder of another query encoder, such as `distil-encoder` writes.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help=f"File with the token that clients send; or the variable {TOKEN}.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Name by which this server may be called; `*` = any. May be repeated."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Site whose pages may ask, such as https://a.org. May be repeated."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Searches at once; all cores when left out.", min=1)
    ] = None,
    queue: Annotated[
        int, typer.Option(help="Requests that may wait; more are told to come again.", min=1)
    ] = 64,
    patience: Annotated[
        float,
        typer.Option(help="Seconds that a request may take to be sent, and again to be answered.", min=0.1),
    ] = 10.0,
    read_only: Annotated[bool, typer.Option("--read-only", help="Take no new documents.")] = False,
    page: Annotated[bool, typer.Option(help="Serve the search page at /.")] = True,
) -> None:
    """Serve an index: a search page, and an API that `/openapi.json` describes.

    [bold]limbeck serve my-index[/bold]   then open http://127.0.0.1:8000
    """
    paths.existing(index, "index")
    token = _token(token_file)
    if host not in LOOPBACK and token is None:
        raise ConfigError(
            f"listening on {host} lets others in, and there is no token.\n\n"
            f"Hint: put one into the variable {TOKEN} or a file for --token-file, or leave --host out."
        )
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a thread a search: before faiss reads it
    try:
        from limbeck.serve.limits import Limits
        from limbeck.serve.run import run
    except ModuleNotFoundError as error:
        if error.name in ("fastapi", "uvicorn", "starlette", "httptools", "prometheus_client"):
            raise MissingExtra(
                f"`limbeck serve` needs {error.name}.\n\nHint: pip install 'limbeck[serve]'."
            ) from error
        raise
    run(
        index,
        host=host,
        port=port,
        encoder=query_encoder,
        token=token,
        hosts=allow_host or (),
        origins=allow_origin or (),
        limits=Limits(
            threads=threads or os.cpu_count() or 1,
            queue=queue,
            body_seconds=patience,
            request_seconds=patience,
        ),
        read_only=read_only,
        page=page,
        say=lambda line: screen.messages().print(line, markup=False, soft_wrap=True),
    )


def _token(path: Path | None) -> str | None:
    """From the file, else from the environment; never from an argument, which others can read."""
    if path is None:
        found = os.environ.get(TOKEN)
    else:
        try:
            found = path.read_text().strip()
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}.") from error
    if found is not None and len(found) < 16:
        raise ConfigError(f"the token has {len(found)} characters; must have at least 16.")
    return found
