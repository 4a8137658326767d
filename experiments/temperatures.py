"""EmbedDistill's two temperatures on the splits that constants are chosen on: a static student with labels.

    python experiments/temperatures.py [--sets tldr,medquad]

One temperature is moved at a time. Scores are cosines of MiniLM; the paper's teachers have inner products of another
scale, and temperature 1. RR@10 of `choose` splits, seed 0; no test query is read.
"""

from __future__ import annotations

import argparse

import numpy as np
import setting as s
from ladder import Bench

from limbeck.index.flat import Flat
from limbeck.recipes.embed_distill import EmbedDistill
from limbeck.recipes.static_student import StaticQueries
from limbeck.recipes.students import encoder_of

OBJECTIVES = {
    "both .05 (the default)": EmbedDistill(),
    "labels .02": EmbedDistill(one_hot_temperature=0.02),
    "labels .1": EmbedDistill(one_hot_temperature=0.1),
    "labels 1": EmbedDistill(one_hot_temperature=1.0),
    "scores .02": EmbedDistill(temperature=0.02),
    "scores .1": EmbedDistill(temperature=0.1),
    "scores 1": EmbedDistill(temperature=1.0),
}
STUDENT = StaticQueries(with_documents=False)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--sets", default=",".join(s.NAMES))
    asked.add_argument("--table", action="store_true", help="write the table from what is there")
    given = asked.parse_args()
    results = s.ResultFile("temperatures")
    for name in () if given.table else given.sets.split(","):
        bench = Bench.open(name)
        for objective in OBJECTIVES.values():
            run(bench, results, objective)
    text = report(results)
    (s.RESULTS / "temperatures.md").write_text(text)
    print(text)


def run(bench: Bench, results: s.ResultFile, objective: EmbedDistill) -> None:
    """One objective on one set, unless it is there."""
    key = _key(bench.setting.name, objective)
    if results.find(key) is not None:
        return
    system = objective.run(bench.data, bench.teacher, student=STUDENT, progress=False)
    index = Flat(bench.setting.collection.documents)
    chosen = bench.setting.collection.splits[bench.setting.choose]
    found = encoder_of(system, bench.teacher).encode(list(chosen.queries.texts), side="query").flat
    exact = s.search(index, chosen.vectors)
    values = s.judge(bench.setting, bench.setting.choose, s.search(index, found), exact)
    base = float(np.mean(s.judge(bench.setting, bench.setting.choose, exact, exact)["RR@10"]))
    row = results.add(
        key, {"means": s.means(values), "teacher": round(base, 4), "queries": len(chosen.queries)}
    )
    print(key, row["means"], flush=True)


def _key(name: str, objective: EmbedDistill) -> dict[str, str]:
    return {"set": name, "student": repr(STUDENT), "objective": repr(objective)}


def report(results: s.ResultFile) -> str:
    """RR@10 by temperatures and sets."""
    found = {
        name: {told: results.find(_key(name, objective)) for told, objective in OBJECTIVES.items()}
        for name in s.NAMES
    }
    found = {name: rows for name, rows in found.items() if any(rows.values())}
    lines = ["# Temperatures of EmbedDistill", "", (__doc__ or "").split("\n\n")[-1].strip(), ""]
    lines += ["| temperatures | " + " | ".join(found) + " |", "|---|" + "---:|" * len(found)]
    for told in OBJECTIVES:
        cells = [row["means"]["RR@10"] if (row := rows[told]) else None for rows in found.values()]
        lines.append(f"| {told} | " + " | ".join("–" if c is None else f"{c:.4f}" for c in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
