"""Quality against bytes: the picture of what compression costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from limbeck.errors import ConfigError, MissingExtra
from limbeck.evaluate.compare import Interval
from limbeck.evaluate.report import Report
from limbeck.evaluate.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito, "Color Universal Design", 2008, in an order whose neighbours differ in lightness too
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
INK, FAINT = "#333333", "#8a8a8a"
Sizes = Literal["code_bytes", "bytes_per_document"]


@dataclass(frozen=True, slots=True)
class Line:
    """One method at several sizes, smallest first."""

    method: str
    sizes: tuple[float, ...]
    values: tuple[Interval, ...]


def plot_quality_against_bytes(
    reports: Report | Sequence[Report],
    path: Path,
    *,
    measure: str = "RR@10",
    sizes: Sizes = "code_bytes",
    dpi: int = 160,
) -> Path:
    """Draws one panel a report: one line a method with interval bars, exact search as a dashed line.

    path     where to write; its ending says what: .png, .svg, .pdf
    measure  any that the rows hold, also `overlap@10`
    sizes    what stands on the x axis: the code alone, or everything that search holds
    raises   MissingExtra without matplotlib; ConfigError when no row has both the measure and a size
    """
    figure = draw([reports] if isinstance(reports, Report) else reports, measure, sizes)
    figure.savefig(path, dpi=dpi)
    return path


def draw(reports: Sequence[Report], measure: str, sizes: Sizes) -> Figure:
    """The figure itself, for those who want to change it before it is written."""
    lines = [lines_of(report, measure, sizes) for report in reports]
    if not any(lines):
        raise ConfigError(
            f"no row has both `{measure}` and `{sizes}`, so there is nothing to draw.\n\n"
            "Hint: give each row Cost(code_bytes=...), and choose a measure from "
            f"{sorted({name for report in reports for name in report.measures})}."
        )
    figure = _figure(len(reports))
    methods = list(dict.fromkeys(line.method for panel in lines for line in panel))
    for axes, report, panel in zip(figure.axes, reports, lines, strict=True):
        _draw_panel(axes, report, panel, measure, methods)
        what = "(code)" if sizes == "code_bytes" else "(everything counted)"
        axes.set_xlabel(f"bytes a document {what}", color=INK)
    figure.axes[0].set_ylabel(measure, color=INK)
    return figure


def lines_of(report: Report, measure: str, sizes: Sizes) -> list[Line]:
    """The lines of one panel, in the order of the rows."""
    points: dict[str, list[tuple[float, Interval]]] = {}
    for row in report.rows:
        size = _size(row, sizes)
        if not row.is_exact and size and measure in row.measures:
            points.setdefault(row.method or row.system, []).append((size, row.measures[measure]))
    lines = []
    for method, found in points.items():
        found.sort(key=lambda point: point[0])
        lines.append(Line(method, tuple(size for size, _ in found), tuple(value for _, value in found)))
    return lines


def _size(row: Row, sizes: Sizes) -> float | None:
    return row.cost.code_bytes if sizes == "code_bytes" else row.cost.bytes_per_document


def _figure(panels: int) -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra(
            "plots need matplotlib.\n\nInstall it with: pip install 'limbeck[plots]'"
        ) from error
    figure = Figure(figsize=(1.2 + 5.2 * panels, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.subplots(1, panels, squeeze=False)
    return figure


def _draw_panel(
    axes: Axes, report: Report, lines: Sequence[Line], measure: str, methods: Sequence[str]
) -> None:
    _style(axes, report.title, sorted({size for line in lines for size in line.sizes}))
    for line, aside in zip(lines, _asides(lines), strict=True):
        _draw_line(axes, line, methods.index(line.method), aside)
    exact = next((row for row in report.rows if row.is_exact and measure in row.measures), None)
    if exact is not None:
        _draw_exact(axes, exact, exact.measures[measure])
    axes.margins(x=0.06, y=0.12)
    _label_ends(axes, lines, methods)


def _asides(lines: Sequence[Line]) -> list[float]:
    """Factors on x that set the bars of one size beside one another: 1.2 % of the axis from line to line."""
    sizes = [size for line in lines for size in line.sizes]
    width = math.log2(max(sizes) / min(sizes)) or 1.0 if sizes else 1.0
    middle = (len(lines) - 1) / 2
    return [2 ** (0.012 * width * (place - middle)) for place in range(len(lines))]


def _draw_line(axes: Axes, line: Line, place: int, aside: float) -> None:
    means = [value.mean for value in line.values]
    below = [value.mean - value.low for value in line.values]
    above = [value.high - value.mean for value in line.values]
    axes.errorbar(
        [size * aside for size in line.sizes],
        means,
        yerr=[below, above],
        color=COLOURS[place % len(COLOURS)],
        marker=MARKERS[place % len(MARKERS)],
        markersize=6,
        markeredgecolor="white",
        label=line.method,
        linewidth=1.8,
        elinewidth=1.2,
        capsize=3,
    )


def _draw_exact(axes: Axes, row: Row, value: Interval) -> None:
    axes.axhspan(value.low, value.high, color=FAINT, alpha=0.12, linewidth=0)
    axes.axhline(value.mean, color=INK, linestyle=(0, (5, 3)), linewidth=1.2)
    size = f", {row.cost.code_bytes:,} bytes" if row.cost.code_bytes else ""
    axes.annotate(
        f"{row.system}{size}",
        (0.015, value.mean),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        color=INK,
        fontsize=9,
    )


def _style(axes: Axes, title: str, sizes: Sequence[float]) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xscale("log", base=2)
    ticks = _apart(sizes)
    axes.set_xticks(ticks, [f"{size:,.0f}" if size >= 10 else f"{size:.3g}" for size in ticks])
    axes.minorticks_off()
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)


def _apart(sizes: Sequence[float]) -> list[float]:
    """Those of the ascending sizes whose labels do not touch: 8 % of the axis from one to the next."""
    kept: list[float] = []
    for size in sizes:
        if not kept or math.log2(size / kept[-1]) >= 0.08 * math.log2(sizes[-1] / sizes[0]):
            kept.append(size)
    return kept


def _label_ends(axes: Axes, lines: Sequence[Line], methods: Sequence[str]) -> None:
    """Each line's name right of the panel at the height of its end, moved apart where ends come close."""
    low, high = axes.get_ylim()
    gap = (high - low) * 0.055  # one line of text in a panel of 4.2 inches
    last = float("-inf")
    for line in sorted(lines, key=lambda line: line.values[-1].mean):
        height = max(line.values[-1].mean, last + gap)
        last = height
        axes.annotate(
            line.method,
            (1.0, height),
            xycoords=("axes fraction", "data"),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=COLOURS[methods.index(line.method) % len(COLOURS)],
            fontsize=9.5,
            fontweight="bold",
            annotation_clip=False,
        )
