"""A sample of the user's own corpus to try designs on: documents, queries to learn from, and others to judge by."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from limbeck.data.corpus import Corpus
from limbeck.data.dataset import Dataset
from limbeck.data.labels import Labels
from limbeck.data.queries import Queries
from limbeck.data.vector_data import VectorData
from limbeck.data.vectors import Vectors
from limbeck.errors import ConfigError, DataError
from limbeck.jobs.encode import open_vectors
from limbeck.jobs.material import (
    CorpusLike,
    QueriesLike,
    Similarity,
    metric_of,
    opened_corpus,
    opened_encoder,
    refuse_unless_unit,
)
from limbeck.types import Floats, Metric, Rows

if TYPE_CHECKING:
    from limbeck.encoders.sentence import SentenceEncoder

log = logging.getLogger(__name__)

MOST_DOCUMENTS = 20_000
MOST_JUDGED = 1000
JUDGED_SHARE = 0.2  # of the queries, where no split is held out
MOST_TRAINING = 20_000
CHOICE_SHARE = 0.05  # of the training queries, to choose the epoch by
FEWEST_DOCUMENTS = 300


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What designs are tried on."""

    data: VectorData  # documents of the sample; queries to learn from, with some to choose the epoch by
    judged: Floats  # [Q, d] held out: neither learnt from nor chosen by
    labels: Labels | None  # of the judged queries, in rows of the sample
    documents: int  # in the whole corpus
    notes: tuple[str, ...] = ()


def draw_sample(
    corpus: CorpusLike,
    queries: QueriesLike | None = None,
    *,
    teacher: Path | str | SentenceEncoder | None = None,
    similarity: Similarity | None = None,
    most: int = MOST_DOCUMENTS,
    seed: int = 0,
    progress: bool = True,
) -> Sample:
    """A sample of texts or vectors; only what is drawn is encoded (through the cache).

    most    documents; those that answer judged queries are always among them
    cost    one encoding of at most `most` documents and 21,000 queries
    raises  DataError for fewer than 300 documents
    """
    opened = opened_corpus(corpus)
    count = len(opened.corpus) if isinstance(opened, Dataset) else len(opened)
    if count < FEWEST_DOCUMENTS:
        raise DataError(
            f"a plan needs at least {FEWEST_DOCUMENTS} documents to try designs on; found {count}.\n\n"
            "Hint: so few are searched exactly in no time: `limbeck.index.Flat(vectors)`."
        )
    rng = np.random.default_rng(seed)
    if isinstance(opened, Vectors):
        if teacher is not None:
            raise ConfigError("the corpus is ready vectors, so no teacher encodes anything; leave it out.")
        return _of_vectors(opened, queries, similarity=similarity, most=most, rng=rng)
    if similarity is not None:
        raise ConfigError(
            "`similarity` is for ready vectors; an encoder says itself how its vectors compare."
        )
    return _of_texts(opened, queries, opened_encoder(teacher), most=most, rng=rng, progress=progress)


def _of_vectors(
    opened: Vectors,
    queries: QueriesLike | None,
    *,
    similarity: Similarity | None,
    most: int,
    rng: np.random.Generator,
) -> Sample:
    if similarity is None:
        raise ConfigError(
            "vectors do not say how they are to be compared.\n\n"
            "Hint: give similarity='cosine' for normalised vectors, 'dot' for inner products, or 'l2'."
        )
    if isinstance(queries, (str, Path)):
        queries = open_vectors(Path(queries))
    if queries is not None and not isinstance(queries, Vectors):
        raise ConfigError("the corpus is ready vectors, so the queries must be vectors too: a .npy file.")
    rows = _rows(len(opened), most, np.empty(0, np.int64), rng)
    documents = np.ascontiguousarray(opened.values[rows])
    notes: tuple[str, ...] = ()
    if queries is not None:
        judged_rows, training = _held_out(len(queries), rng)
        judged, asked = queries.values[judged_rows], queries.values[training]
    else:
        left = _without(len(opened), rows) if len(rows) < len(opened) else rows
        chosen = np.sort(rng.permutation(left)[:MOST_JUDGED])
        judged, asked = opened.values[chosen], np.empty((0, opened.dim), np.float32)
        notes = ("no queries were given: documents stand in for them, which flatters every design.",)
    if similarity == "cosine":
        for name, values in (("corpus", documents), ("queries", judged)):
            refuse_unless_unit(name, values)
    metric: Metric = "l2" if similarity == "l2" else "ip"
    data = VectorData(documents=documents, queries=np.ascontiguousarray(asked), metric=metric)
    return _sample(data, np.ascontiguousarray(judged), None, len(opened), notes, rng)


