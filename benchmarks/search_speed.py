"""Queries a second of our indexes against bare faiss over the same codes, in one run: only the ratios travel.

python benchmarks/search_speed.py [documents]        about a minute on 2 cores
"""

from __future__ import annotations

import sys

import numpy as np

from limbeck.evaluate import measure_search
from limbeck.index.compressed import CodeIndex
from limbeck.index.flat import Flat
from limbeck.quantisers.faiss_io import to_faiss
from limbeck.quantisers.product import ProductQuantiser
from limbeck.types import Hits, Reps

DIM, QUERIES, K = 384, 2000, 10


class BareFaiss:
    """A faiss index called as its users call it: no checks, no tie rule."""

    def __init__(self, index: object, *, probes: int | None) -> None:
        import faiss

        self.index = index
        self.params = None
        if probes is not None:
            inner = faiss.SearchParametersIVF(nprobe=probes)
            self.params = faiss.SearchParametersPreTransform(index_params=inner)

    def __len__(self) -> int:
        return int(self.index.ntotal)  # type: ignore[attr-defined]

    def search(self, query: Reps, k: int, *, effort: float | None = None, allowed: object = None) -> Hits:
        scores, ids = self.index.search(query.flat, k, params=self.params)  # type: ignore[attr-defined]
        return Hits(ids, scores)


def clustered(count: int, seed: int) -> np.ndarray:
    """Unit vectors around common centres, with the uneven variance of encoders."""
    centres = np.random.default_rng(0).normal(size=(500, DIM)) / np.sqrt(1 + np.arange(DIM) / 20)
    generator = np.random.default_rng(seed)
    vectors = centres[generator.integers(500, size=count)] + 0.7 * generator.normal(size=(count, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    documents, queries = clustered(count, 1), clustered(QUERIES, 2)
    print(f"{count:,} documents, {DIM} dimensions, top {K}; ratio = ours / bare faiss")
    print("| index | threads | ours, q/s | bare faiss, q/s | ratio | ours p50, ms | faiss p50, ms |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    rows = {"exact": (Flat(documents), None)}
    for name, settings in {
        "OPQ 16": {"code_bytes": 16},
        "OPQ 32": {"code_bytes": 32},
        "IVF200-OPQ 32, 20 probes": {"code_bytes": 32, "lists": 200},
    }.items():
        quantiser = ProductQuantiser(rotate=True, **settings).fit(documents, seed=0)
        codes = quantiser.encode(documents)
        bare = BareFaiss(to_faiss(quantiser, codes), probes=20 if "lists" in settings else None)
        rows[name] = (CodeIndex(quantiser, codes), bare)
    rows["exact"] = (rows["exact"][0], _bare_flat(documents))
    for name, (ours, bare) in rows.items():
        for own, peer in zip(
            measure_search(ours, queries, k=K), measure_search(bare, queries, k=K), strict=True
        ):
            ratio = own.queries_per_second / peer.queries_per_second
            print(
                f"| {name} | {own.threads} | {own.queries_per_second:,.0f} | {peer.queries_per_second:,.0f} "
                f"| {ratio:.2f} | {own.p50_ms:.2f} | {peer.p50_ms:.2f} |"
            )


def _bare_flat(documents: np.ndarray) -> BareFaiss:
    import faiss

    index = faiss.IndexFlatIP(DIM)
    index.add(documents)
    return BareFaiss(index, probes=None)


if __name__ == "__main__":
    main()
