"""How good a saved index is on labelled queries, and how much of exact search it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from limbeck.data.corpus import content_hash
from limbeck.data.dataset import Dataset
from limbeck.data.run import Run
from limbeck.encoders.fingerprint import check_pair, space_of
from limbeck.errors import ConfigError, DataError
from limbeck.evaluate import Cost, Report, Row, Scores, compare_systems, measure_search, overlap, score_hits
from limbeck.evaluate.measures import parse_measure
from limbeck.retrieve import Mode, Searcher
from limbeck.types import Floats, Hits, Reps

if TYPE_CHECKING:
    from limbeck.contracts import Index
    from limbeck.data.labels import Labels
    from limbeck.encoders.corpus_encoding import KnownEncoder
    from limbeck.encoders.sentence import SentenceEncoder
    from limbeck.index.document_store import DocumentStore
    from limbeck.index.store import Manifest

MEASURES = ("RR@10", "R@100")
DEPTH = 100


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One index on one set of queries."""

    scores: Scores
    hits: Hits
    cost: Cost


def judge(
    index: Index,
    vectors: Floats,
    labels: Labels,
    *,
    exact: Hits | None,
    code_bytes: int,
    build_seconds: float | None = None,
    effort: float | None = None,
    measures: Sequence[str] = MEASURES,
    seconds: float = 1.0,
) -> Judged:
    """Search, score, and time an index (`seconds` as in `measure_search`); overlap is measured against `exact`."""
    hits = index.search(Reps.single(vectors), DEPTH, effort=effort)
    scores = _scores(hits, labels, measures, exact)
    speeds = measure_search(index, vectors, effort=effort, seconds=seconds)
    cost = Cost(code_bytes, index.nbytes / len(index), build_seconds, tuple(speeds))
    return Judged(scores=scores, hits=hits, cost=cost)


def _scores(hits: Hits, labels: Labels, measures: Sequence[str], exact: Hits | None) -> Scores:
    scores = score_hits(hits, labels, measures)
    if exact is None:
        return scores
    return scores.plus("overlap@10", overlap(hits, exact, k=10)[scores.query_rows])


def evaluate(
    folder: Path | str | Searcher,
    data: Path | str | Dataset,
    *,
    split: str = "test",
    mode: Mode = "dense",
    measures: Sequence[str] = MEASURES,
    effort: float | None = None,
    teacher: SentenceEncoder | Path | str | None = None,
    query_encoder: KnownEncoder | Path | str | None = None,
    run_to: Path | None = None,
    progress: bool = True,
) -> Report:
    """A report on one artefact over the labelled queries of a split.

    mode     as in `Searcher.search`; only dense search is timed, on ready vectors
    teacher  also encode the corpus with it (through the cache) and hold the index against exact search:
             overlap, paired tests and the test of equivalence within half a point
    query_encoder
             asks instead of the artefact's own (a Searcher has its encoder), such as one of `distil_encoder`; exact
             search stays the teacher's
    run_to   where the TREC run goes
    raises   DataError when the data set is not the one that was indexed; ConfigError for a mode that this artefact
             cannot answer in, before any work
    """
    searcher = folder if isinstance(folder, Searcher) else Searcher.open(folder, encoder=query_encoder)
    dataset = data if isinstance(data, Dataset) else Dataset.open(data)
    if searcher.encoder is None and (mode != "lexical" or teacher is not None):
        raise ConfigError(
            "this index was made from vectors; only one with a query encoder can be evaluated on text."
        )
    refuse_other_corpus(searcher, dataset)
    queries, qrels = dataset.split(split)
    labels = qrels.rows(queries.ids, dataset.corpus.ids)
    for measure in measures:
        parse_measure(measure)
    vectors = cache(lambda: _vectors(searcher, queries.texts))  # not made where words alone are asked for
    with_words = None if mode == "dense" else searcher.search(queries.texts, DEPTH, mode=mode, effort=effort)
    exact = None
    if teacher is not None:
        assert searcher.encoder is not None
        is_own = space_of(searcher.encoder) == searcher.encoder.fingerprint  # else a student asks
        given = vectors() if is_own else None
        exact = _exact(dataset, teacher, searcher, queries.texts, given, labels, measures, progress=progress)
    against = None if exact is None else exact.hits
    if with_words is None:
        found = judge(
            searcher.index,
            vectors(),
            labels,
            exact=against,
            code_bytes=searcher.index.code_bytes,
            effort=effort,
            measures=measures,
        )
    else:
        scores = _scores(with_words, labels, measures, against)
        found = Judged(scores=scores, hits=with_words, cost=_cost_with_words(searcher, mode))
    if run_to is not None:
        Run.from_hits(queries.ids, dataset.corpus.ids, found.hits).save(run_to)
    title, note = f"{dataset.name}, {split}", f"{len(dataset.corpus):,} documents"
    if isinstance(query_encoder, (Path, str)):
        note += f"; queries by {query_encoder}"
    return _report(title, note, _name(searcher, mode), found, exact, measures)


