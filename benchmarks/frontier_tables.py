"""The tables of speed_frontier: the fastest design of each family at equal overlap, and within a budget of bytes.

A row of the result file is either a tuned design ("choose") or all final timings of a collection ("report"); of several
the last counts. Speeds in brackets are those of `choose`, of designs that had no final timing: another one of the
family was far faster with as few bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import setting as s

TARGETS = (0.8, 0.9, 0.95)  # overlap@10 with exact search
BUDGETS = (64, 96, 128, 192, 448)  # bytes a document
WITHIN = (0.8, 0.9)  # targets that are looked for within each budget
YARDSTICK = "IVF-RaBitQ"
TOLERANCE = 0.005  # of overlap: further below its target on `report`, a figure is marked

Row: TypeAlias = Mapping[str, Any]


def picks(rows: Sequence[Row], target: float, *, slower: float) -> list[dict[str, Any]]:
    """For each design its fastest point on `choose` that reaches the target; none that is far behind its family.

    Behind is who is `slower` times slower than another of the family that holds no more bytes in memory.
    """
    found = [(row, point) for row in rows if (point := fastest(row, target)) is not None]
    return [
        {
            "family": row["key"]["family"],
            "design": row["key"]["design"],
            "target": target,
            "breadth": point["breadth"],
            "factor": point["factor"],
        }
        for row, point in found
        if not any(
            other["key"]["family"] == row["key"]["family"]
            and other["memory"] <= row["memory"]
            and best["qps"] > slower * point["qps"]
            for other, best in found
        )
    ]


def fastest(row: Row, target: float) -> Row | None:
    """The design's fastest point on `choose` that reaches the target."""
    able = [point for point in row["points"] if point["qps"] is not None and point["overlap"] >= target]
    return max(able, key=lambda point: point["qps"], default=None)


class Measured:
    """What is known of one collection: its tuned designs, those left out, and its last final timings."""

    def __init__(self, results: s.ResultFile, name: str) -> None:
        own = [row for row in results.rows if row["key"]["set"] == name]
        tuned = {(r["key"]["family"], r["key"]["design"]): r for r in own if r["key"]["stage"] == "choose"}
        last = [row for row in own if row["key"]["stage"] == "report"][-1:]
        self.name = name
        self.final: Row = last[0] if last else {"rows": []}
        self.left_out = [row for row in tuned.values() if "left_out" in row]
        self.designs = {key: row for key, row in tuned.items() if "points" in row}

    def facts(self, pick: Row) -> Row:
        """Of the design that a final timing is of."""
        return self.designs[pick["family"], pick["design"]]

    def finals(self, family: str, target: float, *, budget: float | None = None) -> list[Row]:
        """Final timings at a target, fastest first, of designs that hold no more bytes in memory than the budget."""
        found = [
            row
            for row in self.final["rows"]
            if row["family"] == family
            and row["target"] == target
            and (row["family"], row["design"]) in self.designs
            and (budget is None or self.facts(row)["memory"] <= budget)
        ]
        return sorted(found, key=lambda row: -row["qps"])

    def broadest(self, family: str, *, budget: float) -> Row | None:
        """The design with the most overlap at its broadest, within the budget."""
        able = [row for (of, _), row in self.designs.items() if of == family and row["memory"] <= budget]
        return max(able, key=lambda row: row["broadest"]["overlap"], default=None)


def report(results: s.ResultFile, families: Sequence[str]) -> str:
    """All tables as Markdown."""
    lines = [
        "# Speed at equal quality",
        "",
        "One thread, one query a call; ours through `index.search` with its checks, rivals on their bare engines. "
        "Settings were chosen on `choose` splits; overlap@10 with exact search and queries a second are of `report` "
        "splits, all of a collection in one run: medians of 5 rounds. An asterisk marks speeds whose overlap on "
        f"`report` is more than {TOLERANCE} below the target that they reached on `choose`. Bytes are those of a "
        "document, with its share of all tables: in memory what a search holds, on disk the saved folder. hnswlib and "
        "ScaNN do not tell their memory: there it is the files that they write, and read back whole. "
        "`python benchmarks/speed_frontier.py`.",
    ]
    for name in dict.fromkeys(row["key"]["set"] for row in results.rows):
        measured = Measured(results, name)
        lines += _heading(measured)
        lines += _at_targets(measured, families)
        lines += _frontier(measured, families)
        lines += _all_designs(measured, families)
    return "\n".join(lines) + "\n"


