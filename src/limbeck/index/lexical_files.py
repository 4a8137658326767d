"""The files of BM25: plain little-endian numbers whose counts stand in `bm25.json`.

So nothing is parsed, allocated or unpickled on opening: files are mapped, and their numbers checked block by block,
since they may come from anyone. Letters: N documents, V terms, P postings (a term and a document that holds it).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError, CorruptArtefact
from limbeck.storage import durable
from limbeck.text import open_analyser
from limbeck.types import Floats

DESCRIPTION = "bm25.json"
MOST_ROWS = 2**31 - 1
LARGEST = 22  # of a word in a document: idf is at most ln(1 + MOST_ROWS), and its factor below 1
BLOCK = 2**20  # numbers checked at once


@dataclass(frozen=True, slots=True)
class Described:
    """What `bm25.json` says. raises ConfigError for what no build writes"""

    analyser: str
    documents: int  # N
    k1: float  # above 0: how slowly repeated words stop to count
    b: float  # in [0, 1]: how much long documents are held back

    def __post_init__(self) -> None:
        open_analyser(self.analyser)
        if type(self.documents) is not int or not 0 <= self.documents <= MOST_ROWS:
            raise ConfigError(f"`documents` is {self.documents!r}; must be a count up to {MOST_ROWS}.")
        if not _is_number(self.k1) or not 0 < self.k1 < float("inf"):
            raise ConfigError(f"`k1` is {self.k1!r}; must be a number above 0.")
        if not _is_number(self.b) or not 0 <= self.b <= 1:
            raise ConfigError(f"`b` is {self.b!r}; must be a number in [0, 1].")


@dataclass(frozen=True, slots=True)
class Postings:
    """The terms, sorted by their bytes, and for each its documents with what it adds to their scores."""

    letters: NDArray[np.uint8]  # terms.utf8: the terms one behind the other
    ends: NDArray[np.int64]  # ends.int64 [V]: where each ends in it
    starts: NDArray[np.int64]  # starts.int64 [V + 1]: where each term's postings begin
    rows: NDArray[np.int32]  # rows.int32 [P]: ascending in each term
    scores: Floats  # scores.float32 [P], above 0 and at most LARGEST

    @property
    def nbytes(self) -> int:
        """Bytes of the files."""
        return sum(getattr(self, name).nbytes for name in _FILES)

    def save(self, folder: Path, described: Described) -> None:
        """All files into the folder, `bm25.json` last."""
        durable.make_folders(folder)
        for name, (file, _) in _FILES.items():
            part = getattr(self, name)
            durable.write_file(folder / file, part.data if part.size else b"")
        told = {**asdict(described), "counts": {name: len(getattr(self, name)) for name in _FILES}}
        durable.write_file(folder / DESCRIPTION, json.dumps(told, indent=1).encode())


_FILES = {  # field of Postings to its file and its numbers
    "letters": ("terms.utf8", "|u1"),
    "ends": ("ends.int64", "<i8"),
    "starts": ("starts.int64", "<i8"),
    "rows": ("rows.int32", "<i4"),
    "scores": ("scores.float32", "<f4"),
}


def open_postings(folder: Path) -> tuple[Described, Postings]:
    """What `Postings.save` wrote, mapped from disk.

    cost    one pass over all numbers, in bounded memory
    raises  CorruptArtefact where a file is missing, of another size, or holds what no build writes
    """
    path = folder / DESCRIPTION
    try:
        fields = json.loads(path.read_bytes())
        counts = {name: fields["counts"][name] for name in _FILES}
        described = Described(**{name: value for name, value in fields.items() if name != "counts"})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError) as error:
        raise CorruptArtefact(f"{path}: cannot be read: {error}") from error
    parts = {name: _mapped(folder / file, kind, counts[name]) for name, (file, kind) in _FILES.items()}
    postings = Postings(**parts)
    _check(folder, described, postings)
    return described, postings


def _mapped(path: Path, kind: str, count: object) -> NDArray[Any]:
    """[count] numbers, left on disk; refused where the file has another size, so nothing is allocated for them."""
    dtype = np.dtype(kind)
    try:
        size = path.stat().st_size
        if type(count) is not int or size != count * dtype.itemsize:
            raise CorruptArtefact(f"{path}: {size} bytes; {DESCRIPTION} says {count!r} x {dtype.itemsize}.")
        return np.asarray(np.memmap(path, dtype, mode="r", shape=(count,))) if count else np.empty(0, dtype)
    except (OSError, ValueError) as error:
        raise CorruptArtefact(f"{path}: cannot be read: {error}") from error


def _check(folder: Path, described: Described, postings: Postings) -> None:
    if (
        not len(postings.ends)
        or len(postings.starts) != len(postings.ends) + 1
        or len(postings.rows) != len(postings.scores)
    ):
        raise CorruptArtefact(f"{folder / DESCRIPTION}: counts do not fit together.")
    if not _rises(postings.ends, to=len(postings.letters)):
        raise CorruptArtefact(f"{folder / 'ends.int64'}: must rise to {len(postings.letters)}.")
    if postings.starts[0] != 0 or not _rises(postings.starts, to=len(postings.rows)):
        raise CorruptArtefact(f"{folder / 'starts.int64'}: must rise from 0 to {len(postings.rows)}.")
    if not _ascend(postings.rows, postings.starts, documents=described.documents):
        raise CorruptArtefact(
            f"{folder / 'rows.int32'}: must ascend in each term and be below {described.documents}."
        )
    if not all(((block > 0) & (block <= LARGEST)).all() for block in _blocks(postings.scores)):
        raise CorruptArtefact(f"{folder / 'scores.float32'}: holds scores that are not in (0, {LARGEST}].")


def _rises(values: NDArray[np.int64], *, to: int) -> bool:
    """From 0 or more up to `to`, never falling."""
    falls = any((block[1:] < block[:-1]).any() for block in _blocks(values, overlap=1))
    return bool(values[0] >= 0 and values[-1] == to and not falls)


def _ascend(rows: NDArray[np.int32], starts: NDArray[np.int64], *, documents: int) -> bool:
    """Rows are rows of documents, and do not fall or repeat but where a term begins."""
    for number, block in enumerate(_blocks(rows, overlap=1)):
        if (block < 0).any() or (block >= documents).any():
            return False
        falls = number * BLOCK + 1 + np.flatnonzero(block[1:] <= block[:-1])
        if (starts[np.searchsorted(starts, falls)] != falls).any():
            return False
    return True


def _blocks(values: NDArray[Any], overlap: int = 0) -> Iterator[NDArray[Any]]:
    for start in range(0, len(values), BLOCK):
        yield values[start : start + BLOCK + overlap]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
