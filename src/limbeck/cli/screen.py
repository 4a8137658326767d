"""What goes where: results to stdout, progress and messages to stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from limbeck.cli.failures import Failure


def results() -> Console:
    """The console of results. In a pipe it is as wide as its lines need, so that nothing is folded."""
    from rich.console import Console

    is_terminal = sys.stdout.isatty()
    return Console(file=sys.stdout, width=None if is_terminal else 200, highlight=False)


def messages() -> Console:
    """The console of progress and messages."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def write_json(value: Any) -> None:
    """One JSON document on stdout, or a string that holds one already."""
    text = (
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1)
    )
    sys.stdout.write(text + "\n")


def show_found(title: str, table: Any, written: tuple[Path, ...] | None) -> None:
    """What a judging verb found, under its title, and the files that hold it."""
    console = results()
    console.print(title, style="bold cyan", markup=False)
    console.print(table)
    if written is not None:
        console.print("Written: " + " and ".join(map(str, written)), soft_wrap=True, markup=False)


def show_failure(failure: Failure) -> None:
    """One red line, and below it what to do."""
    from rich.text import Text

    console = messages()
    console.print(Text(f"Error: {failure.what}", style="bold red"))
    if failure.hint:
        console.print(Text(f"  Hint: {failure.hint}"))


def show_warning(text: str) -> None:
    """A yellow line."""
    from rich.text import Text

    messages().print(Text(f"Warning: {' '.join(text.split())}", style="yellow"))
