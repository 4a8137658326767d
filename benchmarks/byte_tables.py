"""The tables of quality_per_byte: every method at every size, and how ours stands against each.

Ours is *best* in a cell when no rival's mean is above it, *tied* when one is and the 95 % interval of the paired
difference holds 0, and *behind* otherwise. Methods that read labels are held against ours with labels. Where several
seeds were run for both, values are their means, query by query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import setting as s

from limbeck.evaluate import holm, paired_interval, permutation_test

OURS, PUBLISHED = "Limbeck", "DistillVQ"
OURS_WITH_LABELS = "Limbeck with labels"
WITH_LABELS = ("JPQ", "RepCONC", "MoPQ", "DPQ", "Poeem")  # rivals that read them, where a set has any
TESTED = ("RR@10", "overlap@10")


class Cells:
    """Finished runs by set, method, size and seed; of several with other constants the last."""

    def __init__(self, results: s.ResultFile) -> None:
        self.results = results
        self.rows: dict[tuple[str, str, int, int], dict[str, Any]] = {}
        for row in results.rows:
            key = row["key"]
            self.rows[key["set"], key["method"], key["size"], key["seed"]] = row

    def seeds(self, name: str, method: str, size: int) -> list[int]:
        """Seeds with figures."""
        found = [k for k, row in self.rows.items() if k[:3] == (name, method, size) and "means" in row]
        return sorted(k[3] for k in found)

    def mean(self, name: str, method: str, size: int, field: str) -> float | None:
        """Of a measure over the seeds, or None."""
        rows = [self.rows[name, method, size, seed] for seed in self.seeds(name, method, size)]
        values = [row["means"].get(field, row.get(field)) for row in rows]
        return float(np.mean(values)) if values else None

    def pair(
        self, name: str, rival: str, size: int, measure: str, *, ours: str = OURS
    ) -> tuple[Any, Any] | None:
        """Values of ours and of a rival for each query, means over the seeds that both have."""
        both = set(self.seeds(name, ours, size)) & set(self.seeds(name, rival, size))
        sides = []
        for method in (ours, rival):
            found = [self.results.values(self.rows[name, method, size, seed]["key"]) for seed in sorted(both)]
            if not found or any(one is None for one in found):
                return None
            sides.append(np.mean([one[measure] for one in found if one is not None], axis=0))
        return sides[0], sides[1]


def report(results: s.ResultFile, sets: Sequence[str], methods: Sequence[str]) -> str:
    """All tables as Markdown."""
    cells = Cells(results)
    sizes = sorted({key[2] for key in cells.rows if key[2]})
    lines = [
        "# Quality per byte",
        "",
        "RR@10 / overlap@10 with exact search, on splits that nothing was chosen or trained on; means over seeds, "
        "their number in brackets. Bytes a document are what a search holds: codes, ids of lists, codebooks and "
        "transforms. `python benchmarks/quality_per_byte.py`.",
    ]
    for name in sets:
        if any(key[0] == name for key in cells.rows):
            lines += _one_set(cells, name, sizes, methods)
    lines += _against_published(cells, sets, sizes)
    return "\n".join(lines) + "\n"


def _one_set(cells: Cells, name: str, sizes: Sequence[int], methods: Sequence[str]) -> list[str]:
    exact = cells.rows[name, "exact", 0, 0]
    lines = [
        "",
        f"## {name}",
        "",
        f"{exact['documents']:,} documents, {exact['queries']:,} queries; exact search: RR@10 "
        f"{exact['means']['RR@10']:.4f} at {exact['bytes_here']} bytes. Data `{exact['data_fingerprint'][:16]}`.",
        "",
        "| method | " + " | ".join(f"{size} bytes" for size in sizes) + " |",
        "|---|" + "---|" * len(sizes),
    ]
    own = []
    for method in methods:
        if cells.seeds(name, method, 0):
            own.append(method)
            continue
        shown = [_cell(cells, name, method, size) for size in sizes]
        if any(shown):
            lines.append(f"| {method} | " + " | ".join(shown) + " |")
    lines += [f"| {method} | {_own(cells, name, method)} |" + " |" * (len(sizes) - 1) for method in own]
    lines += ["", *_bytes(cells, name, sizes, methods), "", *_standing(cells, name, sizes, methods)]
    left = [row for row in cells.rows.values() if row["key"]["set"] == name and "left_out" in row]
    if left:
        lines += ["", "Left out: " + "; ".join(f"{r['key']['method']}: {r['left_out']}" for r in left)]
    return lines


def _cell(cells: Cells, name: str, method: str, size: int) -> str:
    reciprocal = cells.mean(name, method, size, "RR@10")
    if reciprocal is None:
        return ""
    seeds = len(cells.seeds(name, method, size))
    several = f" ({seeds})" if seeds > 1 else ""
    return f"{reciprocal:.4f} / {cells.mean(name, method, size, 'overlap@10'):.4f}{several}"


def _own(cells: Cells, name: str, method: str) -> str:
    size = cells.mean(name, method, 0, "code_bytes")
    return f"{_cell(cells, name, method, 0)}, at {size:.0f} bytes, its own size"


def _bytes(cells: Cells, name: str, sizes: Sequence[int], methods: Sequence[str]) -> list[str]:
    """Bytes with all tables, and seconds."""
    lines = [
        "Bytes a document here / at a million documents, and seconds to build (without the OPQ that it starts from):",
        "",
        "| method | " + " | ".join(f"{size} bytes" for size in sizes) + " |",
        "|---|" + "---|" * len(sizes),
    ]
    for method in methods:
        shown = []
        for size in sizes:
            facts = [
                cells.mean(name, method, size, f) for f in ("bytes_here", "bytes_at_a_million", "seconds")
            ]
            shown.append("" if facts[0] is None else f"{facts[0]:.1f} / {facts[1]:.1f}, {facts[2]:.0f} s")
        if any(shown):
            lines.append(f"| {method} | " + " | ".join(shown) + " |")
    return lines


def _standing(cells: Cells, name: str, sizes: Sequence[int], methods: Sequence[str]) -> list[str]:
    """Ours against the best rival in each cell, without labels and with them."""
    lines = [
        "| method | bytes | measure | ours | of exact | best rival | difference [95 %] | ours is |",
        "|---|---:|---|---:|---:|---|---|---|",
    ]
    without = [m for m in methods if m not in (OURS, OURS_WITH_LABELS, *WITH_LABELS)]
    for ours, rivals in ((OURS, without), (OURS_WITH_LABELS, WITH_LABELS)):
        for size in sizes:
            lines += [line for m in TESTED if (line := _cell_standing(cells, name, size, m, ours, rivals))]
    return lines


def _cell_standing(
    cells: Cells, name: str, size: int, measure: str, ours: str, rivals: Sequence[str]
) -> str | None:
    reached = cells.mean(name, ours, size, measure)
    known = {m: value for m in rivals if (value := cells.mean(name, m, size, measure)) is not None}
    if reached is None or not known:
        return None
    best = max(known, key=known.__getitem__)
    pair = cells.pair(name, best, size, measure, ours=ours)
    if pair is None:
        return None
    found = paired_interval(*pair)
    standing = "best" if found.mean >= 0 else "tied" if found.high >= 0 else "behind"
    share = reached / (cells.mean(name, "exact", 0, measure) or 1.0)
    return (
        f"| {ours} | {size} | {measure} | {reached:.4f} | {share:.1%} | {best} {known[best]:.4f} "
        f"| {found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}] | {standing} |"
    )


def _against_published(cells: Cells, sets: Sequence[str], sizes: Sequence[int]) -> list[str]:
    """Ours against Distill-VQ: permutation tests, Holm over all of them."""
    tested = []
    for name in sets:
        for size in (size for size in sizes if size <= 32):
            for measure in TESTED:
                pair = cells.pair(name, PUBLISHED, size, measure)
                if pair is not None:
                    tested.append((name, size, measure, paired_interval(*pair), permutation_test(*pair)))
    lines = [
        "",
        f"## Against {PUBLISHED}",
        "",
        "Frozen product codes, temperature from the data. Paired permutation tests, Holm over all rows.",
        "",
        "| set | bytes | measure | difference [95 %] | p |",
        "|---|---:|---|---|---:|",
    ]
    adjusted = holm([p for *_, p in tested]) if tested else []
    for (name, size, measure, found, _), p in zip(tested, adjusted, strict=True):
        lines.append(
            f"| {name} | {size} | {measure} | {found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}] | {p:.4f} |"
        )
    return lines
