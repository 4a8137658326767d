"""A small collection with a gap between queries and documents, as real ones have: enough for distillation to show."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.data.labels import Labels
from limbeck.data.vector_data import VectorData


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
