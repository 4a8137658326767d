"""Speed at equal quality: one thread, one query a call, our lists beside the usual engines, each tuned on its grid.

    python benchmarks/speed_frontier.py                                 # what is missing in the result file
    python benchmarks/speed_frontier.py --sets python-api --families Limbeck,IVF-RaBitQ
    python benchmarks/speed_frontier.py --table                         # only write the tables anew

A design is one built index; a point is a setting of its search. On the `choose` split (at most 1,000 queries) each
design gets its overlap@10 with exact search over its grid, and for each target the fastest point that reaches it.
Those points are then measured on the `report` split, all designs of a collection in one run: overlap over all its
queries, and queries a second in five rounds in which every point has its turn, so that a slow minute of the machine
hits all of them. Figures are medians of the rounds.

Rivals are timed on their bare engines with search parameters made beforehand; ours through `index.search`, with all its
checks. Building and overlap use all cores, timing one. Build seconds are those of a design alone: what a second look
shares with the same lists without one is counted in each, as are the teacher's lists in each of ours.

Every tuned design, and every set of final timings, is a line of results/speed_frontier.jsonl; started again, what is
there is skipped. Final timings are taken anew, all together, whenever a point is new. Built indexes stay in the cache
(about 5 GB for both collections); to build a design anew, delete its line. Most of the time goes into building: an
hour at most on 2 quiet cores (estimated, not measured).
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy, faiss and torch read it

import argparse
import hashlib
import json
import platform
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faiss
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
import frontier_tables
import setting as s
from frontier_designs import FAMILIES, Design, K, Point, Search, cores

from limbeck.data.vector_data import VectorData
from limbeck.errors import ConfigError, MissingExtra
from limbeck.evaluate import overlap
from limbeck.index.flat import Flat
from limbeck.index.opening import kind_of, open_index
from limbeck.quantisers.faiss_build import refuse_lists
from limbeck.recipes.engines import second_look
from limbeck.storage.cache import cache_root
from limbeck.types import Floats, Hits

RESULTS = Path(__file__).parent / "results"
SETS = ("ottqa-passages", "python-api")
LISTS = {"ottqa-passages": (256, 1024)}  # of each engine with lists; 256 on every other collection
TARGETS = frontier_tables.TARGETS
ENOUGH = 0.97  # of overlap: nothing broader is looked at
STANDSTILL = 0.001  # of overlap, gained in each of two steps: as above
CHOOSING, CHOOSING_TIMED, CHOOSING_LAPS = (
    1000,
    200,
    3,
)  # queries, those of a lap, laps of which the best counts
TIMED, ROUNDS = 1000, 5  # queries of a lap of the final timings, laps of each point
WARMING = 20  # queries before each lap
MOST_QUERIES = 500  # for the overlap at the broadest point
SLOWER = 2.0  # times slower on `choose` than another of its family at as few bytes: no final timing


class Bench:
    """A collection, its queries with their exact hits, and the index that was built last."""

    def __init__(self, name: str) -> None:
        setting = s.setting(name)
        collection = setting.collection
        data = collection.vector_data(train=setting.train, dev=setting.choose)
        self.name = name
        self.fingerprint = collection.dataset.fingerprint
        self.data = replace(data, documents=np.array(data.documents), queries=np.array(data.queries))
        self.flat = Flat(self.data.documents)
        with allcores():
            self.choose = self._asked(collection.splits[setting.choose].vectors[:CHOOSING])
            self.report = self._asked(collection.splits[setting.report].vectors)
        self._built: tuple[Any, Any, float] = (None, None, 0.0)

    def _asked(self, vectors: Floats) -> tuple[Floats, Hits]:
        queries = np.ascontiguousarray(vectors, dtype=np.float32)
        return queries, s.search(self.flat, queries, 2 * K)  # deeper than K: ties are equivalent

    def designs(self) -> Iterator[tuple[str, Design]]:
        """All, with their families."""
        for family, make in FAMILIES.items():
            for design in make(len(self.data.documents), LISTS.get(self.name, (256,))):
                yield family, design

    @cached_property
    def taught(self) -> tuple[VectorData, float]:
        """The data with the teacher's lists of the training queries, and the seconds that those took."""
        begun = time.perf_counter()
        data = replace(self.data, top=s.search(self.flat, self.data.queries, 200))
        return data, time.perf_counter() - begun

    def built(self, design: Design) -> tuple[Any, float]:
        """The index and all seconds that it takes. raises ConfigError, MissingExtra where it cannot be"""
        lists = getattr(design.recipe, "lists", None)
        if lists is not None:
            refuse_lists(lists, len(self.data.documents))
        with allcores():
            if self._built[0] != design.recipe:
                data, seconds = self.taught if design.is_taught else (self.data, 0.0)
                begun = time.perf_counter()
                index = design.recipe.run(data).build()
                self._built = design.recipe, index, seconds + time.perf_counter() - begun
            _, index, seconds = self._built
            if design.refine == "none":
                return index, seconds
            begun = time.perf_counter()
            index = second_look(
                index.engine, self.data.documents, self.data, refine=design.refine, factor=4.0
            )
            return index, seconds + time.perf_counter() - begun


