"""A plan as a value and as tables: which designs keep how much at what cost, and which of them will do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from limbeck.errors import ConfigError
from limbeck.evaluate.compare import Interval
from limbeck.evaluate.tables import NOTHING, Column, markdown_grid, rounded, short

if TYPE_CHECKING:
    from rich.table import Table

FORMAT, VERSION = "limbeck-plan", 1
Measure: TypeAlias = Literal["overlap@10", "RR@10"]
UNITS = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """What the index has to keep to, at the planned number of documents; None = anything."""

    documents: int
    memory: int | None = None  # bytes of the index
    latency: float | None = None  # milliseconds a query, one thread
    quality: float | None = None  # least share kept, in (0, 1]
    measure: Measure = "overlap@10"

    def __post_init__(self) -> None:
        for name, least in (("documents", 1), ("memory", 1), ("latency", 0.0)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ConfigError(f"`{name}` must be at least {least}, got {value!r}.")
        if self.quality is not None and not 0 < self.quality <= 1:
            raise ConfigError(f"`quality` is a share in (0, 1], got {self.quality!r}; 0.9 keeps nine of ten.")

    @property
    def are_given(self) -> bool:
        """Whether there is any besides the number of documents."""
        return (self.memory, self.latency, self.quality) != (None, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One design, searched in one way. Quality, `ms` and `build_seconds` are measured on the sample."""

    method: str
    code_bytes: int
    lists: int | None  # at the planned number of documents
    probes: int | None  # the same
    refinement: str
    bytes_per_document: float  # codes, ids and shared tables, at the planned number
    index_bytes: float
    overlap: Interval  # overlap@10 with exact search over the sample
    kept: Interval | None  # RR@10 as a share of exact search's; None without labels
    ms: float  # median of single queries, one thread
    ms_planned: float  # at the planned number of documents, extrapolated
    build_seconds: float
    build_seconds_planned: float  # an upper bound: as if all of it grew with the documents
    command: str

    def quality(self, measure: Measure) -> Interval | None:
        """The share of exact search that is kept in a measure."""
        return self.overlap if measure == "overlap@10" else self.kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Designs side by side, smallest first."""

    title: str
    constraints: Constraints
    rows: tuple[Planned, ...]
    sample: int  # documents
    queries: int  # judged
    notes: tuple[str, ...] = ()

    def misses(self, row: Planned) -> tuple[str, ...]:
        """The constraints that a design breaks. Quality is kept when the lower end of its interval is."""
        wanted = self.constraints
        found = []
        if wanted.memory is not None and row.index_bytes > wanted.memory:
            found.append("memory")
        if wanted.latency is not None and row.ms_planned > wanted.latency:
            found.append("latency")
        kept = row.quality(wanted.measure)
        if wanted.quality is not None and (kept is None or kept.low < wanted.quality):
            found.append("quality")
        return tuple(found)

    @property
    def best(self) -> Planned | None:
        """Of those that break no constraint: the smallest where a quality is asked for, else the one of most quality.

        None where nothing is asked for, or nothing will do.
        """
        good = [row for row in self.rows if not self.misses(row)]
        if not self.constraints.are_given or not good:
            return None
        if self.constraints.quality is not None:
            return min(good, key=lambda row: (row.index_bytes, row.ms_planned))
        return max(good, key=lambda row: (self._mean(row), -row.index_bytes))

    def is_on_frontier(self, row: Planned) -> bool:
        """Whether no other design is at least as small, as fast and as good, and better in one of them."""
        own = (-row.index_bytes, -row.ms_planned, self._mean(row))
        for other in self.rows:
            theirs = (-other.index_bytes, -other.ms_planned, self._mean(other))
            if theirs != own and all(left >= right for left, right in zip(theirs, own, strict=True)):
                return False
        return True

    def verdict(self, row: Planned) -> str:
        """A word or two for the last column."""
        missed = self.misses(row)
        if missed:
            return "misses " + ", ".join(missed)
        if row is self.best:
            return "best"
        return "frontier" if self.is_on_frontier(row) else ""

    def _mean(self, row: Planned) -> float:
        kept = row.quality(self.constraints.measure)
        return 0.0 if kept is None else kept.mean

    def to_json(self) -> str:
        """Everything, in full precision, with what each design misses."""
        rows = [
            {**asdict(row), "misses": self.misses(row), "verdict": self.verdict(row)} for row in self.rows
        ]
        content = {"format": FORMAT, "version": VERSION, **asdict(self), "rows": rows}
        return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)

    def to_markdown(self) -> str:
        """A GitHub table, the commands below it, and notes."""
        commands = "\n".join(f"{place}. `{row.command}`" for place, row in enumerate(self.rows, start=1))
        notes = "\n".join(f"- {note}" for note in self.footnotes())
        return f"**{self.title}**\n\n{markdown_grid(self.columns())}\n\n{commands}\n\n{notes}\n"

    def to_rich(self) -> Table:
        """The table for a terminal, without the commands."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=Text(self.title, style="bold"),
            caption=Text("\n".join(self.footnotes()), style="dim"),
            caption_justify="left",
            title_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,
        )
        columns = self.columns()
        for column in columns:
            table.add_column(Text(column.heading.replace(", ", "\n")), justify=column.side)
        for place, row in enumerate(self.rows):
            style = "bold green" if row is self.best else "dim" if self.misses(row) else None
            table.add_row(*(column.cells[place] for column in columns), style=style)
        return table

    def columns(self) -> list[Column]:
        """The cells of both tables."""
        rows, planned = self.rows, f"{self.constraints.documents:,}"
        columns = [
            Column("#", tuple(str(place) for place in range(1, len(rows) + 1))),
            Column("design", tuple(row.method for row in rows), "left"),
            Column("code, bytes", tuple(f"{row.code_bytes:,}" for row in rows)),
            Column("lists", tuple(_or_nothing(row.lists) for row in rows)),
            Column("probes", tuple(_or_nothing(row.probes) for row in rows)),
            Column("refinement", tuple(row.refinement for row in rows), "left"),
            Column("bytes a, document", tuple(f"{row.bytes_per_document:,.1f}" for row in rows)),
            Column("index", tuple(size_text(row.index_bytes) for row in rows)),
            Column("overlap@10", tuple(_range(row.overlap) for row in rows), "left"),
        ]
        if any(row.kept is not None for row in rows):
            columns.append(Column("RR@10 kept", tuple(_range(row.kept) for row in rows), "left"))
        columns += [
            Column("ms", tuple(_milliseconds(row.ms) for row in rows)),
            Column(f"ms at, {planned}", tuple(_milliseconds(row.ms_planned) for row in rows)),
            Column("build, s", tuple(short(row.build_seconds) or NOTHING for row in rows)),
            Column(
                f"s at, {planned}", tuple("≤ " + (short(row.build_seconds_planned) or "") for row in rows)
            ),
            Column("", tuple(self.verdict(row) for row in rows), "left"),
        ]
        return columns

    def footnotes(self) -> list[str]:
        """What was measured, on what, and what was worked out."""
        lines = [
            f"Measured on {self.sample:,} documents with {self.queries:,} held-out queries: overlap@10 with exact "
            "search, RR@10 as a share of its RR@10 (95 % bootstrap), ms (median of single queries, one thread), build.",
            f"Worked out for {self.constraints.documents:,} documents: bytes (everything counted), index, and from the "
            "measured times those at that size; build times are upper bounds.",
        ]
        if self.constraints.documents > self.sample:
            lines.append("Among more documents the same design keeps less: overlap is that of the sample.")
        return [*lines, *self.notes]


def size_text(number: float) -> str:
    """Bytes for people: 1.23 GB."""
    for unit, size in UNITS:
        if number >= size:
            return f"{short(number / size)} {unit}"
    return f"{number:.0f} B"


def _range(found: Interval | None) -> str:
    if found is None:
        return NOTHING
    return f"{rounded(found.mean)} [{rounded(found.low)}, {rounded(found.high)}]"


def _milliseconds(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def _or_nothing(value: int | None) -> str:
    return NOTHING if value is None else f"{value:,}"
