"""Reports as tables: one set of cells, rendered twice."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from limbeck.evaluate.compare import Comparison, Interval
from limbeck.evaluate.cost import Speed
from limbeck.evaluate.row import Row

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

Style: TypeAlias = Literal["half_width", "range"]  # .304 ±.008 or .304 [.296, .312]
Costs: TypeAlias = Literal["main", "all"]  # code bytes and queries a second, or all that was measured
BETTER, WORSE, EQUIVALENT = "▲", "▼", "≈"
NOTHING = "–"


class Tabled(Protocol):
    """What tables read of a `Report`."""

    @property
    def title(self) -> str: ...
    @property
    def rows(self) -> Sequence[Row]: ...
    @property
    def comparisons(self) -> Sequence[Comparison]: ...
    @property
    def measures(self) -> Sequence[str]: ...
    @property
    def queries(self) -> int | None: ...
    @property
    def unlabelled(self) -> int: ...
    @property
    def alpha(self) -> float: ...
    @property
    def notes(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, its cells from top to bottom, and on which side they stand."""

    heading: str
    cells: tuple[str, ...]
    side: Literal["left", "right"] = "right"


def columns_of(report: Tabled, *, style: Style = "half_width", costs: Costs = "main") -> list[Column]:
    """The columns that any row has something for, rounded alike."""
    found = [Column("system", tuple(row.system for row in report.rows), "left")]
    found += _column(report, "bytes", lambda row: _whole(row.cost.code_bytes))
    if costs == "all":
        found += _column(report, "all bytes", lambda row: _tenths(row.cost.bytes_per_document))
    found += [_measure_column(report, measure, style) for measure in report.measures]
    if costs == "all":
        found += _column(report, "build s", lambda row: short(row.cost.build_seconds))
    threads = _thread_counts(report)
    for count in threads if costs == "all" else threads[:1]:
        found += _speed_columns(report, count, costs)
    return found


def footnotes(report: Tabled) -> list[str]:
    """What the intervals and the marks mean, and the report's own notes."""
    lines = [_about_intervals(report)] if report.measures else []
    return [*lines, *_about_significance(report), *_about_equivalence(report), *report.notes]


def markdown(report: Tabled, *, style: Style = "half_width", costs: Costs = "main") -> str:
    """A GitHub table with aligned source, title above and footnotes below. Notes are taken as Markdown."""
    lines = markdown_grid(columns_of(report, style=style, costs=costs))
    notes = "\n".join("- " + " ".join(note.split()) for note in footnotes(report))
    return f"**{_escaped(report.title)}**\n\n{lines}\n" + (f"\n{notes}\n" if notes else "")


def markdown_grid(columns: Sequence[Column]) -> str:
    """Columns as a GitHub table, aligned in its source too."""
    grid = [[_escaped(cell) for cell in (column.heading, *column.cells)] for column in columns]
    widths = [max(3, *map(display_width, cells)) for cells in grid]
    padded = [
        [_padded(cell, width, column.side) for cell in cells]
        for cells, width, column in zip(grid, widths, columns, strict=True)
    ]
    rule = [
        ":" + "-" * (width - 1) if column.side == "left" else "-" * (width - 1) + ":"
        for column, width in zip(columns, widths, strict=True)
    ]
    head, *body = zip(*padded, strict=True)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *body))


def rich_table(report: Tabled, *, style: Style = "half_width", costs: Costs = "main") -> Table:
    """The same for a terminal: marks in colour, exact search dimmed; where it is narrow the names fold."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(report.title, style="bold"),
        caption=Text("\n".join(footnotes(report)), style="dim"),
        caption_justify="left",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    columns = columns_of(report, style=style, costs=costs)
    for place, column in enumerate(columns):
        is_name = place == 0
        table.add_column(
            Text(column.heading.replace(", ", "\n")),
            justify=column.side,
            no_wrap=not is_name,
            min_width=10 if is_name else max(map(display_width, column.cells), default=0),
            overflow="fold",
        )
    for place, row in enumerate(report.rows):
        cells = [_coloured(column.cells[place]) for column in columns]
        table.add_row(*cells, style="dim" if row.is_exact else None)
    return table


def display_width(text: str) -> int:
    """Terminal columns: wide characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def rounded(value: float, *, digits: int = 3) -> str:
    """A measure as papers print it: .304 for 0.3041, 1.000 for 1, -.012 below 0; plain above 1."""
    if abs(value) > 1.0005:
        return f"{value:,.{digits - 1}f}"
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def _column(report: Tabled, heading: str, cell: Callable[[Row], str | None]) -> list[Column]:
    cells = [cell(row) for row in report.rows]
    if all(found is None for found in cells):
        return []
    return [Column(heading, tuple(found if found is not None else NOTHING for found in cells))]


