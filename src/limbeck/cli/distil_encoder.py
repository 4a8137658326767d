"""`limbeck distil-encoder`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from limbeck.cli import lists, paths, screen
from limbeck.errors import ConfigError

if TYPE_CHECKING:
    from limbeck.recipes.static_student import StaticQueries
    from limbeck.recipes.transformer_student import LayerQueries


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
    more_queries: Annotated[
        Path | None,
        typer.Option(help="Matched beside the queries: a file that `limbeck make-queries` made."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Relevant documents of the queries, learned from as well: BEIR TSV or TREC."),
    ] = None,
    student: Annotated[
        Literal["static", "layers"],
        typer.Option(help="static: a table of token vectors. layers: some of the teacher's, as 8-bit ONNX."),
    ] = "static",
    layers: Annotated[
        str | None, typer.Option(help="Which of the teacher's, from 0, in this order: 0,5 when left out.")
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            min=1, help="Of token vectors, for a smaller static student: 128. The teacher's when left out."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over all texts.")] = None,
    seed: int = 0,
    checkpoints: Annotated[
        Path | None, typer.Option(help="A folder: training that was stopped goes on from there.")
    ] = None,
    quiet: bool = False,
) -> None:
    """Distil a small query encoder for an index that exists already.

    Nothing is encoded or indexed anew, and answering needs no torch: `limbeck search --query-encoder`.
    """
    for path, kind in (
        (queries, "file of queries"),
        (more_queries, "file of queries"),
        (labels, "file of labels"),
    ):
        if path is not None:
            paths.file(path, kind)
    from limbeck.jobs.distil_encoder import distil_encoder as job

    recipe = _recipe(student, layers, width, epochs=epochs, seed=seed)
    encoder = job(
        queries,
        out=out,
        teacher=teacher,
        corpus=None if corpus is None else paths.corpus(corpus),
        recipe=recipe,
        more_queries=more_queries,
        labels=labels,
        checkpoints=checkpoints,
        progress=not quiet,
    )
    console = screen.results()
    console.print(
        f"{out}: a query encoder of width {encoder.dim} ({student}), "
        f"{sum(file.stat().st_size for file in out.iterdir()) / 1e6:.1f} MB.",
        soft_wrap=True,
        markup=False,
    )
    console.print(
        f'Next: limbeck search INDEX --query-encoder {out} "a question"', soft_wrap=True, markup=False
    )


def _recipe(
    student: str, layers: str | None, width: int | None, *, epochs: int | None, seed: int
) -> StaticQueries | LayerQueries:
    constants: dict[str, Any] = {"seed": seed} if epochs is None else {"seed": seed, "epochs": epochs}
    if student == "static":
        if layers is not None:
            raise ConfigError("--layers is for transformers.\n\nHint: add --student layers.")
        from limbeck.recipes.static_student import StaticQueries

        return StaticQueries(width=width, **constants)
    if width is not None:
        raise ConfigError("--width is for static students.\n\nHint: leave it out, or add --student static.")
    from limbeck.recipes.transformer_student import LayerQueries

    return (
        LayerQueries(**constants)
        if layers is None
        else LayerQueries(layers=lists.numbers(layers, int, option="--layers", such_as="0,5"), **constants)
    )
