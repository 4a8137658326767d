"""Encoding a corpus to disk: killed at any moment it goes on where it was, and ends with the same bytes."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from limbeck.encoders.fingerprint import Fingerprint
from limbeck.encoders.stored import MANIFEST, Manifest, StoredVectors, is_done, write_shard
from limbeck.encoders.texts import Texts, as_texts, longest_first, text_fingerprint
from limbeck.errors import ConfigError, DataError, EncoderMismatch, StorageError
from limbeck.storage.cache import cache_root
from limbeck.storage.lock import locked
from limbeck.types import Floats, Reps, Side

if TYPE_CHECKING:
    from limbeck.data.queries import Queries

log = logging.getLogger(__name__)
_BATCHES_A_CALL = 4  # how often the bar moves; a whole number of batches, so that it does not change them


class KnownEncoder(Protocol):
    """An encoder that says what it is."""

    @property
    def dim(self) -> int:
        """The width of a vector."""
        ...

    @property
    def fingerprint(self) -> Fingerprint:
        """What it is."""
        ...

    def encode(self, texts: Sequence[str], *, side: Side, batch_size: int = 64) -> Reps:
        """[len(texts), 1, dim]."""
        ...


def encode_corpus(
    texts: Texts | Queries | Sequence[str],
    encoder: KnownEncoder,
    folder: Path | str,
    *,
    side: Side = "doc",
    shard_size: int = 4096,
    batch_size: int = 64,
    progress: bool = True,
) -> StoredVectors:
    """All texts as vectors in `folder`; what is already there is kept, what is missing or damaged is encoded.

    Batches are made inside a shard, longest texts first, so they do not depend on what was encoded before: a
    run that was killed and started again (same hardware, same number of threads) ends with the bytes of an
    uninterrupted one. Memory: one shard of texts and vectors.

    texts   a corpus (anything with `len` and `texts(start, stop)`), queries, or a list of strings
    raises  EncoderMismatch or DataError if the folder holds vectors of another encoder or of other texts;
            DataError naming the row if a vector is not finite; StorageError if another process writes there
            or the disk is full
    """
    source = as_texts(texts)
    folder = Path(folder)
    manifest = Manifest(
        encoder=encoder.fingerprint,
        texts=text_fingerprint(source),
        side=side,
        count=len(source),
        dim=encoder.dim,
        shard_size=_at_least_one("shard_size", shard_size),
        batch_size=_at_least_one("batch_size", batch_size),
    )
    _make(folder)
    whole = _whole(folder, manifest)
    if whole is not None:
        return whole
    with locked(folder):
        manifest = _agreed(folder, manifest)
        todo = [shard for shard in range(manifest.shards) if not is_done(folder, manifest, shard)]
        if todo:
            _prepare(folder, manifest, todo)
            _encode_shards(source, encoder, folder, manifest, todo, progress=progress)
    return StoredVectors(folder, manifest)


def cache_folder(encoder: KnownEncoder, text_fingerprint: str, side: Side) -> Path:
    """Where these texts' vectors by this encoder belong: under $LIMBECK_CACHE, else ~/.cache/limbeck."""
    return cache_root() / "vectors" / encoder.fingerprint.digest[:16] / f"{text_fingerprint[:16]}-{side}"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made a folder: {error.strerror or error}.") from error


def _whole(folder: Path, wanted: Manifest) -> StoredVectors | None:
    """The vectors if all of them are there already: any number of processes may open them, only writers lock."""
    if not (folder / MANIFEST).exists():
        return None
    found = _agreed(folder, wanted)
    if not all(is_done(folder, found, shard) for shard in range(found.shards)):
        return None
    return StoredVectors(folder, found)


def _agreed(folder: Path, wanted: Manifest) -> Manifest:
    """The folder's manifest if it is for the same vectors, else refuse; a new folder gets the wanted one."""
    if not (folder / MANIFEST).exists():
        others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
        if others:
            raise DataError(
                f"{folder}: holds other files ({', '.join(sorted(others)[:3])}) and no {MANIFEST}.\n\n"
                "Hint: give an empty folder."
            )
        wanted.save(folder)
        return wanted
    found = Manifest.open(folder)
    _check_encoder(folder, found, wanted)
    _check_texts(folder, found, wanted)
    sizes = (found.shard_size, found.batch_size)
    if sizes != (wanted.shard_size, wanted.batch_size) and not _is_finished(folder, found):
        raise ConfigError(
            f"{folder}: was begun with shard_size={sizes[0]}, batch_size={sizes[1]}; with shard_size="
            f"{wanted.shard_size}, batch_size={wanted.batch_size} the rest would differ in the last digits."
            "\n\nHint: go on with the first two, or remove the folder to start again."
        )
    return found


