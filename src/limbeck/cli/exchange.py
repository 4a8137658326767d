"""`limbeck export` and `limbeck import`: files and folders of other programs, and codebooks without documents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from limbeck.cli import paths, screen
from limbeck.errors import ConfigError, DataError

if TYPE_CHECKING:
    from limbeck.retrieve import Searcher

Format: TypeAlias = Literal["faiss", "codebook", "pyserini", "lance"]
CODEBOOK, LANCE = ".safetensors", ".lance"
FOLDERS = ("pyserini", "lance")


def export_(
    folder: Annotated[Path, typer.Argument(help="The folder of an index.")],
    out: Annotated[
        Path,
        typer.Argument(
            help="The file to write: faiss, codebook (.safetensors); or folder: Pyserini, Lance (.lance)."
        ),
    ],
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="faiss: codes and scores, with ids beside the file. pyserini: the same as a folder. lance: a dataset "
            "with texts and its own index. codebook: all learnt parts, no documents. By the ending when left out.",
        ),
    ] = None,
    drop_routing: Annotated[
        bool,
        typer.Option(
            "--drop-routing",
            help="Leave out learned routing vectors, which only Limbeck can hold: less recall.",
        ),
    ] = False,
    effort: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Pyserini: share of the lists that it is to visit; the index's own when left out.",
        ),
    ] = None,
) -> None:
    """Write a faiss file, a Pyserini folder or a Lance dataset with the same codes and scores, or the codebook."""
    paths.artefact(folder)
    kind: Format = format_ or (
        "codebook" if out.suffix == CODEBOOK else "lance" if out.suffix == LANCE else "faiss"
    )
    if out.is_dir() and kind not in FOLDERS:
        name = folder.name + (CODEBOOK if kind == "codebook" else ".faiss")
        raise DataError(f"{out}: is a folder; expected a file to write.\n\nHint: {out / name}")
    if effort is not None and kind != "pyserini":
        raise ConfigError(f"--effort is for Pyserini, which reads it from the file; --format is {kind}.")
    if kind == "codebook" and drop_routing:
        raise ConfigError("--drop-routing is for other formats; a codebook holds routing vectors too.")
    screen.results().print(
        _exported(folder, out, kind, routing="base" if drop_routing else "keep", effort=effort),
        soft_wrap=True,
        markup=False,
    )


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


def _exported(
    folder: Path, out: Path, kind: Format, *, routing: Literal["keep", "base"], effort: float | None
) -> str:
    """What was written, and what to do with it."""
    try:
        return _written(folder, out, kind, routing=routing, effort=effort)
    except ConfigError as error:
        what = str(error).partition("\n\n")[0]
        if "routed" not in what:
            raise
        raise ConfigError(
            f"{what}\n\nHint: add --drop-routing to leave them out, which costs recall."
        ) from error


def _written(
    folder: Path, out: Path, kind: Format, *, routing: Literal["keep", "base"], effort: float | None
) -> str:
    if kind == "codebook":
        from limbeck.jobs.exchange import export_codebook

        written = export_codebook(folder, out)
        return (
            f"{written}: all learnt parts, no documents.\nNext: limbeck import {written} INDEX --corpus DATA"
        )
    if kind == "pyserini":
        from limbeck.jobs.exchange_pyserini import export_pyserini

        return f"{export_pyserini(folder, out, routing=routing, effort=effort)}: a folder for Pyserini's FaissSearcher."
    if kind == "lance":
        from limbeck.jobs.exchange_lance import export_lance

        made = export_lance(folder, out, routing=routing)
        turned = (
            ""
            if made.turn is None
            else f"\nQueries must pass the matrix in {made.turn} first: turn @ vector."
        )
        return (
            f"{made.dataset}: a Lance dataset. Search its column 'vector' with nprobes={made.probes}.{turned}"
        )
    from limbeck.jobs.exchange import export_faiss

    file, ids = export_faiss(folder, out, routing=routing)
    return f"{file}, and its ids in row order: {ids}"


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
