"""`limbeck evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from limbeck.cli import paths, screen

MEASURES = ["RR@10", "R@100"]
Measures = Annotated[
    list[str], typer.Option("--measure", "-m", help="As ir-measures spells it; may be given again.")
]


def evaluate(
    folder: Annotated[Path, typer.Argument(help="The folder of an index.")],
    data: Annotated[Path, typer.Argument(help="The BEIR folder that it was made from.")],
    split: Annotated[str, typer.Option(help="Which queries.")] = "test",
    mode: Annotated[
        Literal["dense", "lexical", "hybrid"],
        typer.Option(help="By vectors, by words, or by both: the last two once `limbeck hybrid` added BM25."),
    ] = "dense",
    exact: Annotated[
        bool, typer.Option("--exact", help="Also search exactly with MiniLM's vectors, and compare.")
    ] = False,
    teacher: Annotated[
        str | None, typer.Option(help="The same with another model: the one that made the index.")
    ] = None,
    query_encoder: Annotated[
        Path | None,
        typer.Option(
            help="Ask with this encoder, which `limbeck distil-encoder` made, instead of the index's own. Exact search "
            "stays the teacher's."
        ),
    ] = None,
    measures: Measures = MEASURES,
    effort: Annotated[
        float | None, typer.Option(help="Share of the coarse lists to visit, above 0 and at most 1 (all).")
    ] = None,
    run_to: Annotated[Path | None, typer.Option(help="Write the answers as a TREC run.")] = None,
    json: Annotated[bool, typer.Option("--json", help="For a machine to read.")] = False,
    quiet: bool = False,
) -> None:
    """Measure an index on labelled queries; with --exact or --teacher also how much of exact search it keeps."""
    paths.artefact(folder)
    from limbeck.jobs.evaluate import evaluate as job

    report = job(
        folder,
        paths.dataset(data),
        split=split,
        mode=mode,
        measures=split_names(measures),
        effort=effort,
        teacher=teacher or (default_name() if exact else None),
        query_encoder=None if query_encoder is None else paths.encoder(query_encoder),
        run_to=run_to,
        progress=not quiet,
    )
    if json:
        screen.write_json(report.to_json())
    else:
        screen.results().print(report.to_rich(costs="all"))


def default_name() -> str:
    """The hub name of the default teacher."""
    from limbeck.encoders.default_teacher import DEFAULT_TEACHER

    return DEFAULT_TEACHER


def split_names(measures: list[str]) -> tuple[str, ...]:
    """`-m RR@10 -m R@100`, `-m "RR@10 R@100"` and `-m RR@10,R@100` are one thing."""
    names = [name for given in measures for name in given.replace(",", " ").split()]
    return tuple(dict.fromkeys(names))