@contextmanager
def allcores() -> Iterator[None]:
    """For building and for overlap; outside of it everything has one thread."""
    _threads(cores())
    try:
        yield
    finally:
        _threads(1)


def _threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)
    faiss.omp_set_num_threads(count)


def reached(search: Search, asked: tuple[Floats, Hits], point: Point, *, most: int | None = None) -> float:
    """Overlap@10 over the queries, or the first so many of them."""
    queries, exact = asked[0][:most], Hits(asked[1].ids[:most], asked[1].scores[:most])
    with allcores():
        rows = search.rows(queries, point)
    return round(float(overlap(Hits(rows, np.zeros(rows.shape, np.float32)), exact, k=K).mean()), 4)


def lap(search: Search, queries: Floats, point: Point) -> float:
    """Queries a second, one at a time."""
    single = [queries[row : row + 1] for row in range(len(queries))]
    one = search.one(point)
    for query in single[:WARMING]:
        one(query)
    begun = time.perf_counter()
    for query in single:
        one(query)
    return len(single) / (time.perf_counter() - begun)


def climbed(search: Search, asked: tuple[Floats, Hits], factor: int | None) -> Iterator[tuple[Point, float]]:
    """Points of rising breadth with their overlap, until it is enough or stands still."""
    values: list[float] = []
    for breadth in search.breadths:
        point = Point(breadth, factor)
        values.append(reached(search, asked, point))
        yield point, values[-1]
        is_still = len(values) > 2 and values[-1] - values[-2] < STANDSTILL > values[-2] - values[-3]
        if values[-1] >= ENOUGH or is_still:
            return


def choice(search: Search, asked: tuple[Floats, Hits]) -> list[dict[str, Any]]:
    """The grid on `choose`. For each factor and target the least breadth that reaches it is timed, none else."""
    queries = asked[0][:CHOOSING_TIMED]
    points = []
    for factor in search.factors:
        found = list(climbed(search, asked, factor))
        timed = {next((point for point, value in found if value >= target), None) for target in TARGETS}
        for point, value in found:
            laps = [lap(search, queries, point) for _ in range(CHOOSING_LAPS)] if point in timed else []
            points.append({**point._asdict(), "overlap": value, "qps": round(max(laps)) if laps else None})
    return points


def tune(bench: Bench, results: s.ResultFile, family: str, design: Design) -> None:
    """Build a design, save it, and try its grid, unless that is done."""
    key = design.key(bench.name, family)
    if results.find(key) is not None:
        return
    try:
        index, seconds = bench.built(design)
    except (ConfigError, MissingExtra) as error:
        results.add(key, {"left_out": str(error).splitlines()[0]})
        return
    folder = _folder(key)
    index.save(folder)
    (folder / "kind").write_text(kind_of(index))
    search = design.search(index)
    broadest = Point(search.breadths[-1], search.factors[-1])
    documents = len(bench.data.documents)
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "kind")
    facts = {
        "documents": documents,
        "memory": round(index.nbytes / documents, 2),  # bytes a document
        "disk": round(disk / documents, 2),
        "seconds": round(seconds, 1),
        "broadest": {
            **broadest._asdict(),
            "overlap": reached(search, bench.report, broadest, most=MOST_QUERIES),
        },
        "points": choice(search, bench.choose),
        "data_fingerprint": bench.fingerprint,
    }
    results.add(key, facts)
    print(
        f"{bench.name} {family}, {design.name}: {facts['memory']} bytes, {seconds:.0f} s, at most "
        f"{facts['broadest']['overlap']}",
        flush=True,
    )


