"""`limbeck compare`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.cli import paths, screen
from limbeck.cli.evaluate import MEASURES, Measures, split_names

if TYPE_CHECKING:
    from rich.table import Table

    from limbeck.evaluate import Comparison


def compare(
    run_a: Annotated[Path, typer.Argument(help="A TREC run: the baseline.")],
    run_b: Annotated[Path, typer.Argument(help="A TREC run: what is held against it.")],
    qrels: Annotated[Path, typer.Option(help="The labels: BEIR's .tsv or TREC qrels.")],
    measures: Measures = MEASURES,
    margin: Annotated[
        float,
        typer.Option(min=1e-9, max=1, help="A difference below this does not matter; 0.005 = half a point."),
    ] = 0.005,
    seed: Annotated[int, typer.Option(help="Of the bootstrap and of the permutations.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="For a machine to read.")] = False,
) -> None:
    """Compare two runs on the same queries: interval, permutation test, and whether they are as good as equal."""
    for path in (run_a, run_b):
        paths.file(path, "TREC run")
    paths.file(qrels, "file of labels")
    from limbeck.data import Qrels, Run
    from limbeck.evaluate import compare_systems, score_run

    labels, names = Qrels.open(qrels), split_names(measures)
    first, second = (score_run(Run.open(path), labels, names) for path in (run_a, run_b))
    found = compare_systems(
        first,
        {str(run_b): second},
        baseline_name=str(run_a),
        margin=margin,
        seed=seed,
        measures=first.measures,
    )
    if json:
        rows = [{**asdict(one), "is_equivalent": one.equivalence.is_equivalent} for one in found]
        screen.write_json({"queries": len(first), "comparisons": rows})
        return
    screen.results().print(table(found, queries=len(first)))


def table(found: list[Comparison], *, queries: int) -> Table:
    """A row a measure."""
    from rich import box
    from rich.table import Table

    shown = Table(
        title=f"{found[0].system} against {found[0].baseline}, {queries:,} queries",
        caption="interval: 95 %, paired bootstrap; p: paired permutation test, Holm over the rows",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for heading in ("measure", "baseline", "other", "difference", "interval", "p", "in words"):
        shown.add_column(heading, no_wrap=heading != "in words")
    for one in found:
        low, high = one.difference.low, one.difference.high
        shown.add_row(
            one.measure,
            f"{one.baseline_mean:.4f}",
            f"{one.mean:.4f}",
            f"{one.difference.mean:+.4f}",
            f"[{low:+.4f}, {high:+.4f}]".replace("[", r"\["),
            f"{one.p_adjusted:.4f}",
            in_words(one),
        )
    return shown


def in_words(found: Comparison, *, alpha: float = 0.01) -> str:
    """What the figures allow to say, and no more."""
    points = f"{100 * found.equivalence.margin:g} points"
    if found.p_adjusted < alpha:
        size = f", by less than {points}" if found.equivalence.is_equivalent else ""
        return f"{'better' if found.is_better else 'worse'} (p < {alpha:g}){size}"
    if found.equivalence.is_equivalent:
        return f"equal within {points} at {found.equivalence.level:.0%}"
    if found.equivalence.is_non_inferior:
        return f"not worse by more than {points}"
    return "undecided: too few queries, or too small a difference"
