"""A static student and 16-byte codes trained together, against the same two trained apart.

    python experiments/through_codes.py [--sets tldr,medquad] [--codes DistillVQ] [--choose]

Apart: codes distilled with the teacher's queries, a student that matched the teacher's vectors. Together:
`ThroughCodes` from the same codes and the same untrained student, codewords moving with it or standing still.
`--choose` prints figures of the split that constants are chosen on; the table is of `report` splits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import setting as s
from ladder import Bench

from limbeck.data.vector_data import VectorData
from limbeck.evaluate import paired_interval
from limbeck.index.flat import Flat
from limbeck.recipes.distill_vq import DistillVQ
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
CODES: dict[str, Callable[[int], Limbeck | DistillVQ]] = {
    "Limbeck": lambda seed: Limbeck(code_bytes=CODE_BYTES, seed=seed),
    "DistillVQ": lambda seed: DistillVQ(code_bytes=CODE_BYTES, seed=seed),
}
NAMES = ("teacher's queries", "apart", *TOGETHER)
MEASURES = ("RR@10", "R@100", "overlap@10")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--sets", default=",".join(s.NAMES))
    asked.add_argument("--codes", default=",".join(CODES))
    asked.add_argument("--choose", action="store_true")
    asked.add_argument("--table", action="store_true", help="write the table from what is there")
    given = asked.parse_args()
    results = s.ResultFile("through_codes")
    for name in () if given.table else given.sets.split(","):
        bench = Bench.open(name)
        for seed in SEEDS.get(name, (0,)) if not given.choose else (0,):
            for codes in given.codes.split(","):
                run(bench, results, codes, seed, choose=given.choose)
    table = s.RESULTS / "through_codes.md"
    text = report(results, s.sections(table))
    table.write_text(text)
    print(text)


def run(bench: Bench, results: s.ResultFile, kind: str, seed: int, *, choose: bool) -> None:
    """All forms with one seed, unless they are there."""
    split = bench.setting.choose if choose else bench.setting.report
    keys = {name: _key(bench.setting.name, split, kind, name, seed) for name in NAMES}
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
    codes = CODES[kind](seed).run(vectors, progress=False)
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


def _key(collection: str, split: str, kind: str, name: str, seed: int) -> dict[str, Any]:
    codes = CODES[kind](seed)
    key = {
        "set": collection,
        "split": split,
        "form": name,
        "seed": seed,
        "recipe": repr(TOGETHER.get(name, codes)),
        "student": repr(StaticQueries(seed=seed)),
    }
    return key if kind == "Limbeck" else {**key, "codes": repr(codes)}


def report(results: s.ResultFile, written: dict[str, str]) -> str:
    """A table and a verdict for each set and kind of codes; as they are written where values are no longer here."""
    lines = ["# A student and codes, together or apart", "", (__doc__ or "").split("\n\n")[-1].strip(), ""]
    for name in s.NAMES:
        for kind in CODES:
            title = f"{name}, {kind}, {CODE_BYTES} bytes"
            whole = [
                values for seed in SEEDS.get(name, (0,)) if (values := _known(results, name, kind, seed))
            ]
            if len(whole) == len(SEEDS.get(name, (0,))):
                lines += _section(title, whole)
            elif title in written:
                lines.append(written[title])
    return "\n".join(lines) + "\n"


def _known(results: s.ResultFile, name: str, kind: str, seed: int) -> dict[str, dict[str, np.ndarray]] | None:
    """The values of all forms, if there are all."""
    split = "dev" if name == "medquad" else "test"
    values = {form: results.values(_key(name, split, kind, form, seed)) for form in NAMES}
    found = {form: known for form, known in values.items() if known is not None}
    return found if len(found) == len(NAMES) else None


def _section(title: str, whole: list[dict[str, dict[str, np.ndarray]]]) -> list[str]:
    found = {form: [values[form] for values in whole] for form in NAMES}
    lines = [f"## {title}", "", "| form | seeds | RR@10 | R@100 | overlap@10 |", "|---|---:|---:|---:|---:|"]
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
    return [*lines, ""]


if __name__ == "__main__":
    main()
