"""From the text of a query to ten documents: milliseconds on one core, tokenisation and document texts included.

    python benchmarks/answer_latency.py FOLDER --queries-of BEIR_FOLDER --encoders static=DIR,layers=DIR

FOLDER is an artefact that `limbeck distil` wrote; each encoder is a folder that `limbeck distil-encoder` wrote. Each
query is asked alone, all encoders in turn, so that a slow minute of the machine hits all of them. Bars, for 20,000
documents at 32 bytes: a median under 1 ms with a static student and under 4 ms with a transformer student in int8.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and faiss read it

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np

import limbeck
from limbeck.data.dataset import Dataset

RESULTS = Path(__file__).parent / "results"
WARM, MOST, ROUNDS = 50, 1000, 3


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("index", type=Path)
    asked.add_argument("--queries-of", type=Path, required=True)
    asked.add_argument("--split", default="test")
    asked.add_argument("--encoders", default="", help="name=FOLDER,...; the artefact's own is timed too")
    given = asked.parse_args()
    folders = dict(pair.split("=", 1) for pair in given.encoders.split(",") if pair)
    queries = list(Dataset.open(given.queries_of).split(given.split)[0].texts[:MOST])
    searchers = {"the artefact's own": limbeck.open(given.index, threads=1)}
    if searchers["the artefact's own"].encoder is None:  # made from vectors
        searchers = {}
    searchers |= {
        name: limbeck.open(given.index, encoder=folder, threads=1) for name, folder in folders.items()
    }
    found = {name: [] for name in searchers}
    for turn in range(ROUNDS):
        for name, searcher in searchers.items():
            for query in queries[:WARM]:
                searcher.answers([query], 10)
            found[name] += [_milliseconds(searcher, query) for query in queries]
            print(turn, name, f"{np.median(found[name]):.3f} ms", flush=True)
    index = next(iter(searchers.values())).index
    row = {
        "documents": len(index),
        "code_bytes": index.code_bytes,
        "queries": len(queries),
        "processor": platform.processor() or platform.machine(),
        "p50_ms": {name: round(float(np.median(taken)), 3) for name, taken in found.items()},
        "p99_ms": {name: round(float(np.percentile(taken, 99)), 3) for name, taken in found.items()},
        "at": time.strftime("%Y-%m-%d %H:%M"),
    }
    with (RESULTS / "answer_latency.jsonl").open("a") as stream:
        stream.write(json.dumps(row) + "\n")
    print(json.dumps(row, indent=1))


def _milliseconds(searcher: limbeck.Searcher, query: str) -> float:
    begun = time.perf_counter()
    searcher.answers([query], 10)
    return 1e3 * (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
