"""Query encoders distilled from MiniLM, searched over the teacher's own exact vectors: what they keep, and their time.

    python experiments/students.py                              # what is missing in the result file
    python experiments/students.py --students static --times    # and the cost of one query, all encoders in one run

Constants were chosen on the `choose` splits; figures are of `report` splits. Three seeds on python-api, one elsewhere.
Transformers are judged in float32 here; ladder.py and precision.py tell what 8-bit weights change.
Bars: the static student keeps 94 % of the teacher's RR@10 at a hundredth of its time, two layers keep 97 % at a tenth.
Ten minutes on 2 cores for the static ones, half an hour of a core a set for two layers, less the teacher's encoding.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import setting as s

from limbeck.data.text_data import TextData
from limbeck.encoders import SentenceEncoder
from limbeck.encoders.export import export_onnx
from limbeck.encoders.onnx import OnnxEncoder
from limbeck.encoders.opening import open_encoder
from limbeck.encoders.static import StaticEncoder
from limbeck.encoders.static_student import tokenizer_of
from limbeck.evaluate import paired_interval
from limbeck.index.flat import Flat
from limbeck.recipes.static_student import StaticQueries
from limbeck.recipes.students import StudentRecipe, encoder_of
from limbeck.recipes.transformer_student import LayerQueries, NarrowQueries

STUDENTS: dict[str, Callable[[int], StudentRecipe]] = {
    "static": lambda seed: StaticQueries(seed=seed),
    "static, queries alone": lambda seed: StaticQueries(with_documents=False, seed=seed),
    "static, no gates": lambda seed: StaticQueries(gate=0, seed=seed),
    "static, width 128": lambda seed: StaticQueries(width=128, seed=seed),
    "two layers": lambda seed: LayerQueries(seed=seed),
    "narrow, width 256": lambda seed: NarrowQueries(seed=seed),
}
SEEDS = {"python-api": (0, 1, 2)}
MEASURES = ("RR@10", "R@100", "overlap@10")
MOST_DEV = 1000
TIMED = 1000  # queries, one after the other
BAR = 0.94


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--sets", default=",".join(s.NAMES))
    asked.add_argument("--students", default=";".join(STUDENTS), help="names with semicolons between")
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
        for student in given.students.split(";"):
            for seed in SEEDS.get(name, (0,)):
                _run(results, setting, teacher, student, STUDENTS[student](seed), seed, exact)
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
    recipe: StudentRecipe,
    seed: int,
    exact: Any,
) -> None:
    key = {"set": setting.name, "student": student, "seed": seed, "recipe": repr(recipe)}
    if results.values(key) is not None:
        return
    begun = time.perf_counter()
    encoder: Any = encoder_of(recipe.run(texts_of(setting), teacher), teacher)
    seconds = time.perf_counter() - begun
    queries = setting.collection.splits[setting.report].queries.texts
    hits = s.search(Flat(setting.collection.documents), encoder.encode_query(queries))
    _kept(
        results, key, setting, hits, exact, {"seconds": round(seconds, 1), "megabytes": _megabytes(encoder)}
    )


def _megabytes(encoder: Any) -> float:
    """Of a table as it is served; of a transformer with a byte a number."""
    if isinstance(encoder, StaticEncoder):
        return encoder.nbytes / 1e6
    return sum(parameter.numel() for parameter in encoder.model.parameters()) / 1e6


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


def texts_of(setting: s.Setting, *, with_labels: bool = False) -> TextData:
    """With at most MOST_DEV queries to choose the epoch by."""
    data = setting.collection.text_data(train=setting.train, dev=setting.choose, with_labels=with_labels)
    dev_vectors = None if data.dev_vectors is None else data.dev_vectors[:MOST_DEV]
    return replace(data, dev_queries=data.dev_queries[:MOST_DEV], dev_vectors=dev_vectors)


def _vectors(setting: s.Setting) -> np.ndarray:
    return np.array(setting.collection.splits[setting.report].vectors)


def _time(results: s.ResultFile, setting: s.Setting, teacher: SentenceEncoder) -> None:
    """The cost of a query, tokenisation included, on one thread; training changes none of it."""
    import torch

    torch.set_num_threads(1)
    queries = list(setting.collection.splits[setting.report].queries.texts[:TIMED])
    data = replace(texts_of(setting), corpus=None, documents=None)
    plain = teacher.in_float32()
    recipes: dict[str, StudentRecipe] = {
        "static": StaticQueries(),
        "static, width 128": StaticQueries(width=128),
        "two layers, ONNX": LayerQueries(beginnings=0),
        "two layers, ONNX int8": LayerQueries(beginnings=0),
        "narrow, width 256, ONNX int8": NarrowQueries(beginnings=0),
        "narrow, width 128, ONNX int8": NarrowQueries(width=128, beginnings=0),
    }
    parts = {"teacher, torch float32": Parts.of(plain), "teacher, ONNX": Parts.of(plain)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_onnx(plain, folder / "teacher, ONNX", sample_texts=queries[:200])
        encoders: dict[str, Any] = {
            "teacher, torch float32": plain,
            "teacher, ONNX": OnnxEncoder.open(folder / "teacher, ONNX", threads=1),
        }
        for student, recipe in recipes.items():
            told = recipe.told(data, teacher, progress=True)
            made: Any = recipe.student(*told, teacher, progress=False).encoder(teacher)
            parts[student] = Parts.of(made)
            if isinstance(made, StaticEncoder):
                made.save(_made(folder / student))
            else:
                export_onnx(
                    made,
                    folder / student,
                    sample_texts=queries[:200],
                    quantise="int8" in student,
                    space=teacher.fingerprint,
                )
            encoders[student] = open_encoder(folder / student, threads=1)
        tokens = [len(tokenizer_of(teacher).encode(query).ids) for query in queries]
        found = {
            student: {
                "p50": round(_microseconds(encoder, queries), 1),
                "a_second": round(_rate(encoder, queries)),
                "megabytes": round(_size(folder / student, encoder), 1),
                "parameters": parts[student].parameters,
                "multiply_adds": round(_multiply_adds(encoder, tokens, parts[student])),
            }
            for student, encoder in encoders.items()
        }
    results.add(
        {"set": setting.name, "costs": "of a query"}, {"found": found, "tokens": float(np.mean(tokens))}
    )
    print(setting.name, found, flush=True)


def _size(folder: Path, encoder: Any) -> float:
    if isinstance(encoder, SentenceEncoder):
        return sum(4 * parameter.numel() for parameter in encoder.model.parameters()) / 1e6
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


class Parts(NamedTuple):
    """What a query passes through."""

    parameters: int
    layers: int = 0
    width: int = 0
    projection: int = 0  # numbers

    @classmethod
    def of(cls, encoder: Any) -> Self:
        if isinstance(encoder, StaticEncoder):
            table, projected = encoder.table, encoder.projection
            arrays = [
                table.vectors,
                table.weights,
                table.gates,
                table.look,
                *([] if projected is None else [projected]),
            ]
            return cls(
                sum(array.size for array in arrays), projection=0 if projected is None else projected.size
            )
        config = encoder.model[0].model.config
        dense = [module.linear.weight.numel() for module in encoder.model if hasattr(module, "linear")]
        parameters = sum(parameter.numel() for parameter in encoder.model.parameters())
        return cls(parameters, config.num_hidden_layers, config.hidden_size, sum(dense))


def _multiply_adds(encoder: Any, tokens: list[int], parts: Parts) -> float:
    """Of the mean query: 12·n·w² + 2·n²·w a layer; sums and gates of a table; a projection."""
    _, layers, width, projected = parts
    lengths = np.array(tokens, dtype=float)
    if isinstance(encoder, StaticEncoder):
        own, gate = encoder.table.vectors.shape[1], len(encoder.table.look)
        return float((2 * lengths * own + gate * (lengths + own)).mean() + projected)
    return float((layers * (12 * lengths * width**2 + 2 * lengths**2 * width)).mean() + projected)


def _rate(encoder: Any, queries: list[str]) -> float:
    """Queries a second, in batches of 64."""
    begun = time.perf_counter()
    encoder.encode_query(queries)
    return len(queries) / (time.perf_counter() - begun)


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
    timed = [row for row in results.rows if "costs" in row["key"] and row["key"]["set"] == name]
    if not timed:
        return []
    found = timed[-1]["found"]
    base = found["teacher, torch float32"]["p50"]
    lines = [
        f"One thread, tokenisation included, {timed[-1]['tokens']:.1f} tokens a query, {TIMED} queries in turn:",
        "",
        "| encoder | one query, µs | of the teacher's | queries a second, batched | parameters | MB | multiply-adds |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for encoder, cost in found.items():
        lines.append(
            f"| {encoder} | {cost['p50']:,.0f} | 1/{base / cost['p50']:.1f} | {cost['a_second']:,} "
            f"| {cost.get('parameters', 0) / 1e6:.1f} M | {cost['megabytes']:.1f} | {cost['multiply_adds']:,} |"
        )
    return [*lines, ""]


if __name__ == "__main__":
    main()
