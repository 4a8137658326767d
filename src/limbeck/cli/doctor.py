"""`limbeck doctor`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.cli import paths, screen
from limbeck.cli.failures import BAD_INPUT
from limbeck.errors import DataError

if TYPE_CHECKING:
    from rich.table import Table

    from limbeck.data.doctor import Finding

COLOURS = {"error": "bold red", "warning": "yellow", "note": "dim"}


def doctor(
    path: Annotated[
        Path, typer.Argument(help="A BEIR folder, a file of documents or labels, or a .npy file.")
    ],
    json: Annotated[bool, typer.Option("--json", help="For a machine to read.")] = False,
) -> None:
    """Find everything that is wrong with data, all at once. Exit code 2 where something would stop a job."""
    paths.existing(path, "file or folder")
    if paths.is_artefact(path):
        raise DataError(f"{path}: is an index, not data.\n\nHint: limbeck verify {path}")
    from limbeck.data.doctor import examine

    findings = examine(path)
    errors = sum(finding.level == "error" for finding in findings)
    if json:
        screen.write_json([asdict(finding) for finding in findings])
    else:
        console = screen.results()
        if findings:
            console.print(table(findings))
        console.print(f"{path}: {summary(findings)}", soft_wrap=True, markup=False)
    if errors:
        raise typer.Exit(BAD_INPUT)


def summary(findings: list[Finding]) -> str:
    """How many of each level."""
    if not findings:
        return "nothing wrong was found."
    counts = {level: sum(finding.level == level for finding in findings) for level in COLOURS}
    return ", ".join(f"{count} {level}{'s' * (count > 1)}" for level, count in counts.items() if count) + "."


def table(findings: list[Finding]) -> Table:
    """What, where, and what to do."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table("", "what", "where", "what to do", box=box.SIMPLE_HEAD)
    for finding in findings:
        level = Text(finding.level, style=COLOURS[finding.level])
        shown.add_row(level, Text(finding.what), Text(finding.where), Text(finding.fix))
    return shown
