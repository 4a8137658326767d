"""What is wrong with data, counted by kind: a million bad lines are one finding with five places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from limbeck.errors import DataError

Level: TypeAlias = Literal["error", "warning", "note"]
_PLACES = 5

# Signs in the text of an error, and the name of its kind: the text itself differs from line to line.
_KINDS = (
    ("expected UTF-8", "a line that is not UTF-8"),
    ("NUL", "a NUL character"),
    ("half a surrogate pair", "half a surrogate pair"),
    ("expected a JSON record", "a line that is not a JSON record"),
    ("expected a record", "a line that is not a JSON record"),
    ("expected a field `_id`", "a record without `_id`"),
    ("expected `_id` to be", "an `_id` that is not a string"),
    ("expected `_id` to name", "an empty `_id`"),
    ("expected `title`", "a `title` that is not a string"),
    ("field `text`", "a record without `text`"),
    ("as grade", "a grade that is not a whole number"),
    ("expected a grade", "a grade that is not a number"),
    ("expected a query id", "a line without query id or document id"),
    ("columns", "a line with the wrong number of columns"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of fault in one file."""

    level: Level  # an error stops a job; a warning changes its result; a note is accepted as it is
    where: str  # file, and line or row of the first five places
    what: str  # what was found, with its count
    fix: str  # what to do


@dataclass(slots=True)
class _Kind:
    fix: str
    count: int = 0
    places: list[str] = field(default_factory=list)
    example: str = ""


class Tally:
    """The faults of one file by kind: their count, first places, and one example."""

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._kinds: dict[tuple[Level, str], _Kind] = {}

    def add(self, level: Level, what: str, fix: str, *, place: str = "", example: str = "") -> None:
        """Count a fault of the kind `what`; place is a line or row."""
        self.add_all(level, what, fix, places=[place] if place else [], count=1, example=example)

    def add_all(
        self, level: Level, what: str, fix: str, *, count: int, places: Sequence[str] = (), example: str = ""
    ) -> None:
        """Count `count` faults of one kind; `places` holds the first of them."""
        kind = self._kinds.setdefault((level, what), _Kind(fix, example=example))
        kind.count += count
        kind.places.extend(places[: _PLACES - len(kind.places)])

    def add_error(self, error: DataError, *, fix: str, place: str = "") -> None:
        """Count an error that reading raised; its hint, where it has one, is the fix."""
        text, _, hint = str(error).partition("\n\n")
        reason = text.removeprefix(f"{self._path}").removeprefix(f":{place}").removeprefix(": ")
        kind = next((name for sign, name in _KINDS if sign in reason), None)
        fix = hint.removeprefix("Hint: ") or fix
        if kind is None:
            self.add("error", reason, fix, place=place)
        else:
            self.add("error", kind, fix, place=place, example=reason)

    def findings(self) -> Iterator[Finding]:
        """One finding for each kind."""
        for (level, what), kind in self._kinds.items():
            more = ", ..." if kind.places and kind.count > len(kind.places) else ""
            where = f"{self._path}:{', '.join(kind.places)}{more}" if kind.places else str(self._path)
            counted = f"{what} ({kind.count} times)" if kind.count > 1 else what
            yield Finding(
                level, where, f"{counted}; first: {kind.example}" if kind.example else counted, kind.fix
            )
