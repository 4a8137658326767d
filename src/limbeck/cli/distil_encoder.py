"""`limbeck distil-encoder`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli import paths, screen


def distil_encoder(
    out: Annotated[
        Path, typer.Option(help="The folder of the new encoder; one there is replaced, once this is done.")
    ],
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Queries of the kind that will be asked, without labels: .jsonl or .tsv, plain or .gz. A BEIR folder "
            "as --corpus brings its own."
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(help="The encoder that made the index: folder or hub name. MiniLM when left out."),
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(help="A BEIR folder or a file of documents: they are matched too, which keeps more."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over all texts.")] = None,
    seed: int = 0,
    checkpoints: Annotated[
        Path | None, typer.Option(help="A folder: training that was stopped goes on from there.")
    ] = None,
    quiet: bool = False,
) -> None:
    """Distil a small query encoder for an index that exists already.

    It is a table of token vectors: a hundredth of the teacher's time a query, without torch. Nothing is encoded or
    indexed anew; `limbeck search --query-encoder` answers with it.
    """
    if queries is not None:
        paths.existing(queries, "file of queries")
    from limbeck.jobs.distil_encoder import distil_encoder as job
    from limbeck.recipes.static_student import StaticQueries

    recipe = StaticQueries(seed=seed) if epochs is None else StaticQueries(seed=seed, epochs=epochs)
    encoder = job(
        queries,
        out=out,
        teacher=teacher,
        corpus=None if corpus is None else paths.corpus(corpus),
        recipe=recipe,
        checkpoints=checkpoints,
        progress=not quiet,
    )
    console = screen.results()
    console.print(
        f"{out}: a static encoder of width {encoder.dim}, {len(encoder.table.scales):,} tokens, "
        f"{encoder.nbytes / 1e6:.1f} MB.",
        soft_wrap=True,
        markup=False,
    )
    console.print(
        f'Next: limbeck search INDEX --query-encoder {out} "a question"', soft_wrap=True, markup=False
    )
