"""`limbeck search`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from limbeck.cli import paths, screen
from limbeck.cli.quickstart import first_line
from limbeck.errors import ConfigError, DataError

if TYPE_CHECKING:
    from limbeck.retrieve import Answer, Searcher

Answered = list[tuple[str, list["Answer"]]]


def search(
    folder: Annotated[Path, typer.Argument(help="The folder of an index.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]...", help="Queries; one a line from stdin when left out."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Answers a query.")] = 10,
    mode: Annotated[
        Literal["dense", "lexical", "hybrid"],
        typer.Option(help="By vectors, by words, or by both: the last two once `limbeck hybrid` added BM25."),
    ] = "dense",
    effort: Annotated[
        float | None, typer.Option(help="Share of the coarse lists to visit, above 0 and at most 1 (all).")
    ] = None,
    query_encoder: Annotated[
        Path | None,
        typer.Option(
            help="A folder of `limbeck distil-encoder`; it answers instead of the index's own encoder."
        ),
    ] = None,
    vectors: Annotated[Path | None, typer.Option(help="Query vectors (.npy) instead of texts.")] = None,
    json: Annotated[bool, typer.Option("--json", help="For a machine to read.")] = False,
) -> None:
    """Answer queries from an index. Needs no torch."""
    paths.artefact(folder)
    if vectors is not None and texts:
        raise ConfigError("texts and --vectors were given; expected one of them, not both.")
    if vectors is not None and query_encoder is not None:
        raise ConfigError("--vectors and --query-encoder were given; vectors need no encoder.")
    if vectors is not None and mode != "dense":
        raise ConfigError(f"--vectors and --mode {mode} were given; words need texts.")
    queries = [] if vectors is not None else _texts(texts or [], folder)
    from limbeck.retrieve import Searcher

    searcher = Searcher.open(folder, encoder=None if query_encoder is None else paths.encoder(query_encoder))
    found = (
        list(zip(queries, searcher.answers(queries, k, mode=mode, effort=effort), strict=True))
        if vectors is None
        else _by_vector(searcher, vectors, k, effort)
    )
    if json:
        screen.write_json(
            [{"query": query, "answers": list(map(asdict, answers))} for query, answers in found]
        )
        return
    show(found)


def show(found: Answered) -> None:
    """Each query and its answers: score, id, title or first line."""
    console = screen.results()
    for place, (query, answers) in enumerate(found):
        if len(found) > 1:
            console.print(("\n" if place else "") + query, style="bold", markup=False, soft_wrap=True)
        for answer in answers:
            says = answer.title if answer.title and answer.title != answer.id else first_line(answer.text)
            line = f"{answer.rank:3}  {answer.score:8.4f}  {answer.id}  {first_line(says)}"
            console.print(line.rstrip(), markup=False, soft_wrap=True)


def _texts(given: Sequence[str], folder: Path) -> list[str]:
    """Queries from the command line, else the lines of stdin."""
    if given:
        texts = list(given)
    elif sys.stdin.isatty():
        raise DataError(f"there is no query.\n\nHint: limbeck search {folder} 'a question'")
    else:
        texts = [line.rstrip("\n") for line in sys.stdin]
    wanted = [text for text in texts if text.strip()]
    if not wanted:
        raise DataError(
            f"there is no query, or only empty ones.\n\nHint: limbeck search {folder} 'a question'"
        )
    return wanted


def _by_vector(searcher: Searcher, path: Path, k: int, effort: float | None) -> Answered:
    from limbeck.data.vectors import Vectors

    queries = Vectors.open(paths.file(path, ".npy file of query vectors"))
    hits = searcher.search_vectors(queries.values, k, effort=effort)
    return list(zip(queries.ids, searcher.answers_of(hits), strict=True))
