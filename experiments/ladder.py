"""The steps of EmbedDistill's table 1 for MiniLM: direct, + distillation, + inherited documents, + query matching, ...

    python experiments/ladder.py                                   # what is missing in the result file
    python experiments/ladder.py --sets tldr --students static     # a part of it
    python experiments/ladder.py --students "layers, briefly"      # two layers, 16,000 queries read once

Symmetric students are searched over their own document vectors, the others over the teacher's. Figures are of `report`
splits. Generated queries are read from LIMBECK_GENERATED/<set>.jsonl (`limbeck make-queries`); without them their steps
are left out. A claim is reproduced when it holds with every seed and the interval of the difference lies above 0.
Transformers are judged in float32, trained at length also as they are served: exported, with 8-bit weights. Briefly
trained ones read everything once: further texts to match mean more steps.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import setting as s
import students

from limbeck.data.text_data import TextData
from limbeck.encoders import SentenceEncoder
from limbeck.encoders.collection import encode_texts
from limbeck.encoders.export import export_onnx
from limbeck.evaluate import paired_interval
from limbeck.index.flat import Flat
from limbeck.recipes.embed_distill import EmbedDistill
from limbeck.recipes.static_student import StaticQueries
from limbeck.recipes.students import StudentRecipe, encoder_of
from limbeck.recipes.transformer_student import LayerQueries
from limbeck.types import Hits

SEEDS = {"python-api": (0, 1, 2)}
GENERATED = os.environ.get("LIMBECK_GENERATED")


@dataclass(frozen=True)
class Step:
    """A line of the table: its objective, None = embedding matching alone, and what is matched beside the queries."""

    objective: EmbedDistill | None
    generated: bool = False
    documents: bool = False


STEPS = {
    "direct": Step(EmbedDistill(distil=0.0, match=0.0, documents="student")),
    "+ distillation": Step(EmbedDistill(match=0.0, documents="student")),
    "+ inherited documents": Step(EmbedDistill(match=0.0)),
    "+ query matching": Step(EmbedDistill()),
    "+ documents matched too": Step(EmbedDistill(), documents=True),
    "+ generated queries": Step(EmbedDistill(), generated=True),
    "embedding only": Step(None),
    "embedding only, + generated queries": Step(None, generated=True),
    "embedding only, documents matched too": Step(None, documents=True),
    "embedding only, documents and generated queries": Step(None, generated=True, documents=True),
}
CLAIMS = [
    ("+ distillation", "direct"),
    ("+ inherited documents", "+ distillation"),
    ("+ query matching", "+ inherited documents"),
    ("+ documents matched too", "+ query matching"),
    ("+ generated queries", "+ query matching"),
    ("embedding only", "+ distillation"),
    ("embedding only, + generated queries", "embedding only"),
    ("embedding only, documents matched too", "embedding only"),
    ("embedding only, documents and generated queries", "embedding only, documents matched too"),
]
Runs: TypeAlias = dict[int, dict[str, np.ndarray]]  # by seed: the values of each query
MEASURES = ("RR@10", "R@100", "overlap@10")
SERVED = "8-bit weights"
BRIEF = 16_000  # training queries


def static(step: Step, seed: int) -> StudentRecipe:
    return StaticQueries(with_documents=step.documents, seed=seed)


def layers(step: Step, seed: int) -> LayerQueries:
    return LayerQueries(beginnings=32 if step.documents else 0, seed=seed)


def briefly(step: Step, seed: int) -> StudentRecipe:
    return replace(
        layers(step, seed), epochs=1, least_steps=0, most_documents=BRIEF
    )  # 250 steps, of a symmetric student's documents as well: these take nine times a query's time


STUDENTS = {"static": static, "layers": layers, "layers, briefly": briefly}


def arguments(
    told: str | None, sets: Iterable[str], students: Iterable[str], steps: Iterable[str]
) -> Namespace:
    """What is to be run: all of these, unless told otherwise."""
    asked = ArgumentParser(description=told, formatter_class=RawDescriptionHelpFormatter)
    asked.add_argument("--sets", default=",".join(sets))
    asked.add_argument("--students", default=";".join(students), help="names with semicolons between")
    asked.add_argument("--steps", default=";".join(steps), help="names with semicolons between")
    asked.add_argument("--table", action="store_true", help="write the table from what is there")
    return asked.parse_args()


def main() -> None:
    given = arguments(__doc__, s.NAMES, STUDENTS, STEPS)
    results = s.ResultFile("ladder")
    for name in () if given.table else given.sets.split(","):
        bench = Bench.open(name)
        bench.teacher_row(results)
        for student in given.students.split(";"):
            its = bench.brief() if student == "layers, briefly" else bench
            for seed in SEEDS.get(name, (0,)):
                for step in given.steps.split(";"):
                    run(its, results, student, step, seed)
    table = s.RESULTS / "ladder.md"
    text = report(results, s.sections(table), title="The steps of EmbedDistill's table 1", told=__doc__ or "")
    table.write_text(text)
    print(text)


@dataclass(frozen=True)
class Bench:
    """A collection with labels, the teacher, and the exact hits of the reported queries."""

    setting: s.Setting
    teacher: SentenceEncoder
    data: TextData
    exact: Hits

    @classmethod
    def open(cls, name: str, teacher: SentenceEncoder | None = None) -> Bench:
        teacher = teacher or SentenceEncoder.open(max_length=s.MAX_LENGTH.get(name))
        setting = s.setting(name, encoder=teacher)
        data = students.texts_of(setting, with_labels=True)
        exact = s.search(
            Flat(setting.collection.documents), setting.collection.splits[setting.report].vectors
        )
        return cls(setting, teacher, data, exact)

    def generated(self) -> TextData | None:
        """With generated queries beside the real ones; None where there are none."""
        path = Path(GENERATED or "") / f"{self.setting.name}.jsonl"
        if not GENERATED or not path.is_file():
            return None
        texts = [json.loads(line)["text"] for line in path.read_text().splitlines()]
        vectors = encode_texts(texts, self.teacher, "query", progress=False)
        return replace(self.data, more_queries=texts, more_vectors=np.array(vectors))

    def brief(self, most: int = BRIEF) -> Bench:
        """With so many of the training queries."""
        count = min(most, len(self.data.queries))
        rows = np.sort(np.random.default_rng(13).permutation(len(self.data.queries))[:count])
        queries = [self.data.queries[row] for row in rows]
        labels = None if self.data.labels is None else self.data.labels.take(rows)
        return replace(
            self, data=replace(self.data, queries=queries, vectors=self.data.vectors[rows], labels=labels)
        )

    def teacher_row(self, results: s.ResultFile) -> None:
        keep(results, {"set": self.setting.name, "student": "teacher"}, self.judged(self.exact), {})

    def judged(self, hits: Hits) -> dict[str, list[float]]:
        return s.judge(self.setting, self.setting.report, hits, self.exact)


def run(bench: Bench, results: s.ResultFile, student: str, name: str, seed: int) -> None:
    """One line of the table with one seed, unless it is there."""
    step = STEPS[name]
    recipe = STUDENTS[student](step, seed)
    data = bench.generated() if step.generated else bench.data
    if data is None:
        return
    key = {
        "set": bench.setting.name,
        "student": student,
        "step": name,
        "seed": seed,
        "recipe": _said(student, name, seed),
        "generated": len(data.more_queries),
    }
    forms = [key, {**key, "form": SERVED}] if student == "layers" else [key]
    if all(results.values(form) is not None for form in forms):
        return
    begun = time.perf_counter()
    if step.objective is None:
        system = recipe.run(data, bench.teacher)
    else:
        system = step.objective.run(data, bench.teacher, student=recipe)
    seconds = round(time.perf_counter() - begun, 1)
    encoder = encoder_of(system, bench.teacher)
    documents = bench.setting.collection.documents
    if step.objective and step.objective.documents == "student":
        documents = np.ascontiguousarray(system.documents.stored())
    queries = list(bench.setting.collection.splits[bench.setting.report].queries.texts)
    hits = s.search(Flat(documents), encoder.encode(queries, side="query").flat)
    keep(results, key, bench.judged(hits), {"seconds": seconds})
    if student == "layers" and isinstance(encoder, SentenceEncoder):
        vectors = as_served(encoder, queries, sample_texts=list(data.queries[:200]))
        keep(results, {**key, "form": SERVED}, bench.judged(s.search(Flat(documents), vectors)), {})


def as_served(encoder: SentenceEncoder, queries: list[str], *, sample_texts: list[str]) -> np.ndarray:
    """Vectors of the queries by the encoder's export with 8-bit weights."""
    with tempfile.TemporaryDirectory() as name:
        exported = export_onnx(encoder, Path(name) / "student", sample_texts=sample_texts, quantise=True)
        return np.array(exported.encode(queries, side="query").flat)


