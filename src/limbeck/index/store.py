"""Artefact folders that are whole or not there: written aside, hashed, renamed, and only then pointed to.

    folder/
      CURRENT                     generation and sha256 of its manifest; replaced in one step
      gen-<random>/manifest.json  size and sha256 of every file, format version, what the caller says
      gen-<random>/...            the files; never changed afterwards
      .lock                       held by the writer

A process killed at any moment leaves the old generation in place. `open_current` checks every byte before
anybody reads one, because faiss loads most damaged files without an error and gives wrong results.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from limbeck.errors import CorruptArtefact, DataError, StorageError, VersionMismatch
from limbeck.storage import durable
from limbeck.storage.hashing import sha256_file
from limbeck.storage.lock import locked
from limbeck.version import __version__

FORMAT_VERSION = 1
OLDEST_READABLE = 1
MANIFEST = "manifest.json"
CURRENT = "CURRENT"
GENERATION = "gen-"
TEMPORARY = ".tmp-"
LARGEST_MANIFEST = 64 * 2**20  # bytes
LONGEST_NAME = 255  # bytes; Linux allows no more


@dataclass(frozen=True, slots=True)
class FileEntry:
    """What a file must be."""

    size: int  # bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one generation holds; written as strict JSON."""

    format_version: int
    written_by: str  # version of Limbeck
    files: Mapping[str, FileEntry]  # path inside the generation, with forward slashes
    content: Mapping[str, Any]  # what the caller says: recipe, fingerprints, metric, quality


def publish(folder: Path, write: Callable[[Path], None], manifest: Mapping[str, Any]) -> Path:
    """A new generation of `folder`, holding what `write(temporary folder)` wrote; returns where it now lies.

    Before the last step the folder shows its old generation, after it the new one, and never anything
    between. The previous generation is kept for readers that are just opening it; older ones and what
    killed writers left are removed. Raises StorageError if the disk is full, the path cannot be written, or
    another process writes here.
    """
    content = _strict_json(dict(manifest), name="manifest")
    durable.make_folders(folder)
    with locked(folder), durable.storage_errors(folder):
        kept = _pointed_at(folder)
        _clean(folder, keep=kept)
        token = secrets.token_hex(8)
        temporary, generation = folder / f"{TEMPORARY}{token}", folder / f"{GENERATION}{token}"
        try:
            durable.make_folder(temporary)
            write(temporary)
            digest = _seal(temporary, content)
            durable.rename(temporary, generation)
            durable.sync_folder(folder)
            _point_to(folder, generation.name, digest)
        except OSError as error:
            text = durable.explain(error, folder, needed=_size(temporary) + _size(generation))
            _discard(folder, generation)
            raise StorageError(text) from error
        except BaseException:
            _discard(folder, generation)
            raise
    return generation


def open_current(folder: Path, *, verify: bool = True) -> tuple[Path, Manifest]:
    """The current generation and its manifest, after size and (with `verify`) sha256 of every file agreed.

    Writes nothing. Cost: one pass over the files. Raises CorruptArtefact naming the first bad file, or
    VersionMismatch.
    """
    generation, manifest = _current(folder)
    for problem in _problems(generation, manifest, hashes=verify):
        raise CorruptArtefact(
            f"{generation}: {problem}\n\nHint: `limbeck verify {folder}` lists all damaged files."
        )
    return generation, manifest


def current_name(folder: Path) -> str:
    """The generation that CURRENT names, without a look at its files. raises CorruptArtefact, VersionMismatch"""
    return _read_pointer(folder)[0]


def take_over(generation: Path, into: Path, names: Iterable[str]) -> None:
    """The same files in a generation that is being made: hard links, for they never change, else copies."""
    for name in names:
        if name == MANIFEST:
            continue
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(generation / name, target)
        except OSError:
            shutil.copyfile(generation / name, target)


def verify(folder: Path) -> list[str]:
    """All that is wrong with the current generation, one line a file; empty if it is whole."""
    try:
        generation, manifest = _current(folder)
    except (CorruptArtefact, VersionMismatch) as error:
        return [str(error)]
    return list(_problems(generation, manifest, hashes=True))