def _check_encoder(folder: Path, found: Manifest, wanted: Manifest) -> None:
    theirs, ours = found.encoder.to_json(), wanted.encoder.to_json()
    for name in ours:
        if theirs[name] != ours[name]:
            raise EncoderMismatch(
                f"{folder}: its vectors were made with `{name}` {theirs[name]!r}, but this encoder has "
                f"{ours[name]!r}.\n\nHint: give another folder, e.g. `cache_folder(encoder, "
                "text_fingerprint, side)`."
            )


def _check_texts(folder: Path, found: Manifest, wanted: Manifest) -> None:
    for name in ("count", "texts", "side"):
        theirs, ours = getattr(found, name), getattr(wanted, name)
        if theirs != ours:
            raise DataError(
                f"{folder}: its vectors are of other texts: `{name}` is {theirs!r} there and {ours!r} now."
                "\n\nHint: give another folder; text that changes needs vectors of its own."
            )


def _is_finished(folder: Path, manifest: Manifest) -> bool:
    return all(is_done(folder, manifest, shard, verify=False) for shard in range(manifest.shards))


def _prepare(folder: Path, manifest: Manifest, todo: Sequence[int]) -> None:
    for orphan in folder.glob(".*.part"):  # of a killed run: the lock is ours, so nobody is writing them
        orphan.unlink(missing_ok=True)
    needed = 4 * manifest.dim * sum(len(manifest.rows(shard)) for shard in todo)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"{folder}: encoding needs {needed / 1e6:.0f} MB of disk, {free / 1e6:.0f} MB are free."
        )


def _encode_shards(
    texts: Texts,
    encoder: KnownEncoder,
    folder: Path,
    manifest: Manifest,
    todo: Sequence[int],
    *,
    progress: bool,
) -> None:
    documents_done = manifest.count - sum(len(manifest.rows(shard)) for shard in todo)
    if documents_done:
        log.info("%s: %d of %d vectors are already there", folder, documents_done, manifest.count)
    with _bar(manifest.count, documents_done, shown=progress) as advance:
        for shard in todo:
            rows = manifest.rows(shard)
            part = texts.texts(rows.start, rows.stop)
            vectors = _encode_shard(part, encoder, manifest, advance)
            _check_finite(vectors, texts, rows.start)
            write_shard(folder, manifest, shard, vectors)
            log.info("%s: wrote %s, %d vectors", folder, manifest.shard_name(shard), len(rows))


def _encode_shard(
    texts: Sequence[str], encoder: KnownEncoder, manifest: Manifest, advance: Callable[[int], object]
) -> Floats:
    """[len(texts), d]."""
    order = longest_first(texts)
    vectors = np.empty((len(texts), manifest.dim), np.float32)
    step = _BATCHES_A_CALL * manifest.batch_size
    for start in range(0, len(order), step):
        chosen = order[start : start + step]
        reps = encoder.encode(
            [texts[row] for row in chosen], side=manifest.side, batch_size=manifest.batch_size
        )
        vectors[chosen] = reps.flat
        advance(len(chosen))
    return vectors


def _check_finite(vectors: Floats, texts: Texts, first_row: int) -> None:
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if not bad.size:
        return
    row = first_row + int(bad[0])
    values = int((~np.isfinite(vectors[bad[0]])).sum())
    ids = getattr(texts, "ids", None)
    name = f"document {ids[row]!r} (row {row})" if ids is not None else f"row {row}"
    raise DataError(
        f"{name}: the encoder gave {values} values that are NaN or infinite; {bad.size} rows of its shard "
        "have such.\n\n"
        f"Text: {texts.texts(row, row + 1)[0][:80]!r}\nHint: try precision='float32'; nothing of this shard "
        "was written."
    )


@contextmanager
def _bar(total: int, done: int, *, shown: bool) -> Iterator[Callable[[int], object]]:
    from tqdm import tqdm

    with tqdm(
        total=total, initial=done, desc="encoding", unit=" documents", disable=not shown, smoothing=0.1
    ) as bar:
        yield bar.update


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise ConfigError(f"`{name}` must be at least 1, found {value}.")
    return value
