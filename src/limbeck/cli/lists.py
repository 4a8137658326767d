"""Options that hold several values, with commas between."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from limbeck.errors import ConfigError

Number = TypeVar("Number", int, float)


def words(text: str) -> list[str]:
    """What stands between the commas, without spaces; empty ones are left out."""
    return [word.strip() for word in text.split(",") if word.strip()]


def numbers(text: str, kind: Callable[[str], Number], *, option: str, such_as: str) -> tuple[Number, ...]:
    """As `words`, each a number. raises ConfigError that names the option"""
    try:
        return tuple(kind(word) for word in words(text))
    except ValueError:
        raise ConfigError(
            f"{option} must be numbers with commas between, such as {such_as}; found {text!r}."
        ) from None