def _of_texts(
    opened: Corpus | Dataset,
    queries: QueriesLike | None,
    encoder: SentenceEncoder,
    *,
    most: int,
    rng: np.random.Generator,
    progress: bool,
) -> Sample:
    from limbeck.encoders.collection import encode_texts

    corpus = opened.corpus if isinstance(opened, Dataset) else opened
    judged, training, labels = _asked(opened, corpus, queries, rng)
    answers = np.empty(0, np.int64) if labels is None else labels.documents
    rows = _rows(len(corpus), most, answers, rng)
    texts = corpus if len(rows) == len(corpus) else corpus.texts_of(rows)
    documents = encode_texts(texts, encoder, "doc", progress=progress)
    metric = metric_of(encoder.fingerprint.similarity, normalise=encoder.fingerprint.normalise)
    data = VectorData(
        documents=documents,
        queries=encode_texts(training, encoder, "query", progress=progress),
        metric=metric,
    )
    vectors = encode_texts(judged, encoder, "query", progress=progress)
    placed = None if labels is None else _placed(labels, rows)
    return _sample(data, vectors, placed, len(corpus), (), rng)


def _asked(
    opened: Corpus | Dataset, corpus: Corpus, given: QueriesLike | None, rng: np.random.Generator
) -> tuple[list[str], list[str], Labels | None]:
    """Texts to judge by, texts to learn from, and the labels of the first where they are known."""
    if isinstance(given, Vectors):
        raise ConfigError("the corpus is text but the queries are vectors; give both as one kind.")
    if given is None and isinstance(opened, Dataset) and {"train", "dev"} <= set(opened.splits):
        held, qrels = opened.split("dev")
        labels = qrels.rows(held.ids, corpus.ids)
        chosen = np.sort(rng.permutation(len(held))[:MOST_JUDGED])
        training = opened.split("train")[0].texts
        return [held.texts[row] for row in chosen], _some(training, rng), labels.take(chosen)
    texts, known = _all_asked(opened, corpus, given)
    judged, rest = _held_out(len(texts), rng)
    kept = None if known is None else known.take(judged)
    return [texts[row] for row in judged], [texts[row] for row in rest], kept


def _all_asked(
    opened: Corpus | Dataset, corpus: Corpus, given: QueriesLike | None
) -> tuple[Sequence[str], Labels | None]:
    if isinstance(given, (str, Path)):
        given = Queries.open(given)
    if isinstance(given, Queries):
        return given.texts, None
    if given is not None and not isinstance(given, Vectors):
        return list(given), None
    if not isinstance(opened, Dataset) or not opened.splits:
        raise ConfigError(
            "a corpus of texts alone has no queries to judge by.\n\nHint: give --queries FILE, a few hundred will do."
        )
    held, qrels = opened.split("train" if "train" in opened.splits else opened.splits[0])
    return held.texts, qrels.rows(held.ids, corpus.ids)


def _sample(
    data: VectorData,
    judged: Floats,
    labels: Labels | None,
    documents: int,
    notes: tuple[str, ...],
    rng: np.random.Generator,
) -> Sample:
    """Some of the training queries are kept to choose the epoch by."""
    count = int(len(data.queries) * CHOICE_SHARE)
    if count >= 20:
        order = rng.permutation(len(data.queries))
        chosen, rest = np.sort(order[:count]), np.sort(order[count:])
        data = replace(data, queries=data.queries[rest], dev_queries=data.queries[chosen])
    log.info(
        "plan: %d of %d documents, %d queries to learn from, %d to judge by",
        *(len(data.documents), documents, len(data.queries), len(judged)),
    )
    return Sample(data=data, judged=judged, labels=labels, documents=documents, notes=notes)


def _rows(count: int, most: int, wanted: Rows, rng: np.random.Generator) -> Rows:
    """Rows of the sample, ascending: the wanted ones, and others drawn until there are `most`."""
    if count <= most:
        return np.arange(count)
    first = np.unique(wanted)[:most]
    others = rng.permutation(_without(count, first))[: most - len(first)]
    return np.sort(np.concatenate([first, others]))


def _without(count: int, rows: Rows) -> Rows:
    is_left = np.ones(count, dtype=np.bool_)
    is_left[rows] = False
    return np.flatnonzero(is_left)


def _held_out(count: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Rows to judge by and rows to learn from."""
    judged = min(MOST_JUDGED, max(1, int(count * JUDGED_SHARE)))
    if count < 20:
        raise DataError(
            f"a plan needs at least 20 queries to judge by; found {count}.\n\nHint: a few hundred will do."
        )
    order = rng.permutation(count)
    return np.sort(order[:judged]), np.sort(order[judged : judged + MOST_TRAINING])


def _some(texts: Sequence[str], rng: np.random.Generator) -> list[str]:
    if len(texts) <= MOST_TRAINING:
        return list(texts)
    return [texts[row] for row in np.sort(rng.permutation(len(texts))[:MOST_TRAINING])]


def _placed(labels: Labels, rows: Rows) -> Labels:
    """The labels by rows of the sample; documents outside it are left out."""
    places = np.searchsorted(rows, labels.documents)
    inside = (places < len(rows)) & (rows[np.minimum(places, len(rows) - 1)] == labels.documents)
    owners = np.repeat(np.arange(len(labels)), np.diff(labels.indptr))[inside]
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(owners, minlength=len(labels)))])
    return Labels(indptr, places[inside], labels.gains[inside])
