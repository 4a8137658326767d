"""Whatever form the user's data has, turned into what recipes and artefacts are made from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from limbeck.data.corpus import Corpus
from limbeck.data.dataset import Dataset
from limbeck.data.ids import Ids
from limbeck.data.labels import Labels
from limbeck.data.queries import Queries
from limbeck.data.vector_data import VectorData
from limbeck.data.vectors import Vectors
from limbeck.errors import ConfigError, DataError
from limbeck.jobs.encode import is_encoded, open_vectors
from limbeck.types import Floats, Metric

if TYPE_CHECKING:
    from limbeck.encoders.collection import Collection
    from limbeck.encoders.sentence import SentenceEncoder

log = logging.getLogger(__name__)

Similarity: TypeAlias = Literal["cosine", "dot", "l2"]
CorpusLike: TypeAlias = Path | str | Corpus | Dataset | Vectors
QueriesLike: TypeAlias = Path | str | Queries | Sequence[str] | Vectors
HELD_OUT = 0.05  # share of the queries kept back to choose the epoch, where there is no dev split
MOST_HELD_OUT = 1000
UNIT = 1e-3  # how far a length may lie from 1 and still count as normalised


@dataclass(frozen=True, kw_only=True)
class Material:
    """Everything that a recipe and an artefact are made from, whatever form the user's data had."""

    name: str
    vectors: VectorData
    corpus: Corpus | None  # None when only vectors were given
    ids: Ids
    encoder: SentenceEncoder | None
    sample_texts: Sequence[str] = ()  # real queries, to check the exported encoder with
    fingerprint: str = ""


def gather(
    corpus: CorpusLike,
    queries: QueriesLike | None,
    *,
    teacher: Path | str | SentenceEncoder | None,
    similarity: Similarity | None,
    progress: bool,
) -> Material:
    """Open, check and encode whatever was given."""
    opened = opened_corpus(corpus)
    if isinstance(opened, Vectors):
        return _from_vectors(opened, queries, teacher=teacher, similarity=similarity)
    if similarity is not None:
        raise ConfigError(
            "`similarity` is for ready vectors; an encoder says itself how its vectors compare."
        )
    encoder = opened_encoder(teacher)
    return _from_texts(opened, queries, encoder, progress=progress)


def material_of(collection: Collection, encoder: SentenceEncoder) -> Material:
    """A collection that is encoded already: its train split asks, its dev split chooses."""
    return Material(
        name=collection.dataset.name,
        vectors=collection.vector_data(train="train", dev="dev"),
        corpus=collection.dataset.corpus,
        ids=collection.dataset.corpus.ids,
        encoder=encoder,
        sample_texts=collection.splits["train"].queries.texts[:1000],
        fingerprint=collection.dataset.corpus.fingerprint,
    )


def opened_corpus(corpus: CorpusLike) -> Corpus | Dataset | Vectors:
    """A path by what lies there: BEIR folder, vectors, or a file of documents."""
    if not isinstance(corpus, (str, Path)):
        return corpus
    path = Path(corpus)
    if path.suffix == ".npy" or is_encoded(path):
        return open_vectors(path)
    return Dataset.open(path) if path.is_dir() else Corpus.open(path)


def opened_encoder(teacher: Path | str | SentenceEncoder | None) -> SentenceEncoder:
    """The teacher, checked: its similarity must be one that the index can hold."""
    from limbeck.encoders.sentence import SentenceEncoder

    if isinstance(teacher, SentenceEncoder):
        return teacher
    return SentenceEncoder.open(teacher) if teacher is not None else SentenceEncoder.open()


def metric_of(similarity: str, *, normalise: bool) -> Metric:
    """The metric under which an index ranks as the encoder means it. raises ConfigError where none does"""
    if similarity == "euclidean":
        return "l2"
    if similarity == "dot" or (similarity == "cosine" and normalise):
        return "ip"
    raise ConfigError(
        f"this encoder compares by {similarity!r} and does not normalise its vectors; an inner product would rank "
        "otherwise.\n\nHint: open it with `SentenceEncoder.open(..., normalise=True)`."
    )


