"""Contract suites and test doubles, to test a part of your own with. Names are loaded when first used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "clustered": "indexes",
    "check_quantiser": "indexes",
    "check_index": "indexes",
    "HashEncoder": "encoders",
    "check_encoder": "encoders",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