def keep(
    results: s.ResultFile, key: dict[str, Any], values: dict[str, list[float]], more: dict[str, Any]
) -> None:
    if results.values(key) is not None:
        return
    results.keep_values(key, values)
    row = results.add(key, {"means": s.means(values), "queries": len(values["RR@10"]), **more})
    print(key, row["means"], more, flush=True)


def report(results: s.ResultFile, written: dict[str, str], *, title: str, told: str) -> str:
    """A table and the verdicts of each set and student; as they are written where values are no longer here."""
    lines = [f"# {title}", "", told.split("\n\n")[-1].strip(), ""]
    for name in s.NAMES:
        known = results.values({"set": name, "student": "teacher"})
        for student in STUDENTS:
            section = f"{name}, {student}"
            rows = _rows(results, name, student)
            if rows and known and all(results.values(row["key"]) is not None for row in rows):
                lines += _section(section, _found(results, rows), known)
            elif section in written:
                lines.append(written[section])
    return "\n".join(lines) + "\n"


def _rows(results: s.ResultFile, name: str, student: str) -> list[dict[str, Any]]:
    """Runs of a set and student with the recipes as they are now."""
    return [
        row
        for row in results.rows
        if (row["key"]["set"], row["key"]["student"]) == (name, student) and row["key"].get("step") in STEPS
        if row["key"]["recipe"] == _said(student, row["key"]["step"], row["key"]["seed"])
    ]


