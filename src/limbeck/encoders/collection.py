"""A data set together with the vectors of its documents and queries: what is distilled, and what it is judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from limbeck.data.dataset import Dataset
from limbeck.data.labels import Labels
from limbeck.data.queries import Queries
from limbeck.data.text_data import TextData
from limbeck.data.vector_data import VectorData
from limbeck.encoders.corpus_encoding import KnownEncoder, cache_folder, encode_corpus
from limbeck.encoders.texts import Texts, as_texts, text_fingerprint
from limbeck.types import Floats, Metric, Side


@dataclass(frozen=True, kw_only=True)
class Split:
    """The queries of one split as text and vectors, with their relevant documents by row."""

    queries: Queries
    vectors: Floats  # [Q, d]
    labels: Labels


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Vectors of one encoder for a corpus and for some splits of its queries."""

    dataset: Dataset
    documents: Floats  # [N, d] float32, memory-mapped
    splits: Mapping[str, Split]
    metric: Metric = "ip"

    def vector_data(self, *, train: str, dev: str | None, with_labels: bool = False) -> VectorData:
        """What a vector recipe reads: training queries, without their labels unless asked, and a dev split."""
        return VectorData(
            documents=self.documents,
            queries=self.splits[train].vectors,
            labels=self.splits[train].labels if with_labels else None,
            dev_queries=None if dev is None else self.splits[dev].vectors,
            metric=self.metric,
        )

    def text_data(self, *, train: str, dev: str | None, with_labels: bool = False) -> TextData:
        """What the recipe of a query encoder reads: the same queries, and the documents, as texts and as vectors."""
        asked = self.splits[train]
        held_out = None if dev is None else self.splits[dev]
        return TextData(
            queries=asked.queries.texts,
            vectors=np.array(asked.vectors),
            dev_queries=() if held_out is None else held_out.queries.texts,
            dev_vectors=None if held_out is None else np.array(held_out.vectors),
            corpus=self.dataset.corpus,
            documents=self.documents,
            labels=asked.labels if with_labels else None,
        )


def encode_dataset(
    dataset: Dataset, encoder: KnownEncoder, splits: Sequence[str], *, progress: bool = True
) -> Collection:
    """Encode the corpus and the queries of the splits, through the cache: what was encoded once is only opened.

    cost  one pass of the encoder over all texts, the first time; see `encode_corpus`
    """
    documents = encode_texts(dataset.corpus, encoder, "doc", progress=progress)
    encoded = {}
    for name in splits:
        queries, qrels = dataset.split(name)
        vectors = encode_texts(queries.texts, encoder, "query", progress=progress)
        labels = qrels.rows(queries.ids, dataset.corpus.ids)
        encoded[name] = Split(queries=queries, vectors=vectors, labels=labels)
    return Collection(dataset=dataset, documents=documents, splits=encoded)


def encode_texts(
    texts: Texts | Sequence[str], encoder: KnownEncoder, side: Side, *, progress: bool = True
) -> Floats:
    """[len(texts), d] float32, memory-mapped from the cache; what was encoded before is only opened."""
    if not len(texts):
        return np.empty((0, encoder.dim), np.float32)
    source = as_texts(texts)
    folder = cache_folder(encoder, text_fingerprint(source), side)
    return encode_corpus(source, encoder, folder, side=side, progress=progress).array()
