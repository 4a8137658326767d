"""`limbeck quickstart`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.cli import screen

if TYPE_CHECKING:
    from limbeck.jobs.quickstart import Outcome


def quickstart(
    documents: Annotated[
        int, typer.Option(min=256, max=50_000, help="How many functions and classes to harvest.")
    ] = 8000,
    out: Annotated[Path, typer.Option(help="Where index, report and plot go.")] = Path("runs/quickstart"),
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    quiet: bool = False,
) -> None:
    """Run the whole main job on data that this machine holds already, and show what was kept.

    Harvests the functions and classes of the standard library and of installed packages, encodes them with MiniLM,
    compresses them with PQ, OPQ and Distill-VQ at 16 and 32 bytes and with Limbeck's own codes at 16, and measures all
    of them on held-out queries.
    """
    from limbeck.jobs.make import refuse_unwritable
    from limbeck.jobs.quickstart import quickstart as job

    refuse_unwritable(out)
    console, started = screen.messages(), time.perf_counter()

    def say(text: str) -> None:
        if not quiet:
            console.print(f"[dim]{time.perf_counter() - started:6.1f} s[/dim]  {text}", soft_wrap=True)

    show(job(out, documents=documents, seed=seed, say=say, progress=not quiet), out)


def show(outcome: Outcome, out: Path) -> None:
    """The table, the sample searches, the cost, and what to type next."""
    console = screen.results()
    console.print(outcome.report.to_rich())
    for question, answers in outcome.answers:
        console.print(f"\n[bold]{question}[/bold]")
        for answer in answers:
            console.print(f"  {answer.score:.3f}  [cyan]{answer.id}[/cyan]", soft_wrap=True)
            console.print(f"         {first_line(answer.text)}", style="dim", markup=False, soft_wrap=True)
    console.print(
        f"\n{outcome.seconds:.0f} s, at most {outcome.peak_bytes / 1e9:.1f} GB of memory. Left behind:",
        highlight=False,
    )
    for path, what in (
        (outcome.artefact, "Limbeck's 16-byte index, with its query encoder and documents"),
        (out / "report.md", "the table (report.json: in full precision)"),
        (out / "quality.png", "quality against bytes"),
    ):
        console.print(f"  {path}  {what}", markup=False, soft_wrap=True)
    console.print("\nNext:")
    for command in (
        f'limbeck search {outcome.artefact} "flatten a nested list"',
        "limbeck distil --corpus YOUR.jsonl --queries YOUR-QUERIES.jsonl --method limbeck --out YOUR-INDEX",
        "limbeck systems",
    ):
        console.print(f"  {command}", markup=False, soft_wrap=True)


def first_line(text: str, width: int = 100) -> str:
    """The first line that says something, cut to a width."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= width else line[: width - 1] + "…"
