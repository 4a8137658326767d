"""Encoded vectors on disk: shards with a manifest, read through memory maps, without torch.

Letters: N vectors, d dimension, n rows asked for.

    manifest.json                 who encoded what: encoder, texts, side, sizes of the shards
    shard-00003-of-00016.npy      [<= shard_size, d] float32
    shard-00003-of-00016.done     its sha256 and size; written after the shard, so a shard without it is not
                                  there
    vectors.npy                   [N, d], all shards in one file; written when `array` is first called
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from limbeck.encoders.fingerprint import Fingerprint
from limbeck.errors import CorruptArtefact, DataError, ShapeError, VersionMismatch
from limbeck.storage.hashing import sha256_file
from limbeck.storage.whole import replaced_file
from limbeck.types import Floats, Rows, Side

FORMAT = 1
MANIFEST = "manifest.json"
WHOLE = "vectors.npy"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder of vectors holds."""

    encoder: Fingerprint
    texts: str  # text_fingerprint
    side: Side
    count: int
    dim: int
    shard_size: int
    batch_size: int

    @property
    def shards(self) -> int:
        """How many there are."""
        return -(-self.count // self.shard_size)

    def rows(self, shard: int) -> range:
        """The rows of one shard."""
        start = shard * self.shard_size
        return range(start, min(start + self.shard_size, self.count))

    def shard_name(self, shard: int) -> str:
        """The name of its file."""
        return f"shard-{shard:05d}-of-{self.shards:05d}.npy"

    def save(self, folder: Path) -> None:
        """Write `manifest.json`."""
        values = {name: getattr(self, name) for name in self.__slots__}
        _write_json(folder / MANIFEST, {"format": FORMAT, **values, "encoder": self.encoder.to_json()})

    @classmethod
    def open(cls, folder: Path) -> Manifest:
        """Read `manifest.json`; CorruptArtefact or VersionMismatch if it cannot be used."""
        values = read_json(folder / MANIFEST)
        found = values.pop("format", None)
        if found != FORMAT:
            raise VersionMismatch(
                f"{folder / MANIFEST}: written in format {found!r}; this build reads {FORMAT}.\n\n"
                "Hint: encode again into another folder, or use the version of limbeck that wrote it."
            )
        if set(values) != set(cls.__slots__):
            raise CorruptArtefact(
                f"{folder / MANIFEST}: expected {sorted(cls.__slots__)}, found {sorted(values)}."
            )
        return cls(**{**values, "encoder": Fingerprint.from_json(values["encoder"])})


class StoredVectors:
    """[N, d] float32 vectors in shards, memory-mapped. Made by `open` or `encode_corpus`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._open: dict[int, Floats] = {}

    @classmethod
    def open(cls, folder: Path | str, *, verify: bool = True) -> StoredVectors:
        """The vectors of a folder that `encode_corpus` finished.

        verify  read everything once and compare with the sha256 that was written (about 1 GB a second)
        raises  CorruptArtefact if a shard is missing or differs, or encoding was not finished
        """
        folder = Path(folder)
        manifest = Manifest.open(folder)
        missing = [
            shard for shard in range(manifest.shards) if not is_done(folder, manifest, shard, verify=verify)
        ]
        if missing:
            raise CorruptArtefact(
                f"{folder}: {len(missing)} of {manifest.shards} shards are missing or damaged, "
                f"the first is {manifest.shard_name(missing[0])}.\n\n"
                "Hint: run the same `encode_corpus` again; it writes what is missing and keeps the rest."
            )
        return cls(folder, manifest)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, d)."""
        return self.manifest.count, self.manifest.dim

    @property
    def dim(self) -> int:
        """The width of a vector."""
        return self.manifest.dim

    @property
    def fingerprint(self) -> Fingerprint:
        """Of the encoder that made the vectors."""
        return self.manifest.encoder

    def __len__(self) -> int:
        return self.manifest.count

    def __iter__(self) -> Iterator[Floats]:
        """The shards in order, read-only."""
        return (self._shard(shard) for shard in range(self.manifest.shards))

    def gather(self, rows: Rows) -> Floats:
        """[n, d] copies of these rows, in this order; rows may repeat.

        raises  ShapeError if rows are not a one-dimensional list of integers, DataError if one is out of
                range
        """
        asked = np.asarray(rows)
        if asked.ndim != 1 or (asked.size and asked.dtype.kind not in "iu"):
            raise ShapeError(f"`rows` must be [n] integers, found shape {asked.shape} of {asked.dtype}.")
        outside = asked[(asked < 0) | (asked >= len(self))]
        if outside.size:
            raise DataError(f"row {outside[0]} is not among the {len(self)} vectors of {self.folder}.")
        gathered = np.empty((len(asked), self.dim), np.float32)
        shard_of = asked // self.manifest.shard_size
        for shard in np.unique(shard_of):
            here = np.flatnonzero(shard_of == shard)
            gathered[here] = self._shard(int(shard))[asked[here] - shard * self.manifest.shard_size]
        return gathered

    def array(self) -> Floats:
        """[N, d] contiguous and read-only, memory-mapped.

        The first call copies the shards into one file (4·N·d bytes, one shard in memory at a time); it
        appears whole or not at all, and later calls map it. A single shard is mapped as it is.
        """
        if self.manifest.shards == 0:
            return np.empty(self.shape, np.float32)
        if self.manifest.shards == 1:
            return self._shard(0)
        path = self.folder / WHOLE
        if not self._is_whole(path):
            with replaced_file(path) as part, part.open("wb") as stream:
                _write_header(stream, self.shape)
                for shard in self:
                    shard.tofile(stream)
        return _map(path, self.shape)

    def _is_whole(self, path: Path) -> bool:
        try:
            _map(path, self.shape)
        except (OSError, CorruptArtefact):
            return False
        return True

    def _shard(self, shard: int) -> Floats:
        if shard not in self._open:
            rows = self.manifest.rows(shard)
            self._open[shard] = _map(self.folder / self.manifest.shard_name(shard), (len(rows), self.dim))
        return self._open[shard]


def write_shard(folder: Path, manifest: Manifest, shard: int, vectors: Floats) -> None:
    """Write a shard, then the marker that says it is there. Both appear whole or not at all."""
    path = folder / manifest.shard_name(shard)
    with replaced_file(path) as part, part.open("wb") as stream:
        hashed = _Hashed(stream)
        np.lib.format.write_array(
            cast("IO[bytes]", hashed), np.ascontiguousarray(vectors, np.float32), allow_pickle=False
        )
    _write_json(path.with_suffix(".done"), {"sha256": hashed.digest.hexdigest(), "bytes": hashed.size})


def is_done(folder: Path, manifest: Manifest, shard: int, *, verify: bool = True) -> bool:
    """The shard is there with the size, and where `verify` is set the sha256, that its marker says."""
    path = folder / manifest.shard_name(shard)
    marker = path.with_suffix(".done")
    if not marker.is_file() or not path.is_file():
        return False
    try:
        promised = read_json(marker)
    except CorruptArtefact:
        return False
    if path.stat().st_size != promised.get("bytes"):
        return False
    return not verify or sha256_file(path) == promised.get("sha256")


def read_json(path: Path) -> dict[str, Any]:
    """The object in the file; CorruptArtefact unless it holds one JSON object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CorruptArtefact(f"{path}: missing.\n\nHint: is this a folder of encoded vectors?") from None
    except (ValueError, RecursionError) as error:
        raise CorruptArtefact(f"{path}: not JSON: {error}.") from error
    if not isinstance(values, dict):
        raise CorruptArtefact(f"{path}: expected a JSON object, found {type(values).__name__}.")
    return values


class _Hashed:
    """A stream that hashes what passes through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self._stream.write(data)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with replaced_file(path) as part:
        part.write_text(
            json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8"
        )


def _write_header(stream: IO[bytes], shape: tuple[int, int]) -> None:
    description = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, description)


def _map(path: Path, shape: tuple[int, int]) -> Floats:
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise CorruptArtefact(f"{path}: not a whole .npy file: {error}.") from error
    if mapped.shape != shape or mapped.dtype != np.dtype("<f4"):
        raise CorruptArtefact(f"{path}: expected {shape} float32, found {mapped.shape} {mapped.dtype}.")
    return cast("Floats", mapped)
