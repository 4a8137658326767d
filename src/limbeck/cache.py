"""Where what was computed once is kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """$LIMBECK_CACHE, else ~/.cache/limbeck. Safe to delete: everything in it can be made again."""
    return Path(os.environ.get("LIMBECK_CACHE") or Path.home() / ".cache" / "limbeck").expanduser()
