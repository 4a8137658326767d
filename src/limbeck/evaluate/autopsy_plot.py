"""The picture of an autopsy: losses by rank and cause, distortion by sub-space, codewords and lists by use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from limbeck.errors import MissingExtra
from limbeck.evaluate.autopsy import CAUSES, Autopsy
from limbeck.evaluate.plot import COLOURS, FAINT, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = 4.6  # inches


def plot_autopsy(found: Autopsy, path: Path, *, title: str = "", dpi: int = 160) -> Path:
    """Draws the panels; the ending of `path` says what is written: .png, .svg, .pdf.

    raises   MissingExtra without matplotlib
    """
    draw(found, title).savefig(path, dpi=dpi)
    return path


def draw(found: Autopsy, title: str) -> Figure:
    """The figure itself, for those who want to change it before it is written."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra(
            "plots need matplotlib.\n\nInstall it with: pip install 'limbeck[plots]'"
        ) from error
    panels = 3 if found.usage.lists is None else 4
    figure = Figure(figsize=(PANEL * panels, 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels)
    if title:
        figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=12)
    _draw_losses(axes[0], found)
    _draw_distortion(axes[1], found)
    _draw_codewords(axes[2], found)
    if found.usage.lists is not None:
        _draw_lists(axes[3], found)
    return figure


def _draw_losses(axes: Axes, found: Autopsy) -> None:
    """A bar a rank: which share of the documents that exact search puts there is lost, by cause."""
    shares = 100 * found.by_rank() / found.queries
    ranks, below = np.arange(1, found.k + 1), np.zeros(found.k)
    for place, cause in enumerate(CAUSES):
        if shares[:, place].any():
            axes.bar(ranks, shares[:, place], bottom=below, color=COLOURS[place], label=cause, width=0.8)
            below += shares[:, place]
    _style(axes, f"Lost of the exact top {found.k}", "exact rank", "% of the queries")
    axes.set_xticks(ranks if found.k <= 20 else ranks[:: found.k // 10])
    if below.any():
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def _draw_distortion(axes: Axes, found: Autopsy) -> None:
    """Two bars a sub-space: its error as a share of its variance, and its share of the error of scores."""
    distortion = found.distortion
    spaces = np.arange(len(distortion.squared))
    lost = 100 * distortion.squared / np.maximum(distortion.variance, 1e-30)
    score = 100 * distortion.score / max(float(distortion.score.sum()), 1e-30)
    axes.bar(spaces - 0.2, lost, width=0.4, color=COLOURS[0], label="of its own variance, lost")
    axes.bar(spaces + 0.2, score, width=0.4, color=COLOURS[1], label="of all score error, from here")
    _style(axes, "Distortion by sub-space", "sub-space", "%")
    axes.set_ylim(0, 1.25 * max(float(lost.max()), float(score.max()), 1e-9))
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="upper right")


def _draw_codewords(axes: Axes, found: Autopsy) -> None:
    """A line a part: its codewords from the most to the least used, in multiples of level use."""
    counts = -np.sort(-found.usage.codewords, axis=1)
    level = counts.mean(axis=1, keepdims=True)
    for line in counts / np.maximum(level, 1e-30):
        axes.plot(np.arange(1, len(line) + 1), line, color=COLOURS[0], alpha=0.35, linewidth=1)
    axes.axhline(1, color=INK, linestyle=(0, (5, 3)), linewidth=1)
    _style(axes, "Codewords by use, a line a part", "codeword, most used first", "documents, level use = 1")
    axes.set_ylim(bottom=0)
    axes.text(
        0.97, 0.93, f"{found.usage.dead_codewords:,} dead", transform=axes.transAxes, ha="right", color=INK
    )


def _draw_lists(axes: Axes, found: Autopsy) -> None:
    """The sizes of all lists, the largest first."""
    assert found.usage.lists is not None
    sizes = -np.sort(-found.usage.lists)
    axes.fill_between(
        np.arange(1, len(sizes) + 1), sizes, color=COLOURS[2], alpha=0.6, step="mid", linewidth=0
    )
    axes.axhline(sizes.mean(), color=INK, linestyle=(0, (5, 3)), linewidth=1)
    _style(axes, f"Lists, {found.probes} of {found.lists} visited", "list, largest first", "documents")
    axes.set_ylim(bottom=0)
    axes.text(
        0.97, 0.93, f"{found.usage.dead_lists:,} empty", transform=axes.transAxes, ha="right", color=INK
    )


def _style(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK)
