"""Query encoders distilled from MiniLM, searched over the teacher's own exact vectors: what they keep, and their time.

    python experiments/students.py                  # what is missing in the result file
    python experiments/students.py --times          # milliseconds of one query on one thread, everything in one run

Constants were chosen on the `choose` splits; figures are of `report` splits. Three seeds on python-api, one elsewhere.
Bars: the static student keeps 94 % of the teacher's RR@10 at a hundredth of its time.
About ten minutes on 2 cores, less the encoding by the teacher.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import setting as s

from limbeck.data.text_data import TextData
from limbeck.encoders import SentenceEncoder
from limbeck.encoders.export import export_onnx
from limbeck.encoders.onnx import OnnxEncoder
from limbeck.encoders.static import StaticEncoder
from limbeck.evaluate import paired_interval
from limbeck.index.flat import Flat
from limbeck.recipes.static_student import StaticQueries
from limbeck.recipes.students import encoder_of

STUDENTS: dict[str, Callable[[int], StaticQueries]] = {
    "static": lambda seed: StaticQueries(seed=seed),
    "static, queries alone": lambda seed: StaticQueries(with_documents=False, seed=seed),
    "static, no gates": lambda seed: StaticQueries(gate=0, seed=seed),
}
SEEDS = {"python-api": (0, 1, 2)}
MEASURES = ("RR@10", "R@100", "overlap@10")
MOST_DEV = 1000
TIMED = 1000  # queries, one after the other
BAR = 0.94


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--sets", default=",".join(s.NAMES))
    asked.add_argument("--times", action="store_true", help="time encoders, and train nothing that is there")
    given = asked.parse_args()
    results = s.ResultFile("students")
    for name in given.sets.split(","):
        setting = s.setting(name)
        teacher = SentenceEncoder.open(max_length=s.MAX_LENGTH.get(name))
        exact = s.search(Flat(setting.collection.documents), _vectors(setting))
        _kept(
            results,
            {"set": name, "student": "teacher", "seed": 0, "recipe": "exact"},
            setting,
            exact,
            exact,
            {},
        )
        for student, make in STUDENTS.items():
            for seed in SEEDS.get(name, (0,)):
                _run(results, setting, teacher, student, make(seed), seed, exact)
        if given.times:
            _time(results, setting, teacher)
    text = report(results)
    (s.RESULTS / "students.md").write_text(text)
    print(text)


def _run(
    results: s.ResultFile,
    setting: s.Setting,
    teacher: SentenceEncoder,
    student: str,
    recipe: StaticQueries,
    seed: int,
    exact: Any,
) -> None:
    key = {"set": setting.name, "student": student, "seed": seed, "recipe": repr(recipe)}
    if results.values(key) is not None:
        return
    begun = time.perf_counter()
    encoder = encoder_of(recipe.run(texts_of(setting), teacher), teacher)
    seconds = time.perf_counter() - begun
    queries = setting.collection.splits[setting.report].queries.texts
    hits = s.search(Flat(setting.collection.documents), encoder.encode_query(queries))
    _kept(
        results, key, setting, hits, exact, {"seconds": round(seconds, 1), "megabytes": encoder.nbytes / 1e6}
    )


def _kept(
    results: s.ResultFile,
    key: dict[str, Any],
    setting: s.Setting,
    hits: Any,
    exact: Any,
    more: dict[str, Any],
) -> None:
    if results.values(key) is not None:
        return
    values = s.judge(setting, setting.report, hits, exact)
    results.keep_values(key, values)
    row = results.add(key, {"means": s.means(values), "queries": len(values["RR@10"]), **more})
    print(key["set"], key["student"], key["seed"], row["means"], more, flush=True)


def texts_of(setting: s.Setting) -> TextData:
    train, dev = (setting.collection.splits[name] for name in (setting.train, setting.choose))
    return TextData(
        queries=train.queries.texts,
        vectors=np.array(train.vectors),
        dev_queries=dev.queries.texts[:MOST_DEV],
        dev_vectors=np.array(dev.vectors[:MOST_DEV]),
        corpus=setting.collection.dataset.corpus,
        documents=setting.collection.documents,
    )


def _vectors(setting: s.Setting) -> np.ndarray:
    return np.array(setting.collection.splits[setting.report].vectors)


def _time(results: s.ResultFile, setting: s.Setting, teacher: SentenceEncoder) -> None:
    """Microseconds of a query, tokenisation included, one thread, one query at a time."""
    import torch

    torch.set_num_threads(1)
    queries = list(setting.collection.splits[setting.report].queries.texts[:TIMED])
    plain = teacher.in_float32()
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(plain, Path(folder) / "onnx", sample_texts=queries[:200])
        encoder_of(StaticQueries(epochs=1, least_steps=1).run(texts_of(setting), teacher), teacher).save(
            _made(Path(folder) / "static")
        )
        encoders = {
            "teacher, torch float32": plain,
            "teacher, ONNX": OnnxEncoder.open(Path(folder) / "onnx", threads=1),
            "static": StaticEncoder.open(Path(folder) / "static"),
        }
        found = {name: round(_microseconds(encoder, queries), 1) for name, encoder in encoders.items()}
    results.add(
        {"set": setting.name, "times": "microseconds of a query"}, {"found": found, "cores": os.cpu_count()}
    )
    print(setting.name, found, flush=True)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _microseconds(encoder: Any, queries: list[str]) -> float:
    """The median over single queries, after a warm-up."""
    for query in queries[:20]:
        encoder.encode_query([query])
    taken = []
    for query in queries:
        begun = time.perf_counter()
        encoder.encode_query([query])
        taken.append(time.perf_counter() - begun)
    return 1e6 * float(np.median(taken))


def report(results: s.ResultFile) -> str:
    """The table of each set, and the bars."""
    lines = ["# Query encoders distilled from MiniLM", "", (__doc__ or "").split("\n\n")[-1].strip(), ""]
    for name in s.NAMES:
        teacher = next(
            (
                row
                for row in results.rows
                if row["key"].get("student") == "teacher" and row["key"]["set"] == name
            ),
            None,
        )
        if teacher is None:
            continue
        lines += [
            f"## {name}",
            "",
            f"{teacher['queries']:,} queries; the teacher: "
            + ", ".join(f"{m} {teacher['means'][m]:.4f}" for m in MEASURES)
            + ".",
            "",
            "| student | seeds | RR@10 | R@100 | overlap@10 | of the teacher's RR@10 [95 %] | seconds | MB |",
            "|---|---:|---:|---:|---:|---|---:|---:|",
            *(line for student in STUDENTS for line in _line(results, name, student, teacher)),
            "",
            *_times(results, name),
        ]
    return "\n".join(lines) + "\n"


def _line(results: s.ResultFile, name: str, student: str, teacher: dict[str, Any]) -> list[str]:
    now = {repr(STUDENTS[student](seed)) for seed in SEEDS.get(name, (0,))}
    rows = [
        row
        for row in results.rows
        if row["key"].get("student") == student and row["key"]["set"] == name and row["key"]["recipe"] in now
    ]
    values = [found for row in rows if (found := results.values(row["key"])) is not None]
    exact = results.values(teacher["key"])
    if not values or exact is None:
        return []
    means = {m: float(np.mean([v[m].mean() for v in values])) for m in MEASURES}
    off = paired_interval(np.mean([v["RR@10"] for v in values], axis=0), exact["RR@10"])
    base = exact["RR@10"].mean()
    share = [1 + bound / base for bound in (off.mean, off.low, off.high)]
    return [
        f"| {student} | {len(values)} | "
        + " | ".join(f"{means[m]:.4f}" for m in MEASURES)
        + f" | {share[0]:.1%} [{share[1]:.1%}, {share[2]:.1%}] | {np.mean([row['seconds'] for row in rows]):.0f} "
        + f"| {rows[0]['megabytes']:.1f} |"
    ]


def _times(results: s.ResultFile, name: str) -> list[str]:
    timed = [row for row in results.rows if "times" in row["key"] and row["key"]["set"] == name]
    if not timed:
        return []
    found = timed[-1]["found"]
    base = found["teacher, torch float32"]
    told = "; ".join(f"{encoder} {value:,.0f} µs (1/{base / value:.0f})" for encoder, value in found.items())
    return [f"One query, one thread, tokenisation included, median of {TIMED}: {told}.", ""]


if __name__ == "__main__":
    main()
