"""Files and folders that appear whole or not at all: written under another name, flushed, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limbeck.errors import StorageError
from limbeck.storage import durable


@contextmanager
def replaced_file(path: Path | str) -> Iterator[Path]:
    """A temporary path to write to; becomes `path` when the block ends well, vanishes when it does not.

    raises  StorageError if the disk is full or the path cannot be written
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise StorageError(f"{path}: expected a file or nothing to be there, found something else.")
    with durable.storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
    part = Path(name)
    try:
        with durable.storage_errors(path):
            yield part
            durable.sync_file(part)
            part.chmod(0o666 & ~_umask())
            durable.replace(part, path)
            durable.sync_file(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def replaced_folder(path: Path | str) -> Iterator[Path]:
    """A temporary folder to fill; becomes `path` when the block ends well. An older folder there is replaced.

    raises  StorageError if the disk is full, or the path cannot be written or holds something else
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise StorageError(f"{path}: expected a folder or nothing to be there, found a file.")
    with durable.storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        with durable.storage_errors(path):
            yield part
            for file in sorted(part.rglob("*")):
                durable.sync_file(file)
            durable.sync_file(part)
            part.chmod(0o777 & ~_umask())
            _move_aside(path)
            durable.replace(part, path)
            durable.sync_file(path.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move_aside(path: Path) -> None:
    """A folder that is not empty cannot be renamed over: rename the old one away first, then delete it."""
    if path.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
        path.replace(old)
        shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
