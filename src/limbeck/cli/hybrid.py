"""`limbeck hybrid`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from limbeck.cli import paths, screen
from limbeck.errors import ConfigError


def hybrid(
    folder: Annotated[Path, typer.Argument(help="The folder of an index.")],
    queries_of: Annotated[
        Path | None,
        typer.Option(
            help="The BEIR folder that was distilled: the weight of vectors against words is fitted on its labels."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Which of its queries, never those you report on: dev when left out.")
    ] = None,
    analyser: Annotated[
        Literal["english", "cjk", "words"] | None,
        typer.Option(help="How texts become words; guessed from the documents when left out."),
    ] = None,
    depth: Annotated[int, typer.Option(min=1, help="Candidates of each side.")] = 100,
    quiet: bool = False,
) -> None:
    """Add BM25 to an index, for searches by words and by both: `limbeck search --mode hybrid`.

    Nothing else in the index changes. Without --queries-of both sides count by their ranks.
    """
    paths.artefact(folder)
    if split is not None and queries_of is None:
        raise ConfigError("--split was given without --queries-of.\n\nHint: give the BEIR folder as well.")
    from limbeck.jobs.hybrid import hybrid as job

    searcher = job(
        folder,
        None if queries_of is None else paths.dataset(queries_of),
        split=split or "dev",
        analyser=analyser,
        depth=depth,
        progress=not quiet,
    )
    part = searcher.lexical_part
    if quiet or part is None:
        return
    console = screen.results()
    size = f"{part.index.nbytes / 1e6:.1f} MB for {len(part.index):,} documents"
    console.print(f"BM25 by {part.index.described.analyser!r}: {size}.", markup=False)
    if not part.fitted_on:
        console.print("Both sides count by their ranks; --queries-of fits a weight.", markup=False)
        return
    figures = ", ".join(f"{side} {figure:.4f}" for side, figure in part.fitted_on["nDCG@10"].items())
    asked = f"{part.fitted_on['queries']:,} queries of {part.fitted_on['split']}"
    console.print(
        f"Vectors weigh {part.fusion.weight:g}. nDCG@10 on the {asked} that this was fitted on: {figures}.",
        markup=False,
    )
