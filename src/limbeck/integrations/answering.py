"""What every host wants of an artefact: opened once, asked by text, whole documents with their scores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from limbeck.data.records import Document
from limbeck.errors import ConfigError, MissingExtra
from limbeck.index.filters import Where, allowed_by
from limbeck.retrieve import Mode, Searcher
from limbeck.types import Hits

if TYPE_CHECKING:
    from limbeck.encoders.corpus_encoding import KnownEncoder

IndexLike: TypeAlias = Searcher | Path | str


@dataclass(frozen=True, slots=True)
class Found:
    """One document that answers a query, as it stands in the corpus."""

    document: Document
    score: float  # higher = better

    @property
    def metadata(self) -> dict[str, Any]:
        """The document's metadata, and its title where it has one."""
        return {**self.document.metadata, **({"title": self.document.title} if self.document.title else {})}


def opened(index: IndexLike, *, encoder: KnownEncoder | Path | str | None = None) -> Searcher:
    """The searcher that was given, or the artefact in a folder, verified.

    raises  what `Searcher.open` raises; ConfigError for an encoder beside a searcher, which has its own
    """
    if not isinstance(index, Searcher):
        return Searcher.open(index, encoder=encoder)
    if encoder is not None:
        raise ConfigError(
            "an open `Searcher` has its query encoder already; expected `encoder` to be left out.\n\n"
            "Hint: limbeck.open(folder, encoder=...)"
        )
    return index


def found(
    searcher: Searcher,
    text: str,
    k: int,
    *,
    mode: Mode = "dense",
    effort: float | None = None,
    where: Where | None = None,
    allowed: NDArray[np.bool_] | None = None,
) -> list[Found]:
    """The k best documents of a text, best first; of those that `where` holds for, or that are `allowed`."""
    mask = allowed_by(searcher.documents, where, size=len(searcher)) if where else allowed
    return found_by(searcher, searcher.search([text], k, mode=mode, effort=effort, allowed=mask))


def found_by(searcher: Searcher, hits: Hits) -> list[Found]:
    """The documents of the first line of hits."""
    ids, scores = hits.ids[0], hits.scores[0]
    there = ids >= 0
    documents = searcher.documents.documents(ids[there].tolist())
    return [Found(document, float(score)) for document, score in zip(documents, scores[there], strict=True)]


@contextmanager
def host(package: str, extra: str) -> Iterator[None]:
    """Imports of a host inside; where it is not installed, MissingExtra says how to get it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"this needs {package} (missing: {error.name}).\n\nInstall it with: pip install 'limbeck[{extra}]'"
        ) from error
