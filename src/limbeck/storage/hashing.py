"""sha256 of files, read in pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path


def sha256_file(path: Path) -> str:
    """sha256 hex of a file; memory stays at a few hundred kB whatever its size."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_files(folder: Path, names: Sequence[str]) -> str:
    """One file: its own sha256, as published. Several: sha256 of the sorted lines `name sha256`."""
    if len(names) == 1:
        return sha256_file(folder / names[0])
    lines = "".join(f"{name} {sha256_file(folder / name)}\n" for name in sorted(names))
    return hashlib.sha256(lines.encode()).hexdigest()
