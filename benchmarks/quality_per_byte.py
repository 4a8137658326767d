"""All methods side by side at 8, 16, 32 and 64 code bytes a document: quality, bytes with all tables, seconds.

    python benchmarks/quality_per_byte.py                                     # what is missing in the result file
    python benchmarks/quality_per_byte.py --sets python-api --methods Limbeck,OPQ --sizes 16 --seeds 0,1,2

Constants were chosen on `choose` splits; every figure is of a `report` split that nothing was chosen or trained on.
Each finished run is a line of results/quality_per_byte.jsonl; started again, what is there is skipped, and
results/quality_per_byte.md is written anew from all of it. Everything takes about five hours on 2 cores.

A method that does not exist at a size is left out of it, and the table says why.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
import byte_tables
import setting as s

from limbeck.data.vector_data import VectorData
from limbeck.errors import ConfigError
from limbeck.index.flat import Flat
from limbeck.recipes.anisotropic import ScaNNVQ
from limbeck.recipes.bit_codes import ITQ, LSH, RaBitQ
from limbeck.recipes.compress import OPQ, PQ
from limbeck.recipes.contrastive_vq import DPQ, MoPQ, Poeem, RepCONC
from limbeck.recipes.distill_vq import DistillVQ
from limbeck.recipes.jpq import JPQ
from limbeck.recipes.limbeck import Limbeck
from limbeck.recipes.rivals import PCASQ8, SQ8, LocalSearchVQ, ResidualVQ
from limbeck.train.system import System

RESULTS = Path(__file__).parent / "results"
SETS = ("python-api", "ottqa-passages", "medquad", "tldr", "classical-zh-100k")
SIZES = (8, 16, 32, 64)
DEPTH = 200  # of the teacher's lists


@dataclass(frozen=True)
class Method:
    """A recipe at a size with a seed; `from_opq` ones start from the OPQ of the same size and seed, made once."""

    make: Callable[[int, int], Any]
    from_opq: bool = False
    own_size: bool = False  # it has one size, whatever is asked


METHODS = {
    "Limbeck": Method(lambda size, seed: Limbeck(code_bytes=size, seed=seed)),
    "Limbeck with labels": Method(
        lambda size, seed: Limbeck(code_bytes=size, learn_query_map=True, seed=seed)
    ),
    "OPQ": Method(lambda size, seed: OPQ(code_bytes=size, seed=seed)),
    "ResidualVQ": Method(lambda size, seed: ResidualVQ(code_bytes=size, seed=seed)),
    "DistillVQ": Method(lambda size, seed: DistillVQ(code_bytes=size, seed=seed), from_opq=True),
    "JPQ": Method(lambda size, seed: JPQ(code_bytes=size, seed=seed), from_opq=True),
    "PQ": Method(lambda size, seed: PQ(code_bytes=size, seed=seed)),
    "ScaNNVQ": Method(lambda size, seed: ScaNNVQ(code_bytes=size, seed=seed), from_opq=True),
    "PCASQ8": Method(lambda size, seed: PCASQ8(code_bytes=size, seed=seed)),
    "ITQ": Method(lambda size, seed: ITQ(code_bytes=size, seed=seed)),
    "LSH": Method(lambda size, seed: LSH(code_bytes=size, seed=seed)),
    "RepCONC": Method(lambda size, seed: RepCONC(code_bytes=size, seed=seed), from_opq=True),
    "MoPQ": Method(lambda size, seed: MoPQ(code_bytes=size, seed=seed), from_opq=True),
    "DPQ": Method(lambda size, seed: DPQ(code_bytes=size, seed=seed), from_opq=True),
    "Poeem": Method(lambda size, seed: Poeem(code_bytes=size, seed=seed), from_opq=True),
    "LocalSearchVQ": Method(lambda size, seed: LocalSearchVQ(code_bytes=size, seed=seed)),
    "RaBitQ 1 bit": Method(lambda _, seed: RaBitQ(bits=1, seed=seed), own_size=True),
    "SQ8": Method(lambda _, seed: SQ8(seed=seed), own_size=True),
}


@dataclass(frozen=True)
class Bench:
    """A collection with what all methods share: the teacher's lists of the training queries, and the exact hits."""

    setting: s.Setting
    data: VectorData
    exact: Any

    @classmethod
    def open(cls, name: str) -> Bench:
        setting = s.setting(name)
        collection = setting.collection
        data = collection.vector_data(train=setting.train, dev=setting.choose, with_labels=True)
        data = replace(data, documents=np.array(data.documents), queries=np.array(data.queries))
        flat = Flat(data.documents)
        data = replace(data, top=s.search(flat, data.queries, DEPTH))
        return cls(setting, data, s.search(flat, collection.splits[setting.report].vectors))

    def judged(self, index: Any) -> dict[str, list[float]]:
        """Values for each reported query."""
        hits = s.search(index, self.setting.collection.splits[self.setting.report].vectors)
        return s.judge(self.setting, self.setting.report, hits, self.exact)

    @cache  # noqa: B019 - one bench at a time
    def opq(self, size: int, seed: int) -> System:
        """Where the methods on product codes start."""
        return OPQ(code_bytes=size, seed=seed).run(self.data)

    def __hash__(self) -> int:
        return id(self)


