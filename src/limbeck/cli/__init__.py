"""The command line: one small file a verb. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import sys

__all__ = ["main"]

_ENDED_BY_SIGNAL = 130  # what typer makes of Ctrl-C before a verb has begun


def main() -> None:
    """The program `limbeck`. Exit codes: 0 done, 1 a defect, 2 bad input, 3 bad artefact, 4 storage, 5 interrupted."""
    from limbeck.cli.failures import INTERRUPTED

    try:
        from limbeck.cli.app import app

        app(prog_name="limbeck")
    except KeyboardInterrupt:
        code: str | int | None = _ENDED_BY_SIGNAL
    except SystemExit as ended:
        code = ended.code
    if code == _ENDED_BY_SIGNAL:  # nothing had begun yet; a verb says itself what it leaves
        sys.stderr.write("Error: interrupted before anything was done.\n")
        code = INTERRUPTED
    sys.exit(code)