def _from_texts(
    opened: Corpus | Dataset,
    queries: QueriesLike | None,
    encoder: SentenceEncoder,
    *,
    progress: bool,
) -> Material:
    from limbeck.encoders.collection import encode_texts

    if isinstance(queries, Vectors):
        raise ConfigError(
            "the corpus is text but the queries are vectors; give both as text or both as vectors."
        )
    corpus = opened.corpus if isinstance(opened, Dataset) else opened
    asked = asked_texts(opened, queries)
    if not len(asked):
        log.warning("no training queries were given: they will be made from the documents' own vectors")
    dev = opened.split("dev") if isinstance(opened, Dataset) and "dev" in opened.splits else None
    documents = encode_texts(corpus, encoder, "doc", progress=progress)
    vectors = encode_texts(asked.texts, encoder, "query", progress=progress)
    data = VectorData(
        documents=documents,
        queries=vectors,
        labels=_labels(opened, asked, corpus, given=queries is not None),
        metric=metric_of(encoder.fingerprint.similarity, normalise=encoder.fingerprint.normalise),
    )
    if dev is not None:
        dev_vectors = encode_texts(dev[0].texts, encoder, "query", progress=progress)
        data = replace(data, dev_queries=dev_vectors)
    else:
        data = _hold_out(data)
    return Material(
        name=opened.name if isinstance(opened, Dataset) else "corpus",
        vectors=data,
        corpus=corpus,
        ids=corpus.ids,
        encoder=encoder,
        sample_texts=asked.texts[:1000] or corpus.texts(0, 1000),
        fingerprint=corpus.fingerprint,
    )


def asked_texts(
    opened: Corpus | Dataset | None, queries: Path | str | Queries | Sequence[str] | None
) -> Queries:
    """The training queries that were given in whatever form, else those of the data set; none at all makes none."""
    if isinstance(queries, Queries):
        return queries
    if isinstance(queries, (str, Path)):
        return Queries.open(queries)
    if queries is not None:
        return Queries.from_pairs((f"q{row}", text) for row, text in enumerate(queries))
    if isinstance(opened, Dataset) and "train" in opened.splits:
        return opened.split("train")[0]
    return Queries.from_pairs(())


def _labels(opened: Corpus | Dataset, asked: Queries, corpus: Corpus, *, given: bool) -> Labels | None:
    """The labels of a data set's own train split: read only by recipes that are told to use them."""
    if given or not isinstance(opened, Dataset) or "train" not in opened.splits:
        return None
    return opened.qrels["train"].rows(asked.ids, corpus.ids)


def _from_vectors(
    documents: Vectors,
    queries: QueriesLike | None,
    *,
    teacher: Path | str | SentenceEncoder | None,
    similarity: Similarity | None,
) -> Material:
    if teacher is not None:
        raise ConfigError("the corpus is ready vectors, so no teacher encodes anything; leave `teacher` out.")
    if similarity is None:
        raise ConfigError(
            "vectors do not say how they are to be compared.\n\n"
            "Hint: give similarity='cosine' for normalised vectors, 'dot' for inner products, or 'l2'."
        )
    if isinstance(queries, (str, Path)):
        queries = open_vectors(Path(queries))
    if queries is not None and not isinstance(queries, Vectors):
        raise ConfigError("the corpus is ready vectors, so the queries must be vectors too: a .npy file.")
    asked = queries.values if queries is not None else np.empty((0, documents.dim), np.float32)
    if similarity == "cosine":
        for name, values in (("corpus", documents.values), ("queries", asked)):
            refuse_unless_unit(name, values)
    data = VectorData(documents=documents.values, queries=asked, metric="l2" if similarity == "l2" else "ip")
    return Material(name="vectors", vectors=_hold_out(data), corpus=None, ids=documents.ids, encoder=None)


def refuse_unless_unit(name: str, values: Floats) -> None:
    """Raises DataError when vectors that are to be compared by cosine are not of length 1"""
    for start in range(0, len(values), 65_536):
        lengths = np.linalg.norm(values[start : start + 65_536], axis=1)
        wrong = np.flatnonzero(np.abs(lengths - 1) > UNIT)
        if len(wrong):
            row = start + int(wrong[0])
            raise DataError(
                f"{name}: row {row} has length {lengths[wrong[0]]:.4g}, but cosine similarity needs length 1.\n\n"
                "Hint: divide each vector by its length, or give similarity='dot' if inner products are meant."
            )


def _hold_out(data: VectorData, seed: int = 0) -> VectorData:
    """Keep some training queries back, so that the epoch is chosen on queries that training did not see."""
    count = min(MOST_HELD_OUT, int(len(data.queries) * HELD_OUT))
    if count < 20:
        return data
    order = np.random.default_rng(seed).permutation(len(data.queries))
    kept, held = np.sort(order[count:]), np.sort(order[:count])
    labels = None if data.labels is None else data.labels.take(kept)
    return replace(data, queries=data.queries[kept], labels=labels, dev_queries=data.queries[held])
