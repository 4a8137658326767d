"""Ready-made vectors with their ids: `.npy` files, memory-mapped, checked row by row."""

from __future__ import annotations

import json
import logging
import tempfile
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.data.ids import Ids
from limbeck.data.lines import decoded, numbered_lines, parsed_json, shown
from limbeck.errors import DataError, ShapeError
from limbeck.storage.whole import replaced_file
from limbeck.types import Floats

_log = logging.getLogger(__name__)
_CHUNK_BYTES = 16 << 20
# All that numpy raises on headers with flipped bytes, found by mutation; RuntimeError covers RecursionError.
_BAD_NPY = (
    *(ValueError, OSError, EOFError, TypeError, OverflowError, LookupError, SyntaxError, MemoryError),
    *(AttributeError, RuntimeError, tokenize.TokenError),
)
_ID_ENDINGS = (".ids.jsonl", ".ids.txt", ".ids", ".txt")


@dataclass(frozen=True, slots=True)
class Vectors:
    """N vectors and their ids; `values[row]` belongs to `ids[row]`."""

    ids: Ids
    values: Floats  # [N, d] float32; memory-mapped when it was opened from a file

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.dtype != np.float32 or len(self.ids) != len(self.values):
            raise ShapeError(
                f"`values` has shape {self.values.shape} and type {self.values.dtype} for {len(self.ids)} "
                "ids; must be [N, d] float32 with one id a row."
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        """d, the width of each vector."""
        return int(self.values.shape[1])

    @classmethod
    def open(
        cls, path: Path | str, ids: Ids | Path | str | None = None, *, expected_dim: int | None = None
    ) -> Vectors:
        """Open a `.npy` file of [N, d] float16, float32 or float64 and check every row.

        float32 is memory-mapped as it is; other types are converted through a temporary file, so memory stays
        bounded.

        ids     ids, or a file of them: `.jsonl` with one string or `{"_id": ...}` a line, else one id a line.
                None takes `<stem>.ids.jsonl`, `<stem>.ids.txt`, `<stem>.ids` or `<stem>.txt` from beside it,
                and row numbers where there is none.
        raises  DataError on other types, damaged files, NaN or infinity; ShapeError on wrong widths or counts
        """
        path = Path(path)
        stored = open_npy(path)
        names = ids if isinstance(ids, Ids) else _ids_for(path, ids, count=len(stored))
        if len(names) != len(stored):
            raise ShapeError(
                f"{path}: holds {len(stored)} vectors, but {len(names)} ids were given; must be one a row."
            )
        values = _as_float32(stored)
        check_vectors(values, ids=names, expected_dim=expected_dim, where=str(path))
        return cls(names, values)

    def save(self, path: Path | str) -> None:
        """Write `<stem>.npy`, and `<stem>.ids.jsonl` beside it; each appears whole or not at all."""
        path = Path(path)
        if path.suffix != ".npy":
            raise DataError(f"{path}: expected a name that ends in .npy.")
        with replaced_file(path.with_name(f"{path.stem}.ids.jsonl")) as part, part.open("w") as stream:
            stream.writelines(json.dumps(identifier) + "\n" for identifier in self.ids)
        with replaced_file(path) as part, part.open("wb") as binary:
            np.save(binary, self.values, allow_pickle=False)


def check_vectors(
    values: NDArray[Any], *, ids: Ids | None = None, expected_dim: int | None = None, where: str = "vectors"
) -> int:
    """Refuse vectors that search could not use; gives the number of zero vectors, which is logged.

    values  [N, d] float; read in chunks of 16 MB
    raises  ShapeError on a wrong number of axes or width; DataError that names the first bad row
    """
    if values.ndim != 2 or values.shape[1] == 0:
        raise ShapeError(f"{where}: has shape {values.shape}; must be [N, d], one vector a row.")
    if expected_dim is not None and values.shape[1] != expected_dim:
        raise ShapeError(f"{where}: has vectors of width {values.shape[1]}; must be {expected_dim}.")
    zeros = 0
    first_zero = -1
    for start, chunk in chunks(values):
        bad = np.flatnonzero(~np.isfinite(chunk).all(axis=1))
        if len(bad):
            row = start + int(bad[0])
            count = int((~np.isfinite(chunk[bad[0]])).sum())
            raise DataError(
                f"{where}: {_named(row, ids)}: expected finite numbers, found {count} NaN or infinite.\n\n"
                "Hint: encode this document again; float16 overflows above 65,504."
            )
        empty = np.flatnonzero(~chunk.any(axis=1))
        if len(empty) and first_zero < 0:
            first_zero = start + int(empty[0])
        zeros += len(empty)
    if zeros:
        _log.warning(
            "%s: %d of %d vectors are zero, the first is %s",
            where,
            zeros,
            len(values),
            _named(first_zero, ids),
        )
    return zeros


def chunks(values: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """(first row, rows) in turn, about 16 MB each."""
    step = max(1, _CHUNK_BYTES // max(1, values.shape[1] * values.itemsize))
    for start in range(0, len(values), step):
        yield start, values[start : start + step]


def open_npy(path: Path) -> NDArray[Any]:
    """A `.npy` file as a read-only memory map of float16, float32 or float64, [N, d]; never unpickles.

    raises  DataError when it is missing, damaged, or of another type; ShapeError when it is not [N, d]
    """
    if not path.is_file():
        raise DataError(f"{path}: expected a .npy file, found nothing there.")
    stored = _mapped_npy(path)
    if stored.dtype.newbyteorder("=") not in (np.float16, np.float32, np.float64):
        raise DataError(f"{path}: expected float16, float32 or float64, found {stored.dtype}.")
    if stored.ndim != 2 or stored.shape[1] == 0:
        raise ShapeError(f"{path}: has shape {stored.shape}; must be [N, d], one vector a row.")
    return stored


def _mapped_npy(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            read_header = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                read_header = np.lib.format.read_array_header_2_0
            shape, _, dtype = read_header(stream)
        if 0 in shape and not dtype.hasobject:  # a file of no rows is well-formed, but cannot be mapped
            return np.zeros(shape, dtype)
        return np.lib.format.open_memmap(path, mode="r")
    except _BAD_NPY as error:
        found = str(error).split("\n", 1)[0] or type(error).__name__
        raise DataError(
            f"{path}: expected a .npy file of numbers, found: {found}\n\n"
            "Hint: write it with np.save(path, vectors.astype(np.float32)); pickled objects are never read."
        ) from error


def _as_float32(stored: NDArray[Any]) -> Floats:
    """The array itself where it is native float32 in C order, else a converted copy in a nameless file."""
    if stored.dtype == np.float32 and stored.dtype.isnative and stored.flags.c_contiguous:
        return stored
    if not stored.size:
        return np.zeros(stored.shape, np.float32)
    with tempfile.TemporaryFile() as spool:
        converted = np.memmap(spool, dtype=np.float32, mode="w+", shape=stored.shape)
    with np.errstate(
        over="ignore"
    ):  # what overflows becomes infinite and is refused by the check that follows
        for start, chunk in chunks(stored):
            converted[start : start + len(chunk)] = chunk
    return converted


def _ids_for(path: Path, given: Path | str | None, *, count: int) -> Ids:
    file = ids_beside(path) if given is None else Path(given)
    return Ids.numbered(count) if file is None else read_ids(file)


def ids_beside(path: Path) -> Path | None:
    """The file of ids that belongs to `path`, or None. raises DataError when there are two."""
    beside = [path.with_name(path.stem + ending) for ending in _ID_ENDINGS]
    there = [candidate for candidate in beside if candidate.is_file()]
    if len(there) > 1:
        raise DataError(
            f"{path}: expected one file of ids beside it, found {', '.join(file.name for file in there)}.\n\n"
            "Hint: pass the right one as `ids`."
        )
    return there[0] if there else None


def read_ids(path: Path) -> Ids:
    """Ids from `.jsonl` (a string, or a record with `_id`, a line) or from plain lines. raises DataError."""

    def lines() -> Iterator[str]:
        for line, raw in numbered_lines(path):
            where = f"{path}:{line}"
            if ".jsonl" not in path.suffixes:
                yield decoded(raw, where=where)
            elif raw.strip():
                value = parsed_json(raw, where=where)
                value = value.get("_id") if isinstance(value, dict) else value
                if not isinstance(value, str):
                    raise DataError(
                        f"{where}: expected a string or a record with `_id`, found {shown(value)}."
                    )
                yield value

    ids = Ids.from_iterable(lines())
    for first, later in ids.duplicates():
        raise DataError(
            f"{path}: expected each id once, found {shown(ids[later])} in rows {first} and {later}."
        )
    return ids


def _named(row: int, ids: Ids | None) -> str:
    return f"row {row}" if ids is None else f"document {shown(ids[row])} (row {row})"