def _speed_columns(report: Tabled, threads: int, costs: Costs) -> list[Column]:
    def speed(row: Row) -> Speed | None:
        return next((speed for speed in row.cost.speeds if speed.threads == threads), None)

    label = f"{threads} thread" + ("s" if threads > 1 else "")
    rate = _column(
        report,
        f"q/s, {label}",
        lambda row: short(found.queries_per_second) if (found := speed(row)) else None,
    )
    if costs == "main":
        return rate
    waits = _column(
        report,
        f"p50 / p99 ms, {label}",
        lambda row: f"{short(found.p50_ms)} / {short(found.p99_ms)}" if (found := speed(row)) else None,
    )
    return rate + waits


def _measure_column(report: Tabled, measure: str, style: Style) -> Column:
    """Left-aligned with both parts padded, so that the figures stand in one line whatever marks follow."""
    values = [
        _interval(row.measures[measure], style) if measure in row.measures else NOTHING for row in report.rows
    ]
    marks = [_marks(report, row.system, measure) for row in report.rows]
    value_width = max(map(display_width, values), default=0)
    mark_width = max(map(display_width, marks), default=0)
    cells = [
        _padded(value, value_width, "right") + (" " + _padded(mark, mark_width, "left") if mark_width else "")
        for value, mark in zip(values, marks, strict=True)
    ]
    return Column(measure, tuple(cells), "left")


def _interval(found: Interval, style: Style) -> str:
    if style == "range":
        return f"{rounded(found.mean)} [{rounded(found.low)}, {rounded(found.high)}]"
    return f"{rounded(found.mean)} ±{rounded(found.half_width)}"


def _marks(report: Tabled, system: str, measure: str) -> str:
    letters = {baseline: letter for letter, baseline in _letters(report).items()}
    return "".join(
        mark + letters[found.baseline]
        for found in report.comparisons
        if found.system == system and found.measure == measure and (mark := _mark(found, report.alpha))
    )


def _mark(found: Comparison, alpha: float) -> str:
    significance = (BETTER if found.is_better else WORSE) if found.p_adjusted < alpha else ""
    return significance + (EQUIVALENT if found.equivalence.is_equivalent else "")


def _letters(report: Tabled) -> Mapping[str, str]:
    """Letter to baseline; the letter is empty where there is one baseline only."""
    baselines = list(dict.fromkeys(found.baseline for found in report.comparisons))
    if len(baselines) == 1:
        return {"": baselines[0]}
    return {"ᵃᵇᶜᵈᵉᶠᵍʰ"[place % 8] * (1 + place // 8): name for place, name in enumerate(baselines)}


def _about_intervals(report: Tabled) -> str:
    levels = sorted({f"{100 * found.level:g}" for row in report.rows for found in row.measures.values()})
    over = f" over {report.queries:,} queries" if report.queries is not None else ""
    left_out = f" ({report.unlabelled:,} without labels left out)" if report.unlabelled else ""
    return f"Intervals: {' and '.join(levels)} %, bootstrap{over}{left_out}."


def _about_significance(report: Tabled) -> list[str]:
    words = [
        f"{mark}{letter} {word} than {baseline}"
        for letter, baseline in _letters(report).items()
        for mark, word in ((BETTER, "better"), (WORSE, "worse"))
        if mark in _marks_against(report, baseline)
    ]
    if not words:
        return []
    return [
        f"{'; '.join(words)}: p < {report.alpha:g}, paired permutation test, "
        f"Holm over {len(report.comparisons)} comparisons."
    ]


def _about_equivalence(report: Tabled) -> list[str]:
    words = [
        f"{EQUIVALENT}{letter} within {100 * found.equivalence.margin:g} points of {baseline} "
        f"at {100 * found.equivalence.level:g} %"
        for letter, baseline in _letters(report).items()
        if EQUIVALENT in _marks_against(report, baseline)
        for found in [next(found for found in report.comparisons if found.baseline == baseline)]
    ]
    return [f"{'; '.join(words)}: two one-sided tests."] if words else []


def _marks_against(report: Tabled, baseline: str) -> str:
    return "".join(_mark(found, report.alpha) for found in report.comparisons if found.baseline == baseline)


def _thread_counts(report: Tabled) -> list[int]:
    return sorted({speed.threads for row in report.rows for speed in row.cost.speeds})


def _whole(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


def _tenths(value: float | None) -> str | None:
    return None if value is None else f"{value:,.1f}"


def short(value: float | None) -> str | None:
    """Three figures that count: 12,300  123  12.3  1.23  0.12."""
    if value is None:
        return None
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def _padded(text: str, width: int, side: Literal["left", "right"]) -> str:
    space = " " * (width - display_width(text))
    return text + space if side == "left" else space + text


def _escaped(text: str) -> str:
    """Nothing that would end a cell, or start HTML, code or emphasis; underscores inside words do not."""
    text = re.sub(r"[\\|*`]|<(?=[A-Za-z/!])|\b_|_\b", lambda special: "\\" + special.group(), text)
    return re.sub(r"\s*\n\s*", " ", text)


def _coloured(cell: str) -> Text:
    from rich.text import Text

    text = Text(cell)
    for mark, style in ((BETTER, "green"), (WORSE, "red"), (EQUIVALENT, "cyan")):
        text.highlight_words([mark], style)
    return text
