"""What a set of systems keeps and costs, as one value: rendered in a terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from limbeck.errors import ConfigError, DataError, VersionMismatch
from limbeck.evaluate.compare import Comparison, Equivalence, Interval
from limbeck.evaluate.cost import Cost, Speed
from limbeck.evaluate.row import Row
from limbeck.evaluate.tables import Costs, Style, markdown, rich_table

if TYPE_CHECKING:
    from rich.table import Table

FORMAT = "limbeck-report"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Report:
    """Systems side by side on the same queries.

    comparisons  against one baseline or several, already corrected together; they become marks in the tables
    alpha        marks are given below this adjusted p-value
    notes        lines below the table: data set, number of documents, command
    """

    title: str
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...] = ()
    queries: int | None = None
    unlabelled: int = 0
    alpha: float = 0.01
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [row.system for row in self.rows]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise ConfigError(f"two rows of a report have one name: {', '.join(double)}.")
        strangers = sorted({found.system for found in self.comparisons} - set(names))
        if strangers:
            raise ConfigError(
                f"comparisons of {', '.join(strangers)} have no row in the report; rows are {names}."
            )
        _refuse_not_finite(asdict(self), self.title)

    @property
    def measures(self) -> tuple[str, ...]:
        """All measures of all rows, in the order in which they first come."""
        return tuple(dict.fromkeys(measure for row in self.rows for measure in row.measures))

    def to_markdown(self, *, style: Style = "half_width", costs: Costs = "main") -> str:
        """A table as GitHub renders it, aligned in the source too, with the footnotes below."""
        return markdown(self, style=style, costs=costs)

    def to_rich(self, *, style: Style = "half_width", costs: Costs = "main") -> Table:
        """A table for `rich.console.Console().print`."""
        return rich_table(self, style=style, costs=costs)

    def to_json(self) -> str:
        """Everything, in full precision; `Report.from_json` gives an equal report."""
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        return json.dumps(content, allow_nan=False, ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that `to_json` wrote. DataError when it is not one, VersionMismatch when newer."""
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"not JSON: {error}.") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise DataError(f"not a report: expected an object whose `format` is {FORMAT!r}.")
        if content.get("version") != VERSION:
            raise VersionMismatch(
                f"this report has version {content.get('version')!r}, but this build reads {VERSION}."
            )
        try:
            return _report(content)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"the report lacks a field or has one too many: {type(error).__name__} {error}."
            ) from error


def _report(content: Mapping[str, Any]) -> Report:
    fields = {name: value for name, value in content.items() if name not in ("format", "version")}
    return Report(
        **{
            **fields,
            "rows": tuple(_row(row) for row in fields["rows"]),
            "comparisons": tuple(_comparison(found) for found in fields["comparisons"]),
            "notes": tuple(fields["notes"]),
        }
    )


def _row(content: Mapping[str, Any]) -> Row:
    measures = {name: Interval(**found) for name, found in content["measures"].items()}
    speeds = tuple(Speed(**speed) for speed in content["cost"]["speeds"])
    return Row(**{**content, "measures": measures, "cost": Cost(**{**content["cost"], "speeds": speeds})})


def _comparison(content: Mapping[str, Any]) -> Comparison:
    found = content["equivalence"]
    equivalence = Equivalence(**{**found, "interval": Interval(**found["interval"])})
    return Comparison(
        **{**content, "difference": Interval(**content["difference"]), "equivalence": equivalence}
    )


def _refuse_not_finite(content: Any, path: str) -> None:
    for where, number in _numbers(content, path):
        if not math.isfinite(number):
            raise DataError(
                f"{where} is {number!r}; a report holds finite numbers, None where there is none."
            )


def _numbers(content: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from _numbers(value, f"{path}.{name}")
    elif isinstance(content, Sequence) and not isinstance(content, str):
        for place, value in enumerate(content):
            yield from _numbers(value, f"{path}[{place}]")
    elif isinstance(content, float):
        yield path, content