def _said(student: str, step: str, seed: int) -> str:
    return f"{STUDENTS[student](STEPS[step], seed)!r} {STEPS[step].objective!r}"


def _found(results: s.ResultFile, rows: list[dict[str, Any]]) -> dict[str, Runs]:
    """The values of each seed, by step and form, in the order of STEPS."""
    found: dict[str, Runs] = {}
    for step in STEPS:
        for form in (None, SERVED):
            keys = [
                row["key"] for row in rows if (row["key"]["step"], row["key"].get("form")) == (step, form)
            ]
            runs = {key["seed"]: known for key in keys if (known := results.values(key)) is not None}
            if runs:
                found[f"{step}, {form}" if form else step] = runs
    return found


def _section(title: str, found: dict[str, Runs], teacher: dict[str, np.ndarray]) -> list[str]:
    base = float(np.mean(teacher["RR@10"]))
    lines = [
        f"## {title}",
        "",
        f"{len(teacher['RR@10']):,} queries; the teacher: "
        + ", ".join(f"{m} {np.mean(teacher[m]):.4f}" for m in MEASURES[:2])
        + ".",
        "",
        "| step | seeds | RR@10 | R@100 | overlap@10 | of the teacher's RR@10 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for step, runs in found.items():
        means = {m: float(np.mean([values[m].mean() for values in runs.values()])) for m in MEASURES}
        figures = " | ".join(f"{means[m]:.4f}" for m in MEASURES)
        lines.append(f"| {step} | {len(runs)} | {figures} | {means['RR@10'] / base:.1%} |")
    verdicts = [_verdict(better, worse, found) for better, worse in CLAIMS if {better, worse} <= set(found)]
    if verdicts:
        lines += ["", "| claim | RR@10, difference [95 %] | verdict |", "|---|---:|---|", *verdicts]
    return [*lines, ""]


def _verdict(better: str, worse: str, found: dict[str, Runs]) -> str:
    """Over the seeds that both have."""
    seeds = found[better].keys() & found[worse].keys()
    one, other = ([found[step][seed]["RR@10"] for seed in seeds] for step in (better, worse))
    off = paired_interval(np.mean(one, axis=0), np.mean(other, axis=0))
    each = np.array([a.mean() - b.mean() for a, b in zip(one, other, strict=True)])
    verdict = "not shown"
    if off.low > 0 and (each > 0).all():
        verdict = "reproduced"
    if off.high < 0 and (each < 0).all():
        verdict = "contradicted"
    return f"| {better} > {worse} | {off.mean:+.4f} [{off.low:+.4f}, {off.high:+.4f}] | {verdict} |"


if __name__ == "__main__":
    main()
