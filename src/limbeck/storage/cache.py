"""Where what was computed once is kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """$LIMBECK_CACHE, else $XDG_CACHE_HOME/limbeck, else ~/.cache/limbeck. Safe to delete: all can be made again."""
    chosen = os.environ.get("LIMBECK_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "limbeck"
