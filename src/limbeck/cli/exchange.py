"""`limbeck export` and `limbeck import`: plain faiss files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from limbeck.cli import paths, screen
from limbeck.errors import ConfigError, DataError


def export_(
    folder: Annotated[Path, typer.Argument(help="The folder of an index.")],
    out: Annotated[Path, typer.Argument(help="The faiss file to write; ids go beside it.")],
    drop_routing: Annotated[
        bool,
        typer.Option(
            "--drop-routing",
            help="Leave out learned routing vectors, which plain faiss cannot hold: less recall.",
        ),
    ] = False,
) -> None:
    """Write a plain faiss file with the same codes and scores."""
    paths.artefact(folder)
    if out.is_dir():
        raise DataError(
            f"{out}: is a folder; expected a file to write.\n\nHint: {out / (folder.name + '.faiss')}"
        )
    from limbeck.jobs.exchange import export_faiss

    routing: Literal["keep", "base"] = "base" if drop_routing else "keep"
    try:
        written, ids = export_faiss(folder, out, routing=routing)
    except ConfigError as error:
        what, _, hint = str(error).partition("\n\n")
        hint = "add --drop-routing to leave them out, which costs recall." if "routed" in what else hint
        raise ConfigError(f"{what}\n\nHint: {hint}") from error
    screen.results().print(f"{written}, and its ids in row order: {ids}", soft_wrap=True, markup=False)


def import_(
    file: Annotated[Path, typer.Argument(help="A faiss file: PQ, OPQ, IVF-PQ or IVF-OPQ.")],
    out: Annotated[Path, typer.Argument(help="The folder of the new index.")],
    ids: Annotated[
        Path | None,
        typer.Option(help="One id a line, in row order (.jsonl: JSON strings). Row numbers when left out."),
    ] = None,
    similarity: Annotated[
        Literal["cosine", "dot", "l2"] | None,
        typer.Option(help="How the vectors behind it were meant; refused if the file says otherwise."),
    ] = None,
) -> None:
    """Make an index folder of a faiss file: same codes, same scores, same order."""
    paths.file(file, "faiss file")
    if file.suffix == ".npy":
        raise DataError(
            f"{file}: holds vectors, not a faiss index.\n\n"
            f"Hint: limbeck build --corpus {file} --similarity cosine --out {out}"
        )
    if ids is not None:
        paths.file(ids, "file of ids")
    from limbeck.jobs.exchange import import_faiss

    searcher = import_faiss(file, out, ids=ids, similarity=similarity)
    screen.results().print(
        f"{out}: {len(searcher):,} documents, {searcher.codes.quantiser.code_bytes} bytes a code.\n"
        f"Next: limbeck search {out} --vectors QUERIES.npy",
        soft_wrap=True,
        markup=False,
    )
