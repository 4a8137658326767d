"""BM25 beside vectors: what both together find that neither finds alone.

    python experiments/hybrid.py [--sets medquad,scifact]           # what is missing in the result file, then the table
    python experiments/hybrid.py --sets "" --costs tldr,scifact     # size, memory and time of BM25 alone

Dense is MiniLM's exact vectors, and codes of 32 bytes with three seeds. Limbeck's share 8,192 codewords, more than
scifact has documents and half of medquad's, so they lose next to nothing here; OPQ's show what loss does. Lexical is
BM25 as `limbeck hybrid` makes it, over title and text: k1 1.2, b 0.75, nothing chosen here. The weight of the scores is
fitted on `choose` by nDCG@10, and figures are of `report`: on medquad a tenth of train (by focus) and dev, on scifact
dev and test. Ranks fit nothing. For comparison, published on scifact's test: all-MiniLM-L6-v2 .6451 (MTEB), BM25 .665
with separate fields (BEIR) and .679 as one (Anserini).
Bar: weighted scores beat both their parts, with 95 % intervals that exclude 0.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import setting as s

from limbeck.data.dataset import Dataset
from limbeck.evaluate import interval, paired_interval, score_hits
from limbeck.fusion import DEPTH, fit_weight, reciprocal_rank, weighted
from limbeck.index.flat import Flat
from limbeck.index.lexical import LexicalIndex
from limbeck.recipes.compress import OPQ
from limbeck.recipes.limbeck import Limbeck
from limbeck.text import analyser_for
from limbeck.types import Hits

SETS = ("medquad", "scifact")
CODE_BYTES = 32
DENSE = {
    "MiniLM, exact": (0,),
    f"Limbeck, {CODE_BYTES} bytes": (0, 1, 2),
    f"OPQ, {CODE_BYTES} bytes": (0, 1, 2),
}
SYSTEMS = ("dense", "lexical", "ranks", "scores")
MEASURES = ("nDCG@10", "R@100")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--sets", default=",".join(SETS))
    asked.add_argument("--costs", default="", help="sets whose BM25 is measured alone")
    given = asked.parse_args()
    results = s.ResultFile("hybrid")
    for name in filter(None, given.costs.split(",")):
        if results.find({"costs": name}) is None:
            print(results.add({"costs": name}, _costs(name)), flush=True)
    for name in filter(None, given.sets.split(",")):
        keys = [_key(name, dense, seed) for dense, seeds in DENSE.items() for seed in seeds]
        if any(results.values(key) is None for key in keys):
            run(results, s.setting(name))
    text = report(results)
    (s.RESULTS / "hybrid.md").write_text(text)
    print(text)


def run(results: s.ResultFile, setting: s.Setting) -> None:
    """All dense sides of one collection, fused with the same BM25."""
    corpus = setting.collection.dataset.corpus
    analyser = analyser_for(corpus.texts(0, 1000)).name
    words = LexicalIndex.build(corpus.texts(), analyser=analyser)
    lexical = {split: words.search(_split(setting, split).queries.texts, DEPTH) for split in _splits(setting)}
    for dense, seeds in DENSE.items():
        for seed in seeds:
            key = _key(setting.name, dense, seed)
            if results.values(key) is None:
                index = _dense(setting, dense, seed)
                found = {split: s.search(index, _split(setting, split).vectors, DEPTH) for split in lexical}
                _judge(
                    results,
                    key,
                    setting,
                    found,
                    lexical,
                    {"analyser": analyser, "lexical_bytes": words.nbytes},
                )


def _dense(setting: s.Setting, dense: str, seed: int) -> Any:
    if dense.startswith("MiniLM"):
        return Flat(setting.collection.documents)
    data = setting.collection.vector_data(train=setting.train, dev=None)
    if dense.startswith("OPQ"):
        return OPQ(code_bytes=CODE_BYTES, seed=seed).run(data).build()
    return Limbeck(code_bytes=CODE_BYTES, seed=seed).run(data, progress=False).build()


def _judge(
    results: s.ResultFile,
    key: dict[str, Any],
    setting: s.Setting,
    dense: dict[str, Hits],
    lexical: dict[str, Hits],
    more: dict[str, Any],
) -> None:
    choose, report_ = _splits(setting)
    fitted = fit_weight(dense[choose], lexical[choose], _split(setting, choose).labels)
    both = dense[report_], lexical[report_]
    systems = {
        "dense": both[0],
        "lexical": both[1],
        "ranks": reciprocal_rank(both, DEPTH),
        "scores": weighted(*both, DEPTH, weight=fitted.weight),
    }
    labels = _split(setting, report_).labels
    values = {}
    for system, hits in systems.items():
        scores = score_hits(hits, labels, MEASURES)
        values |= {f"{system} {measure}": scores.of(measure).round(6).tolist() for measure in MEASURES}
    results.keep_values(key, values)
    row = results.add(
        key,
        {
            "means": s.means(values),
            "queries": len(values["dense nDCG@10"]),
            "weight": fitted.weight,
            "curve": [[weight, round(figure, 4)] for weight, figure in fitted.curve],
            "fitted_on": len(dense[choose]),
            **more,
        },
    )
    print(key, row["means"], row["weight"], flush=True)


def _costs(name: str) -> dict[str, Any]:
    """BM25 of one collection: what it holds, what it takes on disk and in memory, and its times on one thread."""
    dataset = Dataset.open(s.DATA / name)
    analyser = analyser_for(dataset.corpus.texts(0, 1000)).name
    begun = time.perf_counter()
    words = LexicalIndex.build(dataset.corpus.texts(), analyser=analyser, progress=False)
    seconds = time.perf_counter() - begun
    queries = dataset.split("test")[0].texts[:1000]
    with tempfile.TemporaryDirectory() as folder:
        words.save(Path(folder))
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as alone:
            measured = alone.submit(_measured, folder, queries).result()
    return {
        "analyser": analyser,
        "documents": len(words),
        "megabytes_of_text": round(sum(len(text.encode()) for text in dataset.corpus.texts()) / 1e6, 2),
        "megabytes": round(words.nbytes / 1e6, 2),
        "build_seconds": round(seconds, 1),
        "words_a_query": round(float(np.mean([len(words.analyser(query)) for query in queries])), 1),
        **measured,
    }


def _measured(folder: str, queries: list[str]) -> dict[str, float]:
    """In a process of its own: opening, searching one query after the other, and the memory that is not the files'."""
    LexicalIndex.build(["a word"], progress=False).search(["word"], 1)
    before, begun = _anonymous(), time.perf_counter()
    words = LexicalIndex.open(Path(folder))
    opened, times = time.perf_counter() - begun, []
    for query in queries:
        begun = time.perf_counter()
        words.search([query], 10)
        times.append(time.perf_counter() - begun)
    p50, p99 = np.percentile(times, [50, 99]) * 1e3
    grown = _anonymous() - before
    found = {"open_ms": opened * 1e3, "p50_ms": p50, "p99_ms": p99, "own_megabytes": grown / 1e6}
    return {name: round(float(value), 2) for name, value in found.items()}


