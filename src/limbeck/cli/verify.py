"""`limbeck verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli import paths, screen
from limbeck.cli.failures import BAD_ARTEFACT


def verify(
    folder: Annotated[Path, typer.Argument(help="The folder of an index.")],
    json: Annotated[bool, typer.Option("--json", help="For a machine to read.")] = False,
) -> None:
    """Read every file of an index and compare it with its sha256. All bad files are named; exit code 3."""
    paths.artefact(folder)
    from limbeck.index.store import open_current
    from limbeck.index.store import verify as problems_of

    problems = problems_of(folder)
    files = 0 if problems else len(open_current(folder, verify=False)[1].files)
    if json:
        screen.write_json({"folder": str(folder), "is_whole": not problems, "problems": problems})
    elif not problems:
        screen.results().print(f"{folder}: whole, {files} files.", soft_wrap=True, markup=False)
    else:
        console = screen.messages()
        console.print(f"Error: {folder} is damaged:", style="bold red", markup=False)
        for problem in problems:
            console.print(f"  {problem}", markup=False)
        console.print("  Hint: copy the index again from where it was made, or make it again.", markup=False)
    if problems:
        raise typer.Exit(BAD_ARTEFACT)
