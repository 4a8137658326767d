"""How long Distill-VQ and Limbeck train from given vectors, at the size of their bar: 49,000 documents, 43,000 queries.

The vectors are those of python-api; to reach the size, rows are repeated with noise (for time alone: what comes out is
not looked at).    python benchmarks/training_speed.py
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
import setting as s

from limbeck.recipes.compress import OPQ
from limbeck.recipes.distill_vq import DistillVQ
from limbeck.recipes.limbeck import Limbeck
from limbeck.types import Floats

DOCUMENTS, QUERIES = 49_000, 43_000


def grown(vectors: Floats, count: int, *, seed: int) -> Floats:
    """`count` unit vectors: the given ones, then repeats that are moved a little."""
    generator = np.random.default_rng(seed)
    more = vectors[generator.integers(0, len(vectors), size=max(0, count - len(vectors)))]
    noise = generator.standard_normal(more.shape, dtype=np.float32) * (0.5 / np.sqrt(vectors.shape[1]))
    moved = more + noise
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    return np.concatenate([vectors, moved]).astype(np.float32)[:count]


def main() -> None:
    data = s.setting("python-api").collection.vector_data(train="train", dev=None)
    data = replace(
        data,
        documents=grown(np.asarray(data.documents), DOCUMENTS, seed=0),
        queries=grown(np.asarray(data.queries), QUERIES, seed=1),
        labels=None,
    )
    begun = time.perf_counter()
    opq = OPQ(code_bytes=16).run(data)
    print(f"OPQ, 16 bytes: {time.perf_counter() - begun:.1f} s")
    begun = time.perf_counter()
    DistillVQ(code_bytes=16).run(data, opq)
    print(f"Distill-VQ after it, the teacher's search included: {time.perf_counter() - begun:.1f} s")
    begun = time.perf_counter()
    start = Limbeck(code_bytes=16).started(data)
    coded = time.perf_counter()
    Limbeck(code_bytes=16).run(data, start)
    print(f"Limbeck's codewords and codes, 16 bytes: {coded - begun:.1f} s")
    print(f"their distillation, the teacher's search included: {time.perf_counter() - coded:.1f} s")


if __name__ == "__main__":
    main()
