"""String ids, packed: rows (int) inside, ids (str) at the boundary."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from limbeck.data.lines import shown
from limbeck.errors import CorruptArtefact, DataError
from limbeck.storage.whole import replaced_file
from limbeck.types import Rows

_CHUNK = 65_536


class Ids(Sequence[str]):
    """The ids of N rows as one UTF-8 blob and N + 1 offsets: about 8 bytes an id more than the text itself.

    The first look-up builds a table of 16 bytes an id. Any text may be an id, tabs and newlines included.
    """

    def __init__(self, blob: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        """Over blob [bytes] uint8 and offsets [N + 1] int64; use `from_iterable` or `open`."""
        self._blob = blob
        self._offsets = offsets
        self._table: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None  # sorted hashes, their rows

    @classmethod
    def from_iterable(cls, ids: Iterable[str]) -> Ids:
        """Pack ids in their order. raises DataError on an id that is not a string, or not UTF-8."""
        if isinstance(ids, Ids):
            return ids
        blob = bytearray()
        ends: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]
        source = iter(ids)
        row = 0
        while chunk := list(itertools.islice(source, _CHUNK)):
            lengths = np.empty(len(chunk), np.int64)
            for place, identifier in enumerate(chunk):
                encoded = _encoded(identifier, row + place)
                blob += encoded
                lengths[place] = len(encoded)
            ends.append(ends[-1][-1] + np.cumsum(lengths))
            row += len(chunk)
        return cls(np.frombuffer(bytes(blob), np.uint8), np.concatenate(ends))

    @classmethod
    def numbered(cls, count: int) -> Ids:
        """The ids "0", "1", ... for rows that came without names."""
        return cls.from_iterable(str(row) for row in range(count))

    @classmethod
    def open(cls, path: Path | str) -> Ids:
        """Read what `save` wrote. raises CorruptArtefact if the file is damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            arrays = load_file(path)
            blob, offsets = arrays["blob"], arrays["offsets"]
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise CorruptArtefact(
                f"{path}: expected an id file written by Limbeck, found: {error}."
            ) from error
        _check_layout(blob, offsets, where=str(path))
        return cls(blob, offsets)

    def save(self, path: Path | str) -> None:
        """Write blob and offsets as safetensors; the file appears whole or not at all."""
        from safetensors.numpy import save_file

        with replaced_file(path) as part:
            save_file({"blob": np.ascontiguousarray(self._blob), "offsets": self._offsets}, part)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        if not 0 <= row < len(self):  # no counting from the end: -1 is what hits hold where there is nothing
            raise IndexError(f"row {row} of {len(self)} ids; rows count from 0.")
        return self._bytes(int(row)).decode("utf-8")

    def __iter__(self) -> Iterator[str]:
        for row in range(len(self)):
            yield self._bytes(row).decode("utf-8")

    def __contains__(self, identifier: object) -> bool:
        return isinstance(identifier, str) and self.row_of(identifier) is not None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Ids):
            return np.array_equal(self._offsets, other._offsets) and np.array_equal(self._blob, other._blob)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compared by content, and content is large

    def __repr__(self) -> str:
        head = ", ".join(shown(identifier) for identifier in self[:3])
        return f"Ids({len(self)}: {head}{', ...' if len(self) > 3 else ''})"

    @property
    def nbytes(self) -> int:
        """What the ids hold in memory, without the look-up table."""
        return int(self._blob.nbytes + self._offsets.nbytes)

    def row_of(self, identifier: str) -> int | None:
        """The first row with this id, or None."""
        row = int(self.rows_of([identifier])[0])
        return None if row < 0 else row

    def rows_of(self, ids: Iterable[str]) -> Rows:
        """The row of each id, [len(ids)] int64, -1 where it is missing. O(log N) an id."""
        encoded = [identifier.encode("utf-8", "surrogatepass") for identifier in ids]
        hashes, rows = self._lookup_table()
        wanted = np.fromiter((hash(one) for one in encoded), np.int64, len(encoded))
        found = np.full(len(encoded), -1, np.int64)
        for place, start in enumerate(np.searchsorted(hashes, wanted)):
            at = int(start)
            while (
                at < len(hashes) and hashes[at] == wanted[place]
            ):  # more than one step only when hashes collide
                if self._bytes(int(rows[at])) == encoded[place]:
                    found[place] = rows[at]
                    break
                at += 1
        return found

    def duplicates(self) -> Iterator[tuple[int, int]]:
        """(first row, later row) of each id that occurs again; later rows of one id ascend."""
        hashes, rows = self._lookup_table()
        again = np.flatnonzero(hashes[1:] == hashes[:-1]) + 1
        for at in again:
            later = int(rows[at])
            first = self.rows_of([self[later]])[0]
            if first != later:
                yield int(first), later

    def take(self, rows: NDArray[np.integer[Any]] | Sequence[int]) -> Ids:
        """The ids of these rows, packed anew."""
        return Ids.from_iterable(self[int(row)] for row in rows)

    def _bytes(self, row: int) -> bytes:
        return self._blob[self._offsets[row] : self._offsets[row + 1]].tobytes()

    def _lookup_table(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self._table is None:
            hashes = np.fromiter((hash(self._bytes(row)) for row in range(len(self))), np.int64, len(self))
            rows = np.argsort(hashes, kind="stable")  # stable: the first of equal ids is found first
            self._table = hashes[rows], rows
        return self._table


def _encoded(identifier: object, row: int) -> bytes:
    if not isinstance(identifier, str):
        raise DataError(
            f"id of row {row}: expected a string, found {type(identifier).__name__} {shown(identifier)}."
        )
    try:
        return identifier.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"id of row {row}: expected text, found half a surrogate pair: {shown(identifier)}."
        ) from error


def _check_layout(blob: NDArray[Any], offsets: NDArray[Any], *, where: str) -> None:
    """Offsets that rise from 0 to the end of the blob and never cut a character, over valid UTF-8."""
    fits = (
        blob.dtype == np.uint8
        and offsets.dtype == np.int64
        and blob.ndim == offsets.ndim == 1
        and len(offsets) > 0
        and offsets[0] == 0
        and offsets[-1] == len(blob)
        and bool(np.all(np.diff(offsets) >= 0))
    )
    if fits:
        starts = offsets[offsets < len(blob)]
        try:
            blob.tobytes().decode("utf-8")
            fits = not bool(np.any(blob[starts] & 0xC0 == 0x80))
        except UnicodeDecodeError:
            fits = False
    if not fits:
        raise CorruptArtefact(
            f"{where}: expected ids and their offsets, found arrays that do not fit together."
        )
