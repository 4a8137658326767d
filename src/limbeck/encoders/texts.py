"""Lists of texts: what may be one, its fingerprint, and the order in which to encode it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import DataError


class Texts(Protocol):
    """Texts that are read in slices, so that they need not fit into memory: a corpus, or queries."""

    def __len__(self) -> int: ...

    def texts(self, start: int, stop: int) -> Sequence[str]:
        """The texts of rows start to stop, ready to be encoded (title and text joined)."""
        ...


class TextList:
    """A list of strings as `Texts`; ids only serve to name a text in an error."""

    def __init__(self, texts: Sequence[str], *, ids: Sequence[str] | None = None) -> None:
        self._texts = texts
        self.ids = ids

    def __len__(self) -> int:
        return len(self._texts)

    def texts(self, start: int, stop: int) -> Sequence[str]:
        """The texts of rows start to stop."""
        return self._texts[start:stop]


def as_texts(source: Any) -> Texts:
    """A corpus as it is; queries (which hold their texts) and plain lists of strings wrapped."""
    texts = getattr(source, "texts", None)
    if callable(texts):
        return cast("Texts", source)
    if texts is not None:
        return TextList(texts, ids=getattr(source, "ids", None))
    check_texts(source)
    return TextList(source)


def check_texts(texts: Sequence[str], *, first_row: int = 0) -> None:
    """DataError unless every text is a string that can be written as UTF-8; empty strings are fine."""
    if isinstance(texts, str):
        raise DataError(f"expected a list of texts, found one string: {texts[:60]!r}.\n\nHint: pass [text].")
    for row, text in enumerate(texts, start=first_row):
        if not isinstance(text, str):
            raise DataError(f"row {row}: expected a string, found {type(text).__name__}: {str(text)[:60]!r}.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"row {row}: character {error.start} is a lone surrogate ({text[error.start]!r}) and no "
                "text: "
                f"{text[:60]!r}.\n\nHint: read the file as UTF-8 with errors='strict' to find where it comes "
                "from."
            ) from None


def in_slices(texts: Texts, size: int) -> Iterator[tuple[int, Sequence[str]]]:
    """(first row, texts) of consecutive slices."""
    for start in range(0, len(texts), size):
        yield start, texts.texts(start, min(start + size, len(texts)))


def text_fingerprint(texts: Texts) -> str:
    """sha256 hex over all texts in order, each preceded by its length in bytes. One pass, bounded memory."""
    digest = hashlib.sha256()
    for first_row, part in in_slices(texts, 4096):
        check_texts(part, first_row=first_row)
        for text in part:
            raw = text.encode()
            digest.update(len(raw).to_bytes(8, "little"))
            digest.update(raw)
    return digest.hexdigest()


def longest_first(texts: Sequence[str]) -> NDArray[np.int64]:
    """[len(texts)] rows by falling number of characters, ties by row: such batches need little padding.

    The longest come first, so that a batch that does not fit into memory fails at once and not after hours.
    """
    return np.argsort([-len(text) for text in texts], kind="stable").astype(np.int64)
