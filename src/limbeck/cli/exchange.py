"""`limbeck export` and `limbeck import`: plain faiss files, and codebooks without documents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from limbeck.cli import paths, screen
from limbeck.errors import ConfigError, DataError

if TYPE_CHECKING:
    from limbeck.retrieve import Searcher

Format: TypeAlias = Literal["faiss", "codebook"]
CODEBOOK = ".safetensors"


def export_(
    folder: Annotated[Path, typer.Argument(help="The folder of an index.")],
    out: Annotated[
        Path, typer.Argument(help="The file to write: faiss, with ids beside it, or codebook (.safetensors).")
    ],
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="faiss: codes and scores. codebook: all learnt parts, no documents. By the ending when left out.",
        ),
    ] = None,
    drop_routing: Annotated[
        bool,
        typer.Option(
            "--drop-routing",
            help="Leave out learned routing vectors, which plain faiss cannot hold: less recall.",
        ),
    ] = False,
) -> None:
    """Write a plain faiss file with the same codes and scores, or the codebook alone."""
    paths.artefact(folder)
    kind: Format = format_ or ("codebook" if out.suffix == CODEBOOK else "faiss")
    if out.is_dir():
        name = folder.name + (CODEBOOK if kind == "codebook" else ".faiss")
        raise DataError(f"{out}: is a folder; expected a file to write.\n\nHint: {out / name}")
    if kind == "codebook":
        _export_codebook(folder, out, drop_routing=drop_routing)
    else:
        _export_faiss(folder, out, drop_routing=drop_routing)


def import_(
    file: Annotated[
        Path, typer.Argument(help="A faiss file (PQ, OPQ, IVF-PQ, IVF-OPQ), or a codebook (.safetensors).")
    ],
    out: Annotated[Path, typer.Argument(help="The folder of the new index.")],
    ids: Annotated[
        Path | None,
        typer.Option(help="One id a line, in row order (.jsonl: JSON strings). Row numbers when left out."),
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(help="What a codebook is to code: BEIR folder, file of documents, or vectors (.npy)."),
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="The model that the codebook was learnt for. MiniLM when left out.")
    ] = None,
    similarity: Annotated[
        Literal["cosine", "dot", "l2"] | None,
        typer.Option(help="How the vectors were meant; refused if a faiss file says otherwise."),
    ] = None,
    quiet: bool = False,
) -> None:
    """Make an index folder of a faiss file (same codes, scores and order), or code a corpus with a codebook."""
    paths.file(file, "faiss file or codebook")
    if file.suffix == ".npy":
        raise DataError(
            f"{file}: holds vectors, not a faiss index.\n\n"
            f"Hint: limbeck build --corpus {file} --similarity cosine --out {out}"
        )
    if file.suffix == CODEBOOK:
        _import_codebook(file, out, corpus, ids, teacher=teacher, similarity=similarity, quiet=quiet)
        return
    if corpus is not None or teacher is not None:
        raise ConfigError(f"--corpus and --teacher go with a codebook; {file} is read as a faiss file.")
    if ids is not None:
        paths.file(ids, "file of ids")
    from limbeck.jobs.exchange import import_faiss

    _show(import_faiss(file, out, ids=ids, similarity=similarity), out)


def _export_faiss(folder: Path, out: Path, *, drop_routing: bool) -> None:
    from limbeck.jobs.exchange import export_faiss

    routing: Literal["keep", "base"] = "base" if drop_routing else "keep"
    try:
        written, ids = export_faiss(folder, out, routing=routing)
    except ConfigError as error:
        what, _, hint = str(error).partition("\n\n")
        hint = "add --drop-routing to leave them out, which costs recall." if "routed" in what else hint
        raise ConfigError(f"{what}\n\nHint: {hint}") from error
    screen.results().print(f"{written}, and its ids in row order: {ids}", soft_wrap=True, markup=False)


def _export_codebook(folder: Path, out: Path, *, drop_routing: bool) -> None:
    if drop_routing:
        raise ConfigError("--drop-routing is for faiss files; a codebook holds routing vectors too.")
    from limbeck.jobs.exchange import export_codebook

    written = export_codebook(folder, out)
    screen.results().print(
        f"{written}: all learnt parts, no documents.\nNext: limbeck import {written} INDEX --corpus DATA",
        soft_wrap=True,
        markup=False,
    )


def _import_codebook(
    file: Path,
    out: Path,
    corpus: Path | None,
    ids: Path | None,
    *,
    teacher: str | None,
    similarity: Literal["cosine", "dot", "l2"] | None,
    quiet: bool,
) -> None:
    if corpus is None:
        raise ConfigError(
            f"{file}: is a codebook, which holds no documents; expected --corpus.\n\n"
            f"Hint: limbeck import {file} {out} --corpus DATA"
        )
    if ids is not None:
        raise ConfigError("--ids is for faiss files; the corpus brings its ids.")
    from limbeck.jobs.exchange import import_codebook

    searcher = import_codebook(
        file, out, paths.corpus(corpus), teacher=teacher, similarity=similarity, progress=not quiet
    )
    _show(searcher, out)


def _show(searcher: Searcher, out: Path) -> None:
    asks = '"a question"' if searcher.encoder else "--vectors QUERIES.npy"
    screen.results().print(
        f"{out}: {len(searcher):,} documents, {searcher.index.code_bytes} bytes a code.\n"
        f"Next: limbeck search {out} {asks}",
        soft_wrap=True,
        markup=False,
    )
