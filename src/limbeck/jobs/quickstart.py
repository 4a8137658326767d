"""The main job on data that every machine holds: the functions and classes of installed Python packages.

Harvest, encode, exact search, PQ, OPQ and Distill-VQ at two sizes, Limbeck at the smaller, judged on held-out queries;
then the artefact is saved, opened again as a user would, and asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from limbeck.evaluate import Report, Row, adjust, compare_systems, peak_memory
from limbeck.jobs.evaluate import Judged, judge
from limbeck.retrieve import Answer

if TYPE_CHECKING:
    from limbeck.data.dataset import Dataset
    from limbeck.data.vector_data import VectorData
    from limbeck.encoders.collection import Collection
    from limbeck.index.opening import SavedIndex
    from limbeck.jobs.make import Recipe
    from limbeck.recipes.distill_vq import DistillVQ
    from limbeck.recipes.limbeck import Limbeck
    from limbeck.train.history import History
    from limbeck.train.system import System

SIZES = (
    16,
    32,
)  # code bytes; Limbeck's own codes take the smaller alone, so that all is done in four minutes
MAX_LENGTH = 128  # tokens of a document: what MiniLM was trained with; twice as fast as its limit of 256
TIMED = 0.3  # seconds for each timing of a search
QUESTIONS = (
    "remove duplicate elements from a list while keeping their order",
    "compute the singular value decomposition of a matrix",
    "parse a date string into a datetime object",
)
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Compressed:
    """One method at one size."""

    method: str
    recipe: Recipe
    index: SavedIndex
    seconds: float
    history: History | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the quickstart shows."""

    report: Report
    artefact: Path
    answers: Sequence[tuple[str, list[Answer]]]
    seconds: float
    peak_bytes: int


def quickstart(
    out: Path, *, documents: int = 8000, seed: int = 0, say: Say = lambda text: None, progress: bool = True
) -> Outcome:
    """Run the whole main job and leave the artefact, report.md, report.json and quality.png in `out`.

    documents  256 (codewords must be learnt from something) to 50,000
    cost       8,000 documents: under 4 minutes and 3 GB on 2 cores, mostly encoding; a second run takes the vectors
               from the cache
    """
    from limbeck.data.python_api import cached
    from limbeck.encoders.collection import encode_dataset
    from limbeck.encoders.sentence import SentenceEncoder
    from limbeck.jobs.make import publish_index
    from limbeck.jobs.material import material_of

    started = time.perf_counter()
    say(f"Harvesting {documents:,} functions and classes from the standard library and installed packages")
    dataset = cached(documents, seed)
    encoder = SentenceEncoder.open(max_length=MAX_LENGTH)
    say(
        f"Encoding {len(dataset.corpus):,} documents and {len(dataset.queries):,} queries with MiniLM "
        f"({encoder.fingerprint.precision})"
    )
    collection = encode_dataset(dataset, encoder, ("train", "dev", "test"), progress=progress)
    report, best = _report(dataset, collection, seed=seed, say=say)
    say(f"Saving Limbeck's {SIZES[0]}-byte index with its query encoder in ONNX, and asking it")
    searcher = publish_index(
        best.index,
        material_of(collection, encoder),
        best.recipe,
        out / "index",
        history=best.history,
        seconds=best.seconds,
    )
    answers = list(zip(QUESTIONS, searcher.answers(QUESTIONS, 3), strict=True))
    _write(out, report)
    return Outcome(
        report=report,
        artefact=out / "index",
        answers=answers,
        seconds=time.perf_counter() - started,
        peak_bytes=peak_memory(),
    )


def _report(dataset: Dataset, collection: Collection, *, seed: int, say: Say) -> tuple[Report, Compressed]:
    """The table of all methods, and Limbeck's index."""
    from limbeck.index.flat import Flat

    test = collection.splits["test"]
    data = collection.vector_data(train="train", dev="dev")
    width = data.documents.shape[1]
    exact = judge(
        Flat(data.documents), test.vectors, test.labels, exact=None, code_bytes=4 * width, seconds=TIMED
    )
    exact = _with_itself(exact)
    rows = [Row.of("exact", exact.scores, cost=exact.cost, is_exact=True)]
    comparisons = []
    best: Compressed | None = None
    for size in SIZES:
        made = _compressed(data, size, seed=seed, say=say)
        best = best or made[-1]
        judged = {
            one.method: judge(
                one.index,
                test.vectors,
                test.labels,
                exact=exact.hits,
                code_bytes=size,
                build_seconds=one.seconds,
                seconds=TIMED,
            )
            for one in made
        }
        rows += [
            Row.of(f"{method} {size}", found.scores, cost=found.cost, method=method)
            for method, found in judged.items()
        ]
        comparisons += compare_systems(
            judged["OPQ"].scores,
            {f"{one.method} {size}": judged[one.method].scores for one in made if one.history},
            baseline_name=f"OPQ {size}",
            measures=("RR@10", "overlap@10"),
        )
    report = Report(
        title="python-api, held-out queries",
        rows=tuple(rows),
        comparisons=tuple(adjust(comparisons)),
        queries=len(exact.scores),
        notes=(f"{len(dataset.corpus):,} documents, {len(data.queries):,} training queries without labels",),
    )
    assert best is not None
    return report, best


def _compressed(data: VectorData, size: int, *, seed: int, say: Say) -> list[Compressed]:
    """PQ, OPQ, Distill-VQ over OPQ's codes (its seconds count those of the OPQ that it starts from); Limbeck last."""
    from limbeck.jobs.make import built
    from limbeck.recipes.compress import OPQ, PQ
    from limbeck.recipes.distill_vq import DistillVQ
    from limbeck.recipes.limbeck import Limbeck

    made = []
    for method, recipe in (("PQ", PQ(code_bytes=size, seed=seed)), ("OPQ", OPQ(code_bytes=size, seed=seed))):
        say(f"{method} at {size} bytes")
        begun = time.perf_counter()
        system = recipe.run(data)
        index = built(system)
        made.append(Compressed(method, recipe, index, time.perf_counter() - begun))
    taught_ones: list[tuple[str, DistillVQ | Limbeck, System | None, float]] = [
        ("Distill-VQ", DistillVQ(code_bytes=size, seed=seed), system, made[-1].seconds)
    ]
    if size == SIZES[0]:
        taught_ones.append(("Limbeck", Limbeck(code_bytes=size, seed=seed), None, 0.0))
    for method, taught, start, before in taught_ones:
        say(f"{method} at {size} bytes")
        begun = time.perf_counter()
        histories: list[History] = []
        index = built(taught.run(data, start, on_history=histories.append))
        seconds = before + time.perf_counter() - begun
        made.append(Compressed(method, taught, index, seconds, histories[0]))
    return made


def _with_itself(exact: Judged) -> Judged:
    """Exact search agrees with itself: the column is filled, so that tables have no hole."""
    ones = np.ones(len(exact.scores))
    return Judged(scores=exact.scores.plus("overlap@10", ones), hits=exact.hits, cost=exact.cost)


def _write(out: Path, report: Report) -> None:
    from limbeck.evaluate import plot_quality_against_bytes

    (out / "report.md").write_text(report.to_markdown() + "\n", encoding="utf-8")
    (out / "report.json").write_text(report.to_json() + "\n", encoding="utf-8")
    plot_quality_against_bytes([report], out / "quality.png")
