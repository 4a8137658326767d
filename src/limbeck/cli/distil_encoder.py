"""`limbeck distil-encoder`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from limbeck.cli import lists, paths, screen
from limbeck.errors import ConfigError

if TYPE_CHECKING:
    from limbeck.recipes.students import StudentRecipe


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
        Literal["static", "layers", "narrow", "model"],
        typer.Option(
            help="static: a table of token vectors. The others are transformers, written as 8-bit ONNX: some layers "
            "of the teacher's, the same made narrower, or any sentence-transformers model."
        ),
    ] = "static",
    layers: Annotated[
        str | None,
        typer.Option(
            help="Which, from 0, in this order. When left out: 0,5 of the teacher's, or all of --model."
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of token vectors, for a smaller static student (the teacher's when left out), or of a narrow "
            "transformer (256 when left out).",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="For --student model: folder or hub name, such as a 3-layer MiniLM.")
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            help="An index made from --corpus: the encoder is taught over its codes as well, and finds more through "
            "them."
        ),
    ] = None,
    new_index: Annotated[
        Path | None,
        typer.Option(
            help="The codewords of --index move along, which finds still more: the index that fits is written here."
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over all texts, no more; when left out, more where texts are few."),
    ] = None,
    seed: int = 0,
    checkpoints: Annotated[
        Path | None, typer.Option(help="A folder: training that was stopped goes on from there.")
    ] = None,
    quiet: bool = False,
) -> None:
    """Distil a small query encoder for an index that exists already.

    No document is encoded or indexed anew, and answering needs no torch: `limbeck search --query-encoder`.
    """
    for path, kind in (
        (queries, "file of queries"),
        (more_queries, "file of queries"),
        (labels, "file of labels"),
    ):
        if path is not None:
            paths.file(path, kind)
    from limbeck.jobs.distil_encoder import distil_encoder as job

    recipe = _recipe(student, {"layers": layers, "width": width, "model": model}, epochs=epochs, seed=seed)
    encoder = job(
        queries,
        out=out,
        teacher=teacher,
        corpus=None if corpus is None else paths.corpus(corpus),
        recipe=recipe,
        more_queries=more_queries,
        labels=labels,
        index=None if index is None else paths.artefact(index),
        new_index=new_index,
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
        f'Next: limbeck search {new_index or index or "INDEX"} --query-encoder {out} "a question"',
        soft_wrap=True,
        markup=False,
    )


TAKES = {
    "static": ("width",),
    "layers": ("layers",),
    "narrow": ("width", "layers"),
    "model": ("model", "layers"),
}


def _recipe(student: str, asked: Mapping[str, Any], *, epochs: int | None, seed: int) -> StudentRecipe:
    """The recipe of this kind of student, with what was asked of it."""
    given = {name: value for name, value in asked.items() if value is not None}
    for name in given:
        if name not in TAKES[student]:
            others = " or ".join(f"--student {other}" for other, takes in TAKES.items() if name in takes)
            raise ConfigError(
                f"--student {student} takes no --{name}.\n\nHint: leave it out, or give {others}."
            )
    if "layers" in given:
        given["layers"] = lists.numbers(given["layers"], int, option="--layers", such_as="0,5")
    if student == "model" and "model" not in given:
        raise ConfigError("--student model needs the model.\n\nHint: add --model FOLDER_OR_HUB_NAME.")
    from limbeck.recipes.static_student import StaticQueries
    from limbeck.recipes.transformer_student import LayerQueries, ModelQueries, NarrowQueries

    kinds = {"static": StaticQueries, "layers": LayerQueries, "narrow": NarrowQueries, "model": ModelQueries}
    constants = {"seed": seed} if epochs is None else {"seed": seed, "epochs": epochs, "least_steps": 0}
    recipe: StudentRecipe = kinds[student](**constants, **given)
    return recipe
