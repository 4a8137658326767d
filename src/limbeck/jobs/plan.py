"""Which design will do: several are built over a sample of the user's own corpus, measured, and held against limits.

Letters: n documents of the sample, N planned documents, L coarse lists.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.errors import ConfigError, MissingExtra
from limbeck.evaluate import Interval, interval, measure_search, overlap, paired_interval, score_hits
from limbeck.index.compressed import CodeIndex
from limbeck.index.flat import Flat
from limbeck.index.opening import SavedIndex
from limbeck.index.sums import SumIndex
from limbeck.index.two_stage import TwoStageIndex
from limbeck.jobs.designs import CODE_BYTES, Design, at_lists, command, designs
from limbeck.jobs.material import CorpusLike, QueriesLike, Similarity
from limbeck.jobs.plan_report import Constraints, Measure, Plan, Planned
from limbeck.jobs.plan_sample import MOST_DOCUMENTS, Sample, draw_sample
from limbeck.quantisers.coarse import default_lists
from limbeck.types import Codes, Hits, Reps

if TYPE_CHECKING:
    from limbeck.encoders.sentence import SentenceEncoder
    from limbeck.train.system import System

SMALL = 256  # documents whose search takes hardly longer than what does not grow with their number
DEPTH = 10


@dataclass(frozen=True, slots=True)
class Built:
    """A system that a recipe left, and how long it took."""

    system: System
    seconds: float


def plan(
    corpus: CorpusLike,
    queries: QueriesLike | None = None,
    *,
    teacher: Path | str | SentenceEncoder | None = None,
    similarity: Similarity | None = None,
    documents: int | None = None,
    memory: int | None = None,
    latency: float | None = None,
    quality: float | None = None,
    measure: Measure = "overlap@10",
    methods: Sequence[str] | None = None,
    code_bytes: Sequence[int] = CODE_BYTES,
    sample: int = MOST_DOCUMENTS,
    seconds: float = 0.3,
    seed: int = 0,
    progress: bool = True,
) -> Plan:
    """A table of designs, each built and measured on a sample, with what it will cost at the planned size.

    corpus, queries, teacher, similarity  as `distil` takes them; labels are used where a data set has them
    documents  N to plan for; those of the corpus when left out
    memory     bytes that the index may take; latency  milliseconds a query, one thread
    quality    least share of exact search to be kept, in `measure`
    methods    names of `designs.families()`; None = those tried by default
    code_bytes the sizes to try; a method that does not exist at a size is left out, and a note says why
    sample     most documents to try designs on
    seconds    of timing a design
    cost       encoding the sample (cached), then some seconds to a minute a design; nothing is written
    """
    wanted = Constraints(
        documents=1 if documents is None else documents,
        memory=memory,
        latency=latency,
        quality=quality,
        measure=measure,
    )
    drawn = draw_sample(
        corpus, queries, teacher=teacher, similarity=similarity, most=sample, seed=seed, progress=progress
    )
    if documents is None:
        wanted = Constraints(
            documents=drawn.documents, memory=memory, latency=latency, quality=quality, measure=measure
        )
    if measure == "RR@10" and drawn.labels is None:
        raise ConfigError(
            "RR@10 needs labels, and these queries have none.\n\nHint: measure='overlap@10' needs none."
        )
    tried = list(designs(methods, code_bytes=code_bytes, lists=default_lists(len(drawn.data.documents))))
    trial = Trial(drawn, wanted, seconds=seconds, names=_names(corpus, queries, similarity))
    rows: list[Planned] = []
    notes = list(drawn.notes)
    for design in _counted(tried, progress=progress):
        try:
            rows += trial.rows(design)
        except (ConfigError, MissingExtra) as error:
            notes.append(f"left out: {design.method} {_size(design)}: {str(error).splitlines()[0]}")
    rows.sort(key=lambda row: (row.index_bytes, row.method, row.probes or 0))
    return Plan(
        title=f"{wanted.documents:,} documents of {drawn.data.documents.shape[1]} dimensions",
        constraints=wanted,
        rows=tuple(rows),
        sample=len(drawn.data.documents),
        queries=len(drawn.judged),
        notes=tuple(notes),
    )


class Trial:
    """Builds designs over one sample and measures them; systems that several designs start from are made once."""

    def __init__(
        self, sample: Sample, wanted: Constraints, *, seconds: float, names: tuple[str, str]
    ) -> None:
        self.sample, self.wanted, self.seconds = sample, wanted, seconds
        self.source, self.queries = names
        self._built: dict[str, Built] = {}
        self._small: dict[str, SavedIndex] = {}
        self._flat = Flat(sample.data.documents, metric=sample.data.metric)
        self._exact = self._flat.search(Reps.single(sample.judged), 2 * DEPTH)

    def rows(self, design: Design) -> list[Planned]:
        """A row for each effort."""
        index, seconds = self._index(design)
        return [self._row(design, index, seconds, effort) for effort in design.efforts]

    def _index(self, design: Design) -> tuple[SavedIndex, float]:
        if design.recipe is None:
            return self._flat, 0.0
        made = self._system(design)
        started = time.perf_counter()
        index: Any = made.system.build()
        if design.opened is not None:
            index = design.opened(index)
        return index, made.seconds + time.perf_counter() - started

    def _system(self, design: Design) -> Built:
        assert design.recipe is not None
        key = repr(design.recipe)
        if key in self._built:
            return self._built[key]
        start = None if design.start is None else self._system(Design(method="start", recipe=design.start))
        started = time.perf_counter()
        learns = "progress" in inspect.signature(design.recipe.run).parameters
        options: dict[str, Any] = {"progress": False} if learns else {}
        system = design.recipe.run(self.sample.data, None if start is None else start.system, **options)
        seconds = time.perf_counter() - started + (0.0 if start is None else start.seconds)
        self._built[key] = Built(system, seconds)
        return self._built[key]

    def _row(self, design: Design, index: SavedIndex, seconds: float, effort: float | None) -> Planned:
        planned, lists = self.wanted.documents, _lists_at(design, self.wanted.documents)
        hits = index.search(Reps.single(self.sample.judged), DEPTH, effort=effort)
        ms = self._milliseconds(index, effort)
        size = planned_bytes(design, index, planned)
        return Planned(
            method=design.method,
            code_bytes=index.code_bytes,
            lists=lists,
            probes=None if lists is None or effort is None else max(1, math.ceil(effort * lists - 1e-9)),
            refinement=design.refinement,
            bytes_per_document=size / planned,
            index_bytes=size,
            overlap=interval(overlap(hits, self._exact, k=DEPTH)),
            kept=self._kept(hits),
            ms=ms,
            ms_planned=self._milliseconds_at(planned, design, index, ms, effort),
            build_seconds=seconds,
            build_seconds_planned=seconds * max(1.0, planned / len(index)),
            command=command(
                at_lists(design, lists) if lists else design,
                effort=effort,
                source=self.source,
                queries=self.queries,
            ),
        )

    def _kept(self, hits: Hits) -> Interval | None:
        """RR@10 as a share of exact search's, with the interval of the paired difference around it."""
        if self.sample.labels is None:
            return None
        exact = score_hits(self._exact, self.sample.labels, ("RR@10",)).of("RR@10")
        found = score_hits(hits, self.sample.labels, ("RR@10",)).of("RR@10")
        whole = float(exact.mean())
        if whole == 0:
            return None
        difference = paired_interval(found, exact)
        return Interval(*(1 + part / whole for part in (difference.mean, difference.low, difference.high)))

    def _milliseconds(self, index: SavedIndex, effort: float | None) -> float:
        speeds = measure_search(
            index, self.sample.judged, k=DEPTH, threads=(1,), seconds=self.seconds, effort=effort
        )
        return speeds[0].p50_ms

    def _milliseconds_at(
        self, documents: int, design: Design, index: SavedIndex, ms: float, effort: float | None
    ) -> float:
        """A straight line through the times over few documents and over the sample; a logarithm for graphs."""
        if design.is_graph:
            return ms * max(1.0, math.log(documents) / math.log(len(index)))
        few = self._fewer(design, index)
        slope = max(0.0, ms - self._milliseconds(few, effort)) / max(1, len(index) - len(few))
        return ms + slope * (documents - len(index))

    def _fewer(self, design: Design, index: SavedIndex) -> SavedIndex:
        """The same over few documents: the first codes of an index of ours; an engine built again over a quarter."""
        vectors = self.sample.data.documents
        if isinstance(index, Flat):
            return Flat(np.asarray(vectors[:SMALL]), metric=index.metric)
        if isinstance(index, CodeIndex):
            codes, lists = index.codes.codes[:SMALL], index.codes.lists
            return index.over(Codes(codes, None if lists is None else lists[:SMALL]))
        if isinstance(index, TwoStageIndex):
            return index.first_rows(SMALL)
        if isinstance(index, SumIndex):
            return SumIndex(index.quantiser, Codes(index.codes.codes[:SMALL]))
        key = repr(design.recipe)
        if key not in self._small:
            part = replace(self.sample.data, documents=np.asarray(vectors[: len(vectors) // 4]))
            self._small[key] = design.recipe.run(part).build()
        return self._small[key]


def planned_bytes(design: Design, index: SavedIndex, documents: int) -> float:
    """What the index of a design would take over so many documents, worked out from the one at hand.

    Codes and ids grow with the documents, centroids with the lists (√N of them); the rest is shared.
    """
    lists = _lists_at(design, documents)
    of_lists = 0.0 if lists is None or design.lists is None else _list_bytes(design, index) / design.lists
    shared = _shared_bytes(design, index) + of_lists * (design.lists or 0)
    a_document = (index.nbytes - shared) / len(index)
    return a_document * documents + shared + of_lists * ((lists or 0) - (design.lists or 0))


def _shared_bytes(design: Design, index: SavedIndex) -> float:
    """What all documents share, besides lists."""
    if isinstance(index, Flat):
        return 0.0
    if isinstance(index, CodeIndex):
        return index.shared_bytes - _list_bytes(design, index)
    if isinstance(index, SumIndex):
        return float(index.nbytes - len(index) * index.code_bytes)
    if isinstance(index, TwoStageIndex):
        return index.first.shared_bytes + index.second_words_bytes - _list_bytes(design, index)
    return float(design.shared_bytes(index.dim)) if design.shared_bytes is not None else 0.0


def _list_bytes(design: Design, index: SavedIndex) -> float:
    """Centroids: as many arrays as an index of ours holds, one in an engine."""
    first = index.first if isinstance(index, TwoStageIndex) else index
    if not isinstance(first, CodeIndex):
        return 4.0 * (design.lists or 0) * index.dim
    parts = first.held_parts()
    return float(
        sum(array.nbytes for name, array in parts.items() if name in ("base", "routing", "assign.base"))
    )


def _lists_at(design: Design, documents: int) -> int | None:
    return None if design.lists is None else default_lists(documents)


def _counted(tried: Sequence[Design], *, progress: bool) -> Any:
    from tqdm import tqdm

    bar = tqdm(tried, desc="designs", unit="design", disable=not progress, leave=False)
    for design in bar:
        bar.set_postfix_str(f"{design.method} {_size(design)}".strip())
        yield design


def _size(design: Design) -> str:
    size = getattr(design.recipe, "code_bytes", None)
    return "" if size is None else f"{size} bytes"


def _names(corpus: CorpusLike, queries: QueriesLike | None, similarity: Similarity | None) -> tuple[str, str]:
    """How the user's corpus and queries are called in the commands."""
    source = str(corpus) if isinstance(corpus, (str, Path)) else "CORPUS"
    if similarity is not None:
        source += f" --similarity {similarity}"
    if queries is None:
        return source, ""
    return source, str(queries) if isinstance(queries, (str, Path)) else "QUERIES"
