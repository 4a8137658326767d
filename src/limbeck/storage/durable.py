"""Every call by which an artefact reaches the disk, in one place, so that tests can fail each of them.

Each primitive passes `_point` first. There the environment variable LIMBECK_FAULT_AT=n ends the process at
the n-th call, as a power cut would, and tests replace `fault` to raise what the disk would: ENOSPC, EIO,
EDQUOT.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from limbeck.errors import StorageError

CHUNK = 2**20  # bytes a write
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)

fault: Callable[[str, Path], None] | None = (
    None  # tests put a function here that raises for (primitive, path)
)
_calls = 0


def _point(primitive: str, path: Path) -> None:
    global _calls
    _calls += 1
    if os.environ.get("LIMBECK_FAULT_AT") == str(_calls):
        os._exit(137)
    if fault is not None:
        fault(primitive, path)


def calls() -> int:
    """How many primitives this process has passed: a crash test counts them once and then ends at each."""
    return _calls


class NewFile:
    """A file that did not exist before, written in order; leaving the block syncs and closes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _point("open", path)
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def write(self, data: Any) -> int:
        """All of `data` (bytes or a buffer), or an OSError: a short write is continued."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), CHUNK):
            rest = view[start : start + CHUNK]
            while len(rest):
                _point("write", self.path)
                rest = rest[os.write(self._handle, rest) :]
        return len(view)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                _point("fsync", self.path)
                os.fsync(self._handle)
                _point("close", self.path)
        finally:
            os.close(self._handle)


def write_file(path: Path, data: Any) -> None:
    """The file holds `data` (bytes or a buffer) and is on disk, or it holds what it held before."""
    with replacement(path, needed=memoryview(data).nbytes) as out:
        out.write(data)


@contextmanager
def replacement(path: Path, *, needed: int) -> Iterator[NewFile]:
    """A new file that takes the place of `path` when the block ends well, and is removed when it does not."""
    refuse_odd_target(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    with storage_errors(path, needed=needed):
        try:
            with NewFile(temporary) as out:
                yield out
            replace(temporary, path)
        except BaseException:
            remove_quietly(temporary)
            raise
        sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """What was written to this file by whatever means is on disk."""
    _point("fsync", path)
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """The names in this folder are on disk."""
    sync_file(path)


def make_folders(path: Path) -> None:
    """The folder and its parents, where they are not there yet."""
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def make_folder(path: Path) -> None:
    """A new folder; its parent exists."""
    _point("mkdir", path)
    path.mkdir()


def rename(source: Path, target: Path) -> None:
    """Moves a folder to a name that is free."""
    _point("rename", target)
    source.rename(target)


def replace(source: Path, target: Path) -> None:
    """Puts a file in the place of another, at once."""
    _point("replace", target)
    source.replace(target)


def remove_tree(path: Path) -> None:
    """Removes a folder or file that nobody needs any more."""
    _point("remove", path)
    remove_quietly(path)


def remove_quietly(path: Path) -> None:
    """Removes a folder or file as far as possible; what stays is removed by the next writer."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink(missing_ok=True)


def refuse_odd_target(path: Path) -> None:
    """Writing by rename would turn a link or a device into a plain file; both are refused."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}.") from error
    if not stat.S_ISREG(kind):
        raise StorageError(
            f"cannot write {path}: there is a link, a folder or a device; must be a plain file."
        )


@contextmanager
def storage_errors(path: Path, *, needed: int | None = None) -> Iterator[None]:
    """OSErrors in the block as StorageErrors that say what was written, what it needs, and what there is."""
    try:
        yield
    except OSError as error:
        raise StorageError(explain(error, path, needed=needed)) from error


def explain(error: OSError, path: Path, *, needed: int | None = None) -> str:
    """One line for a person: disk full, not allowed, or the system's own words."""
    name = Path(error.filename) if isinstance(error.filename, str) else path
    if error.errno in FULL:
        needs = "" if needed is None else f"needs ~{needed / 1e6:.1f} MB, "
        return f"disk full writing {path} ({needs}{_free(path)})."
    if error.errno in FORBIDDEN:
        return f"cannot write {name} as uid {os.getuid()}: {error.strerror}."
    return f"cannot write {name}: {error.strerror or error}."


def _free(path: Path) -> str:
    for folder in (path, *path.parents):
        if folder.exists():
            return f"{shutil.disk_usage(folder).free / 1e6:.1f} MB free"
    return "free space unknown"