def _anonymous() -> int:
    """Bytes of this process that no file backs (Linux)."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


def _splits(setting: s.Setting) -> tuple[str, str]:
    return setting.choose, setting.report


def _split(setting: s.Setting, split: str) -> Any:
    return setting.collection.splits[split]


def _key(name: str, dense: str, seed: int) -> dict[str, Any]:
    return {"set": name, "dense": dense, "seed": seed}


def report(results: s.ResultFile) -> str:
    """A table and a verdict for each set and each dense side."""
    lines = ["# Words beside vectors", "", (__doc__ or "").split("\n\n")[-1].strip(), ""]
    for name in SETS:
        for dense, seeds in DENSE.items():
            keys = [_key(name, dense, seed) for seed in seeds]
            rows = [row for key in keys if (row := results.find(key)) is not None]
            values = [found for key in keys if (found := results.values(key)) is not None]
            if len(values) == len(keys) == len(rows):
                lines += _table(name, dense, rows, values)
    costs = [row for row in results.rows if "costs" in row["key"]]
    if costs:
        lines += [
            "## What BM25 costs",
            "",
            "One thread, one query at a time, top 10; files in the system's cache.",
            "",
        ]
        lines += [
            "| set | analyser | documents | MB of text | MB on disk | build, s | open, ms | own memory, MB "
        ]
        lines[-1] += "| words a query | p50, ms | p99, ms |"
        lines.append("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
        for row in costs:
            columns = ("analyser", "documents", "megabytes_of_text", "megabytes", "build_seconds", "open_ms")
            more = ("own_megabytes", "words_a_query", "p50_ms", "p99_ms")
            lines.append(f"| {row['key']['costs']} | {' | '.join(str(row[c]) for c in (*columns, *more))} |")
    return "\n".join(lines) + "\n"


def _table(
    name: str, dense: str, rows: list[dict[str, Any]], values: list[dict[str, np.ndarray]]
) -> list[str]:
    mean = {column: np.mean([found[column] for found in values], axis=0) for column in values[0]}
    seeds = ", ".join(str(row["key"]["seed"]) for row in rows)
    weights = ", ".join(f"{row['weight']:g}" for row in rows)
    lines = [
        f"## {name}, dense: {dense}",
        "",
        f"{rows[0]['queries']:,} queries; seeds {seeds}; weight of the dense scores {weights}, fitted on "
        f"{rows[0]['fitted_on']:,} others; BM25: {rows[0]['lexical_bytes'] / 1e6:.1f} MB.",
        "",
        "| system | nDCG@10 [95 %] | R@100 | nDCG@10 over dense [95 %] | over lexical [95 %] |",
        "|---|---|---:|---|---|",
    ]
    beats = {}
    for system in SYSTEMS:
        own = mean[f"{system} nDCG@10"]
        around = interval(own)
        offs = [paired_interval(own, mean[f"{part} nDCG@10"]) for part in SYSTEMS[:2]]
        beats[system] = all(off.low > 0 for off in offs)
        told = [
            f"{off.mean:+.4f} [{off.low:+.4f}, {off.high:+.4f}]" if off.high or off.low else ""
            for off in offs
        ]
        lines.append(
            f"| {system} | {around.mean:.4f} [{around.low:.4f}, {around.high:.4f}] "
            f"| {mean[f'{system} R@100'].mean():.4f} | {' | '.join(told)} |"
        )
    for system, words in (("scores", "weighted scores beat"), ("ranks", "fused ranks beat")):
        lines += ["", f"{words} both parts: {'**reproduced**' if beats[system] else '**not shown**'}."]
    return [*lines, ""]


if __name__ == "__main__":
    main()
