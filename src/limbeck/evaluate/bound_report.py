"""The terms of the bound for people and for machines: two tables for the terminal, JSON with every figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from limbeck.evaluate.bound import BOUNDED, TERMS, Telescope, rank_correlation

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

FORMAT, VERSION = "limbeck-diagnosis", 1
THOUSANDTHS = 1000.0  # of a nat: terms are small beside the risk


def correlations(students: Mapping[str, Telescope]) -> dict[str, float | None]:
    """Spearman's correlation of R_Emb,Q with the gap over all students, with distances of train and of test."""
    gaps = [found.gap for found in students.values()]
    return {
        "train": rank_correlation([found.query_distance for found in students.values()], gaps),
        "test": rank_correlation([found.test_query_distance for found in students.values()], gaps),
    }


def as_json(students: Mapping[str, Telescope], *, about: Mapping[str, Any]) -> str:
    """All figures of all students; `about` says what they were measured on."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        **about,
        "rank_correlation": correlations(students),
        "students": [{"name": name, **_values(found)} for name, found in students.items()],
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)


def summary(students: Mapping[str, Telescope]) -> Group:
    """What all students share, the five terms of each, and what the theorem allows them."""
    from rich.console import Group
    from rich.text import Text

    lines = [*_shared(next(iter(students.values()))), correlation_line(students)]
    return Group(_terms(students), _bounds(students), *(Text(line) for line in lines if line))


def correlation_line(students: Mapping[str, Telescope]) -> str:
    """A sentence about distance and gap; nothing for a single student."""
    found = correlations(students)
    if found["train"] is None or found["test"] is None:
        return ""
    return (
        f"Rank correlation of R_Emb,Q with the gap over {len(students)} students: {found['train']:+.2f} (train), "
        f"{found['test']:+.2f} (test). Above 0, the nearer student loses less."
    )


def _values(found: Telescope) -> dict[str, Any]:
    return {
        **asdict(found),
        "terms": dict(zip(TERMS, found.terms, strict=True)),
        "gap": found.gap,
        "bounds": found.bounds,
        "slack": found.slack,
        "bound": found.bound,
        "paper_bound": found.paper_bound,
    }


def _shared(found: Telescope) -> list[str]:
    return [
        "Risk, gap, terms and bounds in thousandths of a nat; the gap with its 95 % interval over the test queries.",
        f"{found.train_pairs:,} training and {found.test_pairs:,} test pairs; K = {found.largest_norm:.4f}, "
        f"scale {found.scale:g}. The teacher: risk {THOUSANDTHS * found.teacher_risk:.2f}, calibration error "
        f"{found.train_calibration:.4f} (train) and {found.test_calibration:.4f} (test).",
    ]


def _terms(students: Mapping[str, Telescope]) -> Table:
    """A row a student: distances, and the gap as the sum of its terms."""
    distances = ("R_Emb,Q\ntrain", "R_Emb,Q\ntest", "R_Emb,D")
    rows = [
        (
            name,
            f"{found.query_distance:.4f}",
            f"{found.test_query_distance:.4f}",
            f"{found.document_distance:.4f}" if found.document_distance else "0",
            f"{THOUSANDTHS * found.student_risk:.2f}",
            f"{THOUSANDTHS * found.gap:+.2f} ±{THOUSANDTHS * found.gap_interval.half_width:.2f}",
            *(f"{THOUSANDTHS * term:+.2f}" for term in found.terms),
        )
        for name, found in students.items()
    ]
    return _table(("student", *distances, "risk\ntest", "gap", *TERMS), rows)


def _bounds(students: Mapping[str, Telescope]) -> Table:
    """A row a student: each bound, with the slack that its term leaves."""
    rows = [
        (
            name,
            *(_bound(found.bounds[term], found.slack[term]) for term in BOUNDED),
            _bound(found.bound, found.bound - found.gap),
            f"{THOUSANDTHS * found.paper_bound:.1f}",
        )
        for name, found in students.items()
    ]
    headings = ("at most (slack)", "|T1|", "T3", "|T4|", "gap", "gap, with\nthe paper's 2K")
    return _table(headings, rows)


def _bound(bound: float, slack: float) -> str:
    return f"{THOUSANDTHS * bound:.1f} ({THOUSANDTHS * slack:.1f})"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left", no_wrap=place > 0, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