def _folder(key: Mapping[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return cache_root() / "experiments" / "speed_frontier" / digest[:24]


def opened(bench: Bench, family: str, design: Design) -> Search:
    """The search of a tuned design: the index that was saved, or built anew where it is gone."""
    folder = _folder(design.key(bench.name, family))
    if (folder / "kind").exists():
        return design.search(open_index(folder, kind=(folder / "kind").read_text()))
    return design.search(bench.built(design)[0])


def finals(bench: Bench, results: s.ResultFile) -> None:
    """All designs that are tuned, on the `report` split, in one run, unless these very points are done."""
    designs = {(family, design.name): design for family, design in bench.designs()}
    rows = [
        row
        for (family, _), design in designs.items()
        if (row := results.find(design.key(bench.name, family))) is not None and "points" in row
    ]
    picks = [pick for target in TARGETS for pick in frontier_tables.picks(rows, target, slower=SLOWER)]
    key = {"set": bench.name, "stage": "report", "picks": picks}
    before = [row["key"] for row in results.rows if row["key"]["set"] == bench.name and "picks" in row["key"]]
    if not picks or before[-1:] == [key]:
        return
    searches = {
        (pick["family"], pick["design"]): opened(
            bench, pick["family"], designs[pick["family"], pick["design"]]
        )
        for pick in picks
    }
    asked = {(p["family"], p["design"], Point(p["breadth"], p["factor"])) for p in picks}
    points = sorted(asked, key=str)  # one may serve several targets
    shares = {point: reached(searches[point[:2]], bench.report, point[2]) for point in points}
    queries = np.resize(bench.report[0], (TIMED, bench.report[0].shape[1]))  # repeated where there are fewer
    laps: dict[Any, list[float]] = {point: [] for point in points}
    for number in range(ROUNDS):
        for point in points:
            laps[point].append(lap(searches[point[:2]], queries, point[2]))
        print(f"{bench.name}: round {number + 1} of {ROUNDS}, {len(points)} points", flush=True)
    measured = []
    for pick in picks:
        point = (pick["family"], pick["design"], Point(pick["breadth"], pick["factor"]))
        speeds = sorted(round(speed) for speed in laps[point])
        measured.append({**pick, "overlap": shares[point], "qps": speeds[len(speeds) // 2], "rounds": speeds})
    results.add(
        key, {"rows": measured, "queries": len(bench.report[0]), "timed": TIMED, "machine": _machine()}
    )


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    engines = [f"{name} {version(name)}" for name in ("faiss-cpu", "hnswlib", "scann") if _has(name)]
    return f"{names[0] if names else platform.processor()}; {', '.join(engines)}"


def _has(name: str) -> bool:
    try:
        version(name)
    except ModuleNotFoundError:  # PackageNotFoundError is one
        return False
    return True


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--sets", default=",".join(SETS))
    asked.add_argument("--families", default=",".join(FAMILIES), help="those to tune; all tuned are timed")
    asked.add_argument(
        "--designs", default="", help="tune only designs whose name holds this (a regular expression)"
    )
    asked.add_argument(
        "--results", type=Path, default=RESULTS, help="folder of the result file and the tables"
    )
    asked.add_argument(
        "--table", action="store_true", help="write the tables from what is there, and run nothing"
    )
    given = asked.parse_args()
    families = given.families.split(",")
    unknown = sorted(set(families) - set(FAMILIES))
    if unknown:
        asked.error(f"no families {unknown}; there are {list(FAMILIES)}")
    results = s.ResultFile("speed_frontier", folder=given.results)
    _threads(1)
    for name in () if given.table else given.sets.split(","):
        bench = Bench(name)
        for family, design in bench.designs():
            if family in families and re.search(given.designs, design.name):
                tune(bench, results, family, design)
        finals(bench, results)
    text = frontier_tables.report(results, tuple(FAMILIES))
    (given.results / "speed_frontier.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