def _heading(measured: Measured) -> list[str]:
    lines = ["", f"## {measured.name}", ""]
    documents = next((row["documents"] for row in measured.designs.values()), 0)
    of = f"{documents:,} documents"
    if "queries" in measured.final:
        of += f", {measured.final['queries']:,} queries, {measured.final['timed']:,} timed a round. "
        of += measured.final["machine"]
    lines.append(f"{of}.")
    if measured.left_out:
        why = "; ".join(f"{row['key']['design']}: {row['left_out']}" for row in measured.left_out)
        lines += ["", f"Left out: {why}"]
    return lines


def _at_targets(measured: Measured, families: Sequence[str]) -> list[str]:
    lines = [
        "",
        f"The fastest design of each family at each overlap, and its speed relative to the fastest {YARDSTICK}:",
        "",
        f"| overlap | family | design | at | q/s | of {YARDSTICK} | memory | disk | overlap reached | build, s |",
        "|---:|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for target in TARGETS:
        yardstick = measured.finals(YARDSTICK, target)
        for family in families:
            found = measured.finals(family, target)
            if not found:
                if any(of == family for of, _ in measured.designs):
                    lines.append(f"| {target} | {family} | not reached |" + " |" * 7)
                continue
            best, facts = found[0], measured.facts(found[0])
            ratio = f"{best['qps'] / yardstick[0]['qps']:.2f}" if yardstick else ""
            lines.append(
                f"| {target} | {family} | {best['design']} | {_setting(best)} | {_qps(best)} | {ratio} "
                f"| {facts['memory']:.1f} | {facts['disk']:.1f} | {best['overlap']:.4f} | {facts['seconds']:.0f} |"
            )
    return lines


def _frontier(measured: Measured, families: Sequence[str]) -> list[str]:
    lines = [
        "",
        "Within a budget of bytes in memory: the most overlap that any design has at its broadest, and the fastest at "
        "an overlap (memory / disk):",
        "",
        "| budget | family | most overlap | "
        + " | ".join(f"fastest at {target}, q/s" for target in WITHIN)
        + " |",
        "|---:|---|---|" + "---|" * len(WITHIN),
    ]
    for budget in BUDGETS:
        for family in families:
            most = measured.broadest(family, budget=budget)
            if most is None:
                continue
            cells = [f"{most['broadest']['overlap']:.4f}, {most['key']['design']}"]
            for target in WITHIN:
                found = measured.finals(family, target, budget=budget)
                cells.append(_fastest(measured, found[0]) if found else "")
            lines.append(f"| {budget} | {family} | " + " | ".join(cells) + " |")
    return lines


def _fastest(measured: Measured, best: Row) -> str:
    facts = measured.facts(best)
    return f"{_qps(best)}, {best['design']} ({facts['memory']:.0f} / {facts['disk']:.0f})"


def _all_designs(measured: Measured, families: Sequence[str]) -> list[str]:
    lines = [
        "",
        "All designs; speeds in brackets are of `choose`, where another of the family was far faster with as few "
        "bytes:",
        "",
        "| family | design | memory | disk | build, s | most overlap | "
        + " | ".join(f"q/s at {target}" for target in TARGETS)
        + " |",
        "|---|---|---:|---:|---:|---:|" + "---:|" * len(TARGETS),
    ]
    for family in families:
        for (of, design), row in measured.designs.items():
            if of == family:
                speeds = " | ".join(_speed(measured, row, target) for target in TARGETS)
                lines.append(
                    f"| {family} | {design} | {row['memory']:.1f} | {row['disk']:.1f} | {row['seconds']:.0f} "
                    f"| {row['broadest']['overlap']:.4f} | {speeds} |"
                )
    return lines


def _speed(measured: Measured, row: Row, target: float) -> str:
    final = [f for f in measured.finals(row["key"]["family"], target) if f["design"] == row["key"]["design"]]
    if final:
        return _qps(final[0])
    chosen = fastest(row, target)
    return "" if chosen is None else f"({chosen['qps']:,})"


def _qps(final: Row) -> str:
    is_short = final["overlap"] < final["target"] - TOLERANCE
    return f"{final['qps']:,}" + ("\\*" if is_short else "")


def _setting(pick: Row) -> str:
    return f"{pick['breadth']}" + ("" if pick["factor"] is None else f", {pick['factor']}×")
