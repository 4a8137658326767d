"""A data set together with the vectors of its documents and queries: what is distilled, and what it is judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from limbeck.data.dataset import Dataset
from limbeck.data.labels import Labels
from limbeck.data.queries import Queries
from limbeck.data.vector_data import VectorData
from limbeck.encoders.corpus_encoding import KnownEncoder, cache_folder, encode_corpus
from limbeck.types import Floats, Metric

if TYPE_CHECKING:
    from limbeck.encoders.stored import StoredVectors


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
    stored: StoredVectors
    splits: Mapping[str, Split]
    metric: Metric = "ip"

    @cached_property
    def documents(self) -> Floats:
        """[N, d] float32, memory-mapped."""
        return self.stored.array()

    def vector_data(self, *, train: str, dev: str | None, with_labels: bool = False) -> VectorData:
        """What a vector recipe reads: training queries, without their labels unless asked, and a dev split."""
        return VectorData(
            documents=self.documents,
            queries=self.splits[train].vectors,
            labels=self.splits[train].labels if with_labels else None,
            dev_queries=None if dev is None else self.splits[dev].vectors,
            dev_labels=None if dev is None else self.splits[dev].labels,
            metric=self.metric,
        )


def encode_dataset(
    dataset: Dataset, encoder: KnownEncoder, splits: Sequence[str], *, progress: bool = True
) -> Collection:
    """Encode the corpus and the queries of the splits, through the cache: what was encoded once is only opened.

    cost  one pass of the encoder over all texts, the first time; see `encode_corpus`
    """
    stored = _through_cache(dataset.corpus, dataset.corpus.fingerprint, encoder, "doc", progress=progress)
    encoded = {}
    for name in splits:
        queries, qrels = dataset.split(name)
        vectors = _through_cache(queries.texts, queries.fingerprint, encoder, "query", progress=progress)
        labels = qrels.rows(queries.ids, dataset.corpus.ids)
        encoded[name] = Split(queries=queries, vectors=vectors.array(), labels=labels)
    return Collection(dataset=dataset, stored=stored, splits=encoded)


def _through_cache(
    texts: object, fingerprint: str, encoder: KnownEncoder, side: str, *, progress: bool
) -> StoredVectors:
    folder = cache_folder(encoder, fingerprint, side)  # type: ignore[arg-type]
    return encode_corpus(texts, encoder, folder, side=side, progress=progress)  # type: ignore[arg-type]
