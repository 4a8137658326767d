"""A report says the same in a terminal, in Markdown and in JSON."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from limbeck.errors import ConfigError, DataError, VersionMismatch
from limbeck.evaluate import Cost, Interval, Report, Row, Scores, Speed, adjust, compare_systems
from limbeck.evaluate.tables import columns_of, display_width, footnotes, rounded


def scores(mean, seed=0):
    rng = np.random.default_rng(0)
    noise = np.random.default_rng(seed).normal(0, 0.02, 500)
    values = np.clip(rng.random(500) * 2 * mean + noise, 0, 1)
    return Scores(("RR@10",), values[:, None], tuple(map(str, range(500))), np.arange(500))


@pytest.fixture(scope="module")
def report():
    exact, opq, distilled, twin = scores(0.4), scores(0.2, 1), scores(0.3, 2), scores(0.4, 3)
    speeds = (Speed(1, 12345.6, 0.0812, 0.4), Speed(2, 999.4, 2.5, 31.2))
    rows = (
        Row.of("exact", exact, cost=Cost(1536, 1536.0), is_exact=True),
        Row.of("OPQ 16", opq, cost=Cost(16, 25.25, 12.34, speeds), method="OPQ"),
        Row.of(
            "Distill|VQ 16",
            distilled.plus("overlap@10", np.full(500, 0.5)),
            cost=Cost(16, 25.25, 123.4, speeds),
            method="Distill-VQ",
        ),
        Row.of("twin", twin),
    )
    comparisons = [
        *compare_systems(opq, {"Distill|VQ 16": distilled}, baseline_name="OPQ 16"),
        *compare_systems(
            exact, {"OPQ 16": opq, "twin": twin, "Distill|VQ 16": distilled}, baseline_name="exact"
        ),
    ]
    return Report(
        "python-api",
        rows,
        tuple(adjust(comparisons)),
        queries=500,
        unlabelled=3,
        notes=("8,000 documents, `limbeck quickstart`",),
    )


def test_json_gives_an_equal_report_back(report):
    assert Report.from_json(report.to_json()) == report
    plain = replace(report, comparisons=(), notes=(), queries=None)
    assert Report.from_json(plain.to_json()) == plain


@given(st.floats(allow_nan=False, allow_infinity=False), st.text())
def test_json_keeps_every_figure_and_every_name(value, name):
    report = Report(name, (Row(name, {name: Interval(value, value, value)}, Cost(None, value)),))
    assert Report.from_json(report.to_json()) == report


def test_json_holds_no_nan_and_says_where_one_came_from(report):
    json.loads(report.to_json(), parse_constant=pytest.fail)
    with pytest.raises(DataError, match=r"t\.rows\[0\]\.measures\.RR\.low is nan"):
        Report("t", (Row("a", {"RR": Interval(0.5, float("nan"), 1.0)}),))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda c: c.update(format="other"), DataError, "not a report"),
        (lambda c: c.update(version=2), VersionMismatch, "version 2"),
        (lambda c: c.pop("rows"), DataError, "lacks a field"),
        (lambda c: c["rows"][0].update(extra=1), DataError, "one too many"),
        (lambda c: c.update(comparisons=[{}]), DataError, "lacks a field"),
    ],
)
def test_json_that_is_not_this_report_is_refused(report, change, error, text):
    content = json.loads(report.to_json())
    change(content)
    with pytest.raises(error, match=text):
        Report.from_json(json.dumps(content))


def test_text_that_is_not_json_is_refused():
    for text in ("{", "[]", '"x"'):
        with pytest.raises(DataError):
            Report.from_json(text)


def test_figures_are_rounded_as_papers_print_them():
    assert [rounded(v) for v in (0.3041, 0.9996, 1.0, 0.0, -0.00001, -0.0121)] == [
        ".304",
        "1.000",
        "1.000",
        ".000",
        ".000",
        "-.012",
    ]
    assert rounded(1234.5678) == "1,234.57"


def test_cells_of_a_column_stand_in_line(report):
    for column in columns_of(report, costs="all")[3:4]:
        places = {cell.index("±") for cell in column.cells if "±" in cell}
        assert len(places) == 1
        assert len({display_width(cell) for cell in column.cells}) == 1


def test_markdown_is_a_table_with_aligned_source(report):
    lines = report.to_markdown(costs="all").splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert lines[0] == "**python-api**"
    assert len({display_width(line) for line in table}) == 1
    assert len(table) == 2 + len(report.rows)
    unescaped = [line.replace("\\|", "") for line in table]
    assert len({line.count("|") for line in unescaped}) == 1
    assert table[1].startswith("| :---")
    assert "| 12,300 |" in " ".join(table[3].split())
    assert "0.08 / 0.40" in table[3]
    assert "nan" not in report.to_markdown().lower()


def test_only_columns_with_something_in_them_are_shown(report):
    headings = [column.heading for column in columns_of(report)]
    assert headings == ["system", "bytes", "RR@10", "overlap@10", "q/s, 1 thread"]
    bare = Report("t", (Row("a", {"RR": Interval(0.5, 0.4, 0.6)}),))
    assert [column.heading for column in columns_of(bare)] == ["system", "RR"]
    everything = [column.heading for column in columns_of(report, costs="all")]
    assert everything[4:] == [
        "overlap@10",
        "build s",
        "q/s, 1 thread",
        "p50 / p99 ms, 1 thread",
        "q/s, 2 threads",
        "p50 / p99 ms, 2 threads",
    ]


def test_marks_name_the_baseline_that_they_are_against(report):
    text = report.to_markdown()
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert "▼ᵇ" in rows["OPQ 16"]
    assert "▲ᵃ▼ᵇ" in text
    assert "≈ᵇ" in rows["twin"]
    assert "▲ᵃ better than OPQ 16; ▼ᵇ worse than exact: p < 0.01" in text
    assert "Holm over 4 comparisons" in text
    assert "≈ᵇ within 0.5 points of exact at 95 %: two one-sided tests." in text
    assert "95 %, bootstrap over 500 queries (3 without labels left out)" in text


def test_one_baseline_needs_no_letters(report):
    own = tuple(found for found in report.comparisons if found.baseline == "OPQ 16")
    text = replace(report, comparisons=own).to_markdown()
    assert "▲ better than OPQ 16:" in text
    assert "ᵃ" not in text


def test_marks_are_given_below_alpha_only(report):
    assert "▲" not in replace(report, alpha=1e-9).to_markdown()
    assert not [note for note in footnotes(replace(report, comparisons=())) if "better" in note]


def test_intervals_may_be_shown_by_their_ends(report):
    found = report.rows[0].measures["RR@10"]
    expected = f"{rounded(found.mean)} [{rounded(found.low)}, {rounded(found.high)}]"
    assert expected in report.to_markdown(style="range")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_terminal_table_shows_every_system(report, width):
    stream = io.StringIO()
    Console(file=stream, width=width).print(report.to_rich())
    text = stream.getvalue()
    for word in ("exact", "OPQ", "twin", "RR@10", "±", "▲", "quickstart"):
        assert word in text
    assert all(display_width(line) <= width for line in text.splitlines())


def test_wide_characters_take_two_columns():
    assert display_width("東京") == 4
    assert display_width("e\u0301") == 1
    report = Report("t", (Row("東京", {"RR": Interval(0.5, 0.4, 0.6)}), Row("ab", {})))
    table = [line for line in report.to_markdown().splitlines() if line.startswith("|")]
    assert len({display_width(line) for line in table}) == 1


def test_names_cannot_break_the_table():
    report = Report("a*b\n<b>", (Row("x|y\nz", {"RR": Interval(0.5, 0.4, 0.6)}), Row("snake_case", {})))
    text = report.to_markdown()
    assert text.startswith("**a\\*b \\<b>**")
    assert "x\\|y z" in text
    assert "snake_case" in text


def test_rows_with_one_name_and_comparisons_without_a_row_are_refused(report):
    with pytest.raises(ConfigError, match="two rows of a report have one name: a"):
        Report("t", (Row("a", {}), Row("a", {})))
    with pytest.raises(ConfigError, match="no row in the report"):
        replace(report, rows=report.rows[:1])