def _report(
    title: str, note: str, name: str, found: Judged, exact: Judged | None, measures: Sequence[str]
) -> Report:
    rows, comparisons = [Row.of(name, found.scores, cost=found.cost)], []
    if exact is not None:
        rows.insert(0, Row.of("exact", exact.scores, cost=exact.cost, is_exact=True))
        comparisons = compare_systems(
            exact.scores, {name: found.scores}, baseline_name="exact", measures=measures
        )
    return Report(
        title=title,
        rows=tuple(rows),
        comparisons=tuple(comparisons),
        queries=len(found.scores),
        unlabelled=found.scores.unlabelled,
        notes=(note,),
    )


def _vectors(searcher: Searcher, texts: Sequence[str]) -> Floats:
    assert searcher.encoder is not None
    vectors: Floats = searcher.encoder.encode(texts, side="query").flat
    return vectors


def _name(searcher: Searcher, mode: Mode) -> str:
    recipe = str(searcher.manifest.content.get("recipe", {}).get("name", "index"))
    return {"dense": recipe, "lexical": "BM25", "hybrid": f"{recipe} + BM25"}[mode]


def _cost_with_words(searcher: Searcher, mode: Mode) -> Cost:
    """Bytes alone: times with words would stand beside those of search by ready vectors."""
    assert searcher.lexical is not None
    if mode == "lexical":
        return Cost(bytes_per_document=searcher.lexical.nbytes / len(searcher))
    both = searcher.index.nbytes + searcher.lexical.nbytes
    return Cost(searcher.index.code_bytes, both / len(searcher))


def _exact(
    dataset: Dataset,
    teacher: SentenceEncoder | Path | str,
    searcher: Searcher,
    texts: Sequence[str],
    vectors: Floats | None,
    labels: Labels,
    measures: Sequence[str],
    *,
    progress: bool,
) -> Judged:
    """Exact search, by these vectors of the queries, or where there are none by the teacher's."""
    from limbeck.encoders.collection import encode_texts
    from limbeck.index.flat import Flat
    from limbeck.jobs.material import opened_encoder

    encoder = opened_encoder(teacher)
    assert searcher.encoder is not None
    check_pair(space_of(searcher.encoder), encoder.fingerprint)
    if vectors is None:
        vectors = encode_texts(texts, encoder, "query", progress=progress)
    documents = encode_texts(dataset.corpus, encoder, "doc", progress=progress)
    index = Flat(documents, metric=searcher.manifest.content["metric"])
    return judge(index, vectors, labels, exact=None, code_bytes=4 * documents.shape[1], measures=measures)


def refuse_other_corpus(searcher: Searcher, dataset: Dataset) -> None:
    """Raises DataError where the data set does not hold the documents that are indexed, in their order.

    cost  one pass over the indexed documents where some were added or deleted since the index was made
    """
    indexed = indexed_fingerprint(searcher.manifest, searcher.documents)
    if indexed and indexed != dataset.corpus.fingerprint:
        raise DataError(
            f"{dataset.name} holds {len(dataset.corpus)} documents with fingerprint {dataset.corpus.fingerprint[:12]}, "
            f"but the index has {len(searcher)} with {indexed[:12]}: rows would not mean the same documents."
            "\n\nHint: evaluate with the data set that was distilled, or distil this one."
        )


def indexed_fingerprint(manifest: Manifest, documents: DocumentStore) -> str:
    """Of the documents that an index holds, as `Corpus.fingerprint`; empty where it was made from vectors."""
    made_from = str(manifest.content.get("data", {}).get("fingerprint") or "")
    if not made_from or not manifest.content.get("last_change"):
        return made_from
    return content_hash((document.id, document.content) for document in documents.all())