def cells(methods: list[str], sizes: list[int], seeds: list[int]) -> Iterator[tuple[str, int, int]]:
    """Size by size, so that starts are shared; methods of one size once."""
    for seed in seeds:
        for size in sizes:
            for name in methods:
                if METHODS[name].own_size:
                    if size == sizes[0]:
                        yield name, 0, seed
                else:
                    yield name, size, seed


def run(bench: Bench, results: s.ResultFile, name: str, size: int, seed: int) -> None:
    """One method at one size, unless it is done, or does not exist there."""
    method = METHODS[name]
    recipe = method.make(size, seed)
    key = {"set": bench.setting.name, "method": name, "size": size, "seed": seed, "recipe": repr(recipe)}
    if results.values(key) is not None:
        return
    documents = len(bench.data.documents)
    start = bench.opq(size, seed) if method.from_opq else None
    begun = time.perf_counter()
    try:
        index = (recipe.run(bench.data, start) if start else recipe.run(bench.data)).build()
    except ConfigError as error:
        results.keep_values(key, {})
        results.add(key, {"left_out": str(error).splitlines()[0]})
        return
    seconds = time.perf_counter() - begun
    values = bench.judged(index)
    code = index.code_bytes
    facts = {
        "means": s.means(values),
        "queries": len(values["RR@10"]),
        "documents": documents,
        "code_bytes": code,
        "bytes_here": round(index.nbytes / documents, 2),
        "bytes_at_a_million": round(code + (index.nbytes - documents * code) / 1e6, 2),
        "seconds": round(seconds, 1),
        "data_fingerprint": bench.setting.collection.dataset.fingerprint,
    }
    results.keep_values(key, values)
    results.add(key, facts)
    print(
        f"{bench.setting.name} {name:14} {code:3} bytes, seed {seed}: {facts['means']} {seconds:.0f} s",
        flush=True,
    )


def exact(bench: Bench, results: s.ResultFile) -> None:
    """The line that all others are measured against."""
    key = {"set": bench.setting.name, "method": "exact", "size": 0, "seed": 0, "recipe": "Flat"}
    if results.values(key) is not None:
        return
    values = s.judge(bench.setting, bench.setting.report, bench.exact, bench.exact)
    width = 4 * bench.data.documents.shape[1]
    results.keep_values(key, values)
    results.add(
        key,
        {
            "means": s.means(values),
            "queries": len(values["RR@10"]),
            "documents": len(bench.data.documents),
            "code_bytes": width,
            "bytes_here": width,
            "bytes_at_a_million": width,
            "seconds": 0.0,
            "data_fingerprint": bench.setting.collection.dataset.fingerprint,
        },
    )


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--sets", default=",".join(SETS))
    asked.add_argument("--methods", default=",".join(METHODS))
    asked.add_argument("--sizes", default=",".join(map(str, SIZES)))
    asked.add_argument("--seeds", default="0")
    asked.add_argument(
        "--table", action="store_true", help="write the tables from what is there, and run nothing"
    )
    given = asked.parse_args()
    results = s.ResultFile("quality_per_byte", folder=RESULTS)
    methods = given.methods.split(",")
    unknown = sorted(set(methods) - set(METHODS))
    if unknown:
        asked.error(f"no methods {unknown}; there are {list(METHODS)}")
    for name in () if given.table else given.sets.split(","):
        bench = Bench.open(name)
        exact(bench, results)
        for cell in cells(methods, _numbers(given.sizes), _numbers(given.seeds)):
            run(bench, results, *cell)
    text = byte_tables.report(results, SETS, tuple(METHODS))
    (RESULTS / "quality_per_byte.md").write_text(text)
    print(text)


def _numbers(words: str) -> list[int]:
    return [int(word) for word in words.split(",")]


if __name__ == "__main__":
    main()
