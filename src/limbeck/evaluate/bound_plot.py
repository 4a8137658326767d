"""The picture of a diagnosis: distance against gap, and each student's gap as the sum of its terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import MissingExtra
from limbeck.evaluate.bound import TERMS, Telescope
from limbeck.evaluate.bound_report import correlations
from limbeck.evaluate.plot import COLOURS, FAINT, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEANINGS = ("student against y", "test - train", "matching", "teacher against y", "train - test")
THOUSANDTHS = 1000.0


def plot_bound(students: Mapping[str, Telescope], path: Path, *, title: str = "", dpi: int = 160) -> Path:
    """Draws both panels; the ending of `path` says what is written: .png, .svg, .pdf.

    raises   MissingExtra without matplotlib
    """
    draw(students, title).savefig(path, dpi=dpi)
    return path


def draw(students: Mapping[str, Telescope], title: str) -> Figure:
    """The figure itself, for those who want to change it before it is written."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra(
            "plots need matplotlib.\n\nInstall it with: pip install 'limbeck[plots]'"
        ) from error
    figure = Figure(figsize=(15, 3.4 + 0.2 * len(students)), layout="constrained")
    FigureCanvasAgg(figure)
    distances, all_terms, rest = figure.subplots(1, 3, width_ratios=(1.2, 1, 1))
    if title:
        figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=12)
    _draw_distances(distances, students)
    names = [f"{term} {meaning}" for term, meaning in zip(TERMS, MEANINGS, strict=True)]
    terms = np.array([found.terms for found in students.values()])
    _draw_terms(all_terms, students, terms, names, COLOURS)
    together = np.column_stack([terms[:, 0] + terms[:, 3], terms[:, [1, 2, 4]]])
    _draw_terms(rest, students, together, ["T1 + T4", "", "", ""], (COLOURS[5], *COLOURS[1:3], COLOURS[4]))
    all_terms.set_title("The gap as the sum of five terms", loc="left", fontsize=11, color=INK)
    rest.set_title("The same, T1 + T4 as one", loc="left", fontsize=11, color=INK)
    rest.tick_params(labelleft=False)
    _draw_legend(figure, all_terms, rest)
    return figure


def _draw_distances(axes: Axes, students: Mapping[str, Telescope]) -> None:
    """A numbered point a student with the interval of its gap, and a line to its distance on test."""
    gaps = [THOUSANDTHS * found.gap for found in students.values()]
    train = [found.query_distance for found in students.values()]
    test = [found.test_query_distance for found in students.values()]
    spans = THOUSANDTHS * np.array([(f.gap_interval.low, f.gap_interval.high) for f in students.values()])
    axes.hlines(gaps, train, test, color=FAINT, linewidth=1, zorder=1)
    axes.vlines(train, *spans.T, color=COLOURS[0], linewidth=1.4, zorder=1)
    axes.plot(train, gaps, "o", color=COLOURS[0], markersize=13, label="on the training pairs", zorder=3)
    axes.plot(test, gaps, "o", color="white", markeredgecolor=FAINT, markersize=6, label="on the test pairs")
    for place, point in enumerate(zip(train, gaps, strict=True), start=1):
        inside = {"color": "white", "fontsize": 8, "fontweight": "bold"}
        axes.annotate(f"{place}", point, ha="center", va="center_baseline", **inside)
    axes.axhline(0, color=INK, linestyle=(0, (5, 3)), linewidth=1, zorder=1)
    axes.set_title(_about_correlation(students), loc="left", fontsize=11, color=INK)
    _style(axes, "R_Emb,Q: mean distance of query vectors from the teacher's", grid="y")
    axes.set_ylabel("R(student) - R(teacher) on test, nat / 1000", color=INK)
    axes.margins(0.08)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, markerscale=0.6)


def _about_correlation(students: Mapping[str, Telescope]) -> str:
    found = correlations(students)
    if found["train"] is None or found["test"] is None:
        return "Distance and gap"
    return f"Distance and gap: rank correlation {found['train']:+.2f} (train), {found['test']:+.2f} (test)"


def _draw_terms(
    axes: Axes,
    students: Mapping[str, Telescope],
    terms: NDArray[np.float64],
    names: Sequence[str],
    colours: Sequence[str],
) -> None:
    """A bar a student: what adds to its gap to the right, what takes from it to the left, their sum as a mark."""
    rows = np.arange(len(students))
    right, left = np.zeros(len(rows)), np.zeros(len(rows))
    for values, name, colour in zip(THOUSANDTHS * terms.T, names, colours, strict=False):
        start = np.where(values >= 0, right, left)
        axes.barh(rows, values, left=start, color=colour, height=0.62, label=name)
        right, left = right + np.maximum(values, 0), left + np.minimum(values, 0)
    gaps = [THOUSANDTHS * found.gap for found in students.values()]
    axes.plot(gaps, rows, "D", color="black", markeredgecolor="white", markersize=7, label="the gap")
    axes.axvline(0, color=INK, linewidth=1)
    _style(axes, "nat / 1000", grid="x")
    axes.set_yticks(rows, [f"{place}: {name}" for place, name in enumerate(students, start=1)])
    axes.invert_yaxis()


def _draw_legend(figure: Figure, all_terms: Axes, rest: Axes) -> None:
    """One legend below: the terms, and the two that are taken as one."""
    marks, names = all_terms.get_legend_handles_labels()
    more, other = rest.get_legend_handles_labels()
    at = other.index("T1 + T4")
    figure.legend(
        [*marks, more[at]], [*names, other[at]], loc="outside lower right", ncols=7, frameon=False, fontsize=9
    )


def _style(axes: Axes, x: str, *, grid: Literal["x", "y"]) -> None:
    axes.set_xlabel(x, color=INK)
    axes.grid(axis=grid, color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK)
