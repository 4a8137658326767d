"""`limbeck encode`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from limbeck.cli import paths, screen
from limbeck.errors import ConfigError


def encode(
    corpus: Annotated[Path, typer.Argument(help="A BEIR folder, or a file of documents or queries.")],
    out: Annotated[Path, typer.Argument(help="A folder, or a file NAME.npy; ids go beside it.")],
    teacher: Annotated[
        str | None,
        typer.Option(help="A sentence-transformers model: folder or hub name. MiniLM when left out."),
    ] = None,
    side: Annotated[
        Literal["doc", "query"], typer.Option(help="Which prompt the model puts before each text.")
    ] = "doc",
    split: Annotated[
        str | None, typer.Option(help="Queries of this split alone (a BEIR folder with --side query).")
    ] = None,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"], typer.Option(help="auto = bfloat16 where the CPU has it.")
    ] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Texts at a time.")] = 64,
    quiet: bool = False,
) -> None:
    """Turn texts into vectors on disk. Stopped at any moment, the same command goes on where it was."""
    if split is not None and side != "query":
        raise ConfigError("--split chooses among queries.\n\nHint: add --side query.")
    from limbeck.jobs.encode import encode as job

    vectors = job(
        paths.corpus(corpus),
        out,
        teacher=teacher,
        side=side,
        split=split,
        precision=precision,
        batch_size=batch_size,
        progress=not quiet,
    )
    screen.results().print(
        f"{out}: {len(vectors):,} vectors of width {vectors.dim}.", soft_wrap=True, markup=False
    )
