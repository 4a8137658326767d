"""From a folder to a running server."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from limbeck.errors import StorageError
from limbeck.index.journal import Journal
from limbeck.serve.app import Settings, create_app
from limbeck.serve.changes import Applier
from limbeck.serve.limits import Limits
from limbeck.serve.live import Live
from limbeck.serve.server import serve
from limbeck.serve.service import Service

log = logging.getLogger(__name__)


def run(
    index: Path,
    *,
    host: str,
    port: int,
    encoder: Path | None,
    token: str | None,
    hosts: Sequence[str],
    origins: Sequence[str],
    limits: Limits,
    read_only: bool,
    page: bool,
    say: Callable[[str], None],
) -> None:
    """Open the index, answer until a signal comes. raises ArtefactError, StorageError before anything is listening"""
    _refuse_taken_port(host, port)
    live = Live(index, encoder=encoder)
    journal = None if read_only else _journal(index)
    settings = Settings(limits=limits, token=token, hosts=(host, *hosts), origins=origins, page=page)
    applier = None if journal is None else Applier(index)
    app, state = create_app(Service(live, journal), settings, applier=applier)
    say(f"{len(live.current.searcher):,} documents at http://{_shown(host)}:{port}")
    serve(app, state, host=host, port=port, limits=limits)


def _journal(index: Path) -> Journal | None:
    """None where the folder cannot be written: it is served all the same."""
    try:
        return Journal(index)
    except StorageError as error:
        log.warning("no changes are taken: %s", error)
        return None


def _refuse_taken_port(host: str, port: int) -> None:
    """Uvicorn would open the index first, and end with a log line."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            raise StorageError(
                f"cannot listen on {host}:{port}: {error.strerror}.\n\nHint: give another --port."
            ) from error


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
