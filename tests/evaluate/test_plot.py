"""The plot draws one line a method, intervals and the exact line, into the file that was asked for."""

import sys
from itertools import pairwise

import pytest

from limbeck.errors import ConfigError, MissingExtra
from limbeck.evaluate import Cost, Interval, Report, Row, plot_quality_against_bytes
from limbeck.evaluate.plot import _figure, draw, lines_of

pytest.importorskip("matplotlib")


def row(system, method, size, mean):
    return Row(system, {"RR@10": Interval(mean, mean - 0.01, mean + 0.01)}, Cost(size, size + 9.5), method)


@pytest.fixture
def report():
    exact = Row("exact", {"RR@10": Interval(0.35, 0.34, 0.36)}, Cost(1536, 1536.0), is_exact=True)
    rows = [
        row("OPQ 32", "OPQ", 32, 0.279),
        row("OPQ 16", "OPQ", 16, 0.196),
        row("D 16", "Distill-VQ", 16, 0.25),
    ]
    return Report("python-api", (exact, *rows, Row("BM25", {"RR@10": Interval(0.2, 0.1, 0.3)})))


def test_each_method_makes_one_line_from_small_to_large(report):
    opq, distilled = lines_of(report, "RR@10", "code_bytes")
    assert (opq.method, opq.sizes, [value.mean for value in opq.values]) == ("OPQ", (16, 32), [0.196, 0.279])
    assert (distilled.method, distilled.sizes) == ("Distill-VQ", (16,))
    assert lines_of(report, "RR@10", "bytes_per_document")[0].sizes == (25.5, 41.5)


def test_the_figure_holds_lines_ticks_the_exact_line_and_names(report):
    figure = draw([report, report], "RR@10", "code_bytes")
    axes = figure.axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["16", "32"]
    assert sorted(texts) == ["Distill-VQ", "OPQ", "exact, 1,536 bytes"]
    assert len(axes.containers) == 2
    assert any(list(line.get_ydata()) == [0.35, 0.35] for line in axes.lines)
    assert len(figure.axes) == 2


def test_names_at_the_right_do_not_overlap():
    rows = tuple(row(f"m{place}", f"m{place}", 16, 0.2 + place / 10_000) for place in range(5))
    figure = draw([Report("t", rows)], "RR@10", "code_bytes")
    figure.canvas.draw()
    boxes = sorted((text.get_window_extent() for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))


def test_close_sizes_do_not_write_over_one_another():
    sizes = (16, 16.2, 16.4, 32, 33, 64)
    rows = tuple(row(f"m{size}", "m", size, 0.2) for size in sizes)
    figure = draw([Report("t", rows)], "RR@10", "code_bytes")
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_file_has_the_kind_that_its_name_says(report, tmp_path, ending):
    path = plot_quality_against_bytes(report, tmp_path / f"plot.{ending}")
    start = path.read_bytes()[:200]
    assert start.startswith(b"\x89PNG") if ending == "png" else b"<?xml" in start


def test_pyplot_is_never_touched(report, tmp_path):
    plot_quality_against_bytes(report, tmp_path / "plot.png")
    assert "matplotlib.pyplot" not in sys.modules


def test_a_report_without_sizes_or_without_the_measure_is_refused(report, tmp_path):
    with pytest.raises(ConfigError, match=r"choose a measure from \['RR@10'\]"):
        plot_quality_against_bytes(report, tmp_path / "plot.png", measure="R@100")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"pip install 'limbeck\[plots\]'"):
        _figure(1)
