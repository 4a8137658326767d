"""A small collection with a gap between queries and documents, as real ones have, and real texts with MiniLM."""

from __future__ import annotations

import gzip
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from limbeck.data.corpus import Corpus
from limbeck.data.labels import Labels
from limbeck.data.text_data import TextData
from limbeck.data.vector_data import VectorData
from limbeck.encoders import SentenceEncoder

TLDR = Path(__file__).parents[3] / "shared" / "data" / "tldr"
DOCUMENTS, QUERIES = 300, 1300


def made_data(*, documents: int = 1500, queries: int = 600, dim: int = 32, seed: int = 0) -> VectorData:
    generator = np.random.default_rng(seed)
    spread = 1 / np.sqrt(1 + np.arange(dim))  # uneven variance, as encoders make it
    centres = generator.normal(size=(60, dim)) * spread
    docs = (
        centres[generator.integers(60, size=documents)]
        + 0.6 * generator.normal(size=(documents, dim)) * spread
    )
    shift = 0.3 * generator.normal(size=dim) * spread

    def asked(count: int) -> tuple[np.ndarray, Labels]:
        rows = generator.integers(documents, size=count)
        vectors = docs[rows] + shift + 0.3 * generator.normal(size=(count, dim)) * spread
        return unit(vectors), Labels(np.arange(count + 1), rows, np.ones(count, dtype=np.float32))

    train, labels = asked(queries)
    dev, _ = asked(200)
    return VectorData(documents=unit(docs), queries=train, labels=labels, dev_queries=dev)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def data() -> VectorData:
    return made_data()


@pytest.fixture(scope="session")
def data_of_many_queries() -> VectorData:
    return made_data(queries=3000)


@pytest.fixture(scope="session")
def teacher() -> SentenceEncoder:
    from limbeck.errors import MissingExtra

    pytest.importorskip("sentence_transformers")
    try:
        return SentenceEncoder.open(precision="float32", max_length=64)
    except MissingExtra as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def real_texts(teacher, tmp_path_factory) -> TextData:
    """Commands and English questions of tldr, with the teacher's vectors."""
    if not TLDR.is_dir():
        pytest.skip(f"{TLDR} is not there")
    with gzip.open(TLDR / "corpus.jsonl.gz", "rt") as lines:
        records = list(islice(lines, DOCUMENTS))
    with gzip.open(TLDR / "queries.jsonl.gz", "rt") as lines:
        english = (text for text in (json.loads(line)["text"] for line in lines) if text.isascii())
        queries = list(islice(english, QUERIES))
    path = tmp_path_factory.mktemp("texts") / "corpus.jsonl"
    path.write_text("".join(records))
    corpus = Corpus.open(path)
    return TextData(
        queries=queries,
        vectors=teacher.encode_query(queries),
        corpus=corpus,
        documents=teacher.encode_document(list(corpus.texts_of(range(len(corpus))))),
    )
