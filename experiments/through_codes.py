"""A static student and 16-byte codes trained together, against the same two trained apart.

    python experiments/through_codes.py [--sets tldr,medquad] [--choose]

Apart: `Limbeck` codes distilled with the teacher's queries, a student that matched the teacher's vectors. Together:
`ThroughCodes` from the same codes and the same untrained student, codewords moving with it or standing still.
`--choose` prints figures of the split that constants are chosen on; the table is of `report` splits.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import setting as s
from ladder import Bench

from limbeck.data.vector_data import VectorData
from limbeck.evaluate import paired_interval
from limbeck.index.flat import Flat
from limbeck.recipes.limbeck import Limbeck
from limbeck.recipes.static_student import StaticQueries
from limbeck.recipes.students import encoder_of
from limbeck.recipes.through_codes import ThroughCodes

SEEDS = {"python-api": (0, 1, 2)}
CODE_BYTES = 16
TOGETHER = {
    "together": ThroughCodes(),
    "together, codewords stand still": ThroughCodes(codeword_rate=0.0),
}
NAMES = ("teacher's queries", "apart", *TOGETHER)
MEASURES = ("RR@10", "R@100", "overlap@10")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--sets", default=",".join(s.NAMES))
    asked.add_argument("--choose", action="store_true")
    asked.add_argument("--table", action="store_true", help="write the table from what is there")
    given = asked.parse_args()
    results = s.ResultFile("through_codes")
    for name in () if given.table else given.sets.split(","):
        bench = Bench.open(name)
        for seed in SEEDS.get(name, (0,)) if not given.choose else (0,):
            run(bench, results, seed, choose=given.choose)
    text = report(results)
    (s.RESULTS / "through_codes.md").write_text(text)
    print(text)


def run(bench: Bench, results: s.ResultFile, seed: int, *, choose: bool) -> None:
    """All forms with one seed, unless they are there."""
    split = bench.setting.choose if choose else bench.setting.report
    keys = {name: _key(bench.setting.name, split, name, seed) for name in NAMES}
    if all(results.values(key) is not None for key in keys.values()):
        return
    student, data = StaticQueries(seed=seed), bench.data
    asked = bench.setting.collection.splits[split]
    exact = s.search(Flat(bench.setting.collection.documents), asked.vectors)

    def judge(name: str, index: Any, vectors: np.ndarray, seconds: float) -> None:
        values = s.judge(bench.setting, split, s.search(index, vectors), exact)
        results.keep_values(keys[name], values)
        row = results.add(keys[name], {"means": s.means(values), "seconds": round(seconds, 1)})
        print(keys[name], row["means"], f"{seconds:.0f} s", flush=True)

    vectors = VectorData(
        documents=np.array(data.documents), queries=data.vectors, dev_queries=data.dev_vectors
    )
    begun = time.perf_counter()
    codes = Limbeck(code_bytes=CODE_BYTES, seed=seed).run(vectors, progress=False)
    judge(NAMES[0], codes.build(), asked.vectors, time.perf_counter() - begun)
    begun = time.perf_counter()
    encoder = encoder_of(student.run(data, bench.teacher, progress=False), bench.teacher)
    texts = list(asked.queries.texts)
    judge("apart", codes.build(), encoder.encode(texts, side="query").flat, time.perf_counter() - begun)
    for name, recipe in TOGETHER.items():
        begun = time.perf_counter()
        system = recipe.run(data, bench.teacher, codes, student=student, progress=False)
        seconds = time.perf_counter() - begun
        found = encoder_of(system, bench.teacher).encode(texts, side="query").flat
        judge(name, system.build(), found, seconds)


def _key(collection: str, split: str, name: str, seed: int) -> dict[str, Any]:
    recipe = repr(TOGETHER.get(name, Limbeck(code_bytes=CODE_BYTES, seed=seed)))
    student = repr(StaticQueries(seed=seed))
    return {
        "set": collection,
        "split": split,
        "form": name,
        "seed": seed,
        "recipe": recipe,
        "student": student,
    }


def report(results: s.ResultFile) -> str:
    """A table and a verdict for each set."""
    lines = ["# A student and codes, together or apart", "", (__doc__ or "").split("\n\n")[-1].strip(), ""]
    for name in s.NAMES:
        seeds = SEEDS.get(name, (0,))
        split = "dev" if name == "medquad" else "test"
        whole = [
            values
            for seed in seeds
            if all(
                (values := {form: results.values(_key(name, split, form, seed)) for form in NAMES}).values()
            )
        ]
        if not whole:
            continue
        found = {form: [values[form] for values in whole] for form in NAMES}
        lines += [f"## {name}, {CODE_BYTES} bytes", "", "| form | seeds | RR@10 | R@100 | overlap@10 |"]
        lines.append("|---|---:|---:|---:|---:|")
        for form, values in found.items():
            means = " | ".join(f"{np.mean([v[m].mean() for v in values]):.4f}" for m in MEASURES)
            lines.append(f"| {form} | {len(values)} | {means} |")
        for form in TOGETHER:
            for measure in MEASURES[::2]:
                off = paired_interval(
                    np.mean([v[measure] for v in found[form]], axis=0),
                    np.mean([v[measure] for v in found["apart"]], axis=0),
                )
                told = f"{off.mean:+.4f} [{off.low:+.4f}, {off.high:+.4f}]"
                lines += ["", f"{form} > apart, {measure}: {told}."]
        lines.append("")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