def _seal(temporary: Path, content: Any) -> str:
    """Syncs every file and folder, writes the manifest last, and returns the manifest's sha256."""
    files = {}
    for path in _all_files(temporary):
        durable.sync_file(path)
        files[path.relative_to(temporary).as_posix()] = {
            "size": path.stat().st_size,
            "sha256": sha256_file(path),
        }
    for path in sorted(path for path in temporary.rglob("*") if path.is_dir()):
        durable.sync_folder(path)
    document = {
        "format_version": FORMAT_VERSION,
        "written_by": __version__,
        "files": files,
        "content": content,
    }
    data = (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    with durable.NewFile(temporary / MANIFEST) as out:
        out.write(data)
    durable.sync_folder(temporary)
    return hashlib.sha256(data).hexdigest()


def _point_to(folder: Path, generation: str, digest: str) -> None:
    durable.refuse_odd_target(folder / CURRENT)
    temporary = folder / f"{TEMPORARY}{secrets.token_hex(8)}"
    with durable.NewFile(temporary) as out:
        out.write(_pointer(generation, digest))
    durable.replace(temporary, folder / CURRENT)
    durable.sync_folder(folder)


def _pointer(generation: str, digest: str, version: int = FORMAT_VERSION) -> bytes:
    fields = {"format_version": version, "generation": generation, "manifest_sha256": digest}
    return (json.dumps(fields) + "\n").encode()


def _current(folder: Path) -> tuple[Path, Manifest]:
    """The generation that CURRENT names and its manifest; a writer may replace CURRENT meanwhile."""
    for _ in range(8):
        name, digest = _read_pointer(folder)
        data = _read_small(folder / name / MANIFEST)
        if data is not None:
            break
        if _read_pointer(folder)[0] == name:
            raise CorruptArtefact(f"{folder / name / MANIFEST} is missing.")
    else:
        raise CorruptArtefact(f"{folder / CURRENT} kept changing; another process is publishing in a loop.")
    if hashlib.sha256(data).hexdigest() != digest:
        raise CorruptArtefact(f"{folder / name / MANIFEST}: checksum mismatch, {len(data)} bytes.")
    return folder / name, _parse_manifest(data, folder / name / MANIFEST)


def _read_pointer(folder: Path) -> tuple[str, str]:
    path = folder / CURRENT
    data = _read_small(path)
    if data is None:
        if not folder.exists():
            raise CorruptArtefact(f"{folder} does not exist.")
        raise CorruptArtefact(
            f"{path} is missing: this is no artefact folder, or its first save never finished."
        )
    try:
        fields = json.loads(data)
        version, name, digest = fields["format_version"], fields["generation"], fields["manifest_sha256"]
        whole = isinstance(name, str) and data == _pointer(name, digest, version)
    except (ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise CorruptArtefact(f"{path} is damaged: {data[:80]!r}; must name a generation and its sha256.")
    _check_version(version, path)
    if not name.startswith(GENERATION) or Path(name).name != name:
        raise CorruptArtefact(f"{path} names {name!r}; must be a generation of this folder.")
    return name, digest


def _check_version(version: Any, path: Path, *, written_by: str = "another version of Limbeck") -> None:
    if type(version) is int and OLDEST_READABLE <= version <= FORMAT_VERSION:
        return
    advice = (
        "upgrade Limbeck"
        if isinstance(version, int) and version > FORMAT_VERSION
        else "build the artefact again"
    )
    raise VersionMismatch(
        f"{path} was written by {written_by} in format {version}; this build reads {OLDEST_READABLE} to "
        f"{FORMAT_VERSION}: {advice}."
    )


def _parse_manifest(data: bytes, path: Path) -> Manifest:
    try:
        fields = json.loads(data)
        _check_version(fields["format_version"], path, written_by=f"Limbeck {fields['written_by']}")
        files = {name: FileEntry(int(e["size"]), str(e["sha256"])) for name, e in fields["files"].items()}
        outside = [name for name in files if not _is_inside(name)]
        if outside:
            raise CorruptArtefact(f"{path} names files outside of the artefact: {outside[:3]}.")
        content: Mapping[str, Any] = {**fields["content"]}
        return Manifest(fields["format_version"], str(fields["written_by"]), files, content)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise CorruptArtefact(f"{path} is no manifest: {error}.") from error


def _is_inside(name: str) -> bool:
    """Whether a name stays inside of the artefact and can be a file's: no steps out of it, no NUL, not too long."""
    parts = PurePosixPath(name).parts
    return (
        bool(parts)
        and not PurePosixPath(name).is_absolute()
        and ".." not in parts
        and "\0" not in name
        and all(len(part.encode()) <= LONGEST_NAME for part in parts)
        and len(name) <= LONGEST_NAME
    )


def _problems(generation: Path, manifest: Manifest, *, hashes: bool) -> Iterator[str]:
    """One line for each file that is missing, of the wrong size, unknown, or changed."""
    right_size = []
    for name, entry in manifest.files.items():
        path = generation / name
        if path.is_symlink() or not path.is_file():
            yield f"{name} is missing"
            continue
        size = path.stat().st_size
        if size != entry.size:
            reason = "truncated" if size < entry.size else "longer than written"
            yield f"{name}: {size} bytes, manifest says {entry.size} ({reason})"
        else:
            right_size.append((name, path, entry))
    known = {*manifest.files, MANIFEST}
    for path in sorted(generation.rglob("*")):
        name = path.relative_to(generation).as_posix()
        if not path.is_dir() and name not in known:
            yield f"{name} is not in the manifest"
    for name, path, entry in right_size if hashes else ():
        if sha256_file(path) != entry.sha256:
            yield f"{name}: checksum mismatch"


def _all_files(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    for path in paths:
        if path.is_symlink() or not path.is_file():
            raise StorageError(f"{path} is a link or a device; an artefact holds plain files only.")
        if path == folder / MANIFEST:
            raise StorageError(f"{path}: this name is taken by the store; call the file something else.")
    return paths


def _pointed_at(folder: Path) -> str | None:
    """The generation to keep; a damaged CURRENT keeps nothing away from a new publish."""
    try:
        return _read_pointer(folder)[0]
    except (CorruptArtefact, VersionMismatch):
        return None


def _clean(folder: Path, *, keep: str | None) -> None:
    """Removes old generations and what killed writers left; we hold the lock, so no writer is alive."""
    for path in sorted(folder.iterdir()):
        is_old = keep is not None and path.name.startswith(GENERATION) and path.name != keep
        if is_old or path.name.startswith(TEMPORARY):
            durable.remove_tree(path)


def _discard(folder: Path, generation: Path) -> None:
    """Removes what a failed publish wrote, unless CURRENT already names it."""
    if _pointed_at(folder) != generation.name:
        durable.remove_quietly(generation)
    for path in folder.glob(f"{TEMPORARY}*"):
        durable.remove_quietly(path)


def _size(folder: Path) -> int:
    with suppress(OSError):
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return 0


def _strict_json(value: Any, *, name: str) -> Any:
    """The value as it reads back from strict JSON: no NaN, no numpy, text keys."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise DataError(f"`{name}` cannot be written as JSON: {error}.") from error


def _read_small(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_MANIFEST)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}.") from error
