"""What every quantiser and every index must do, as checks that raise AssertionError with the broken claim."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np

from limbeck.contracts import Index, Quantiser
from limbeck.errors import LimbeckError
from limbeck.types import Codes, Floats, Hits, Reps

Scores: TypeAlias = Callable[
    [Floats], Floats
]  # queries [B, d] to the exact scores [B, N] of the index's own vectors


def clustered(rows: int, dim: int, *, seed: int, clusters: int = 24) -> Floats:
    """[rows, dim] float32 around random centres, with variances that fall from one dimension to the next."""
    rng = np.random.default_rng(seed)
    spread = np.geomspace(1.0, 0.2, dim)
    centres = rng.normal(size=(clusters, dim)) * spread
    vectors = centres[rng.integers(clusters, size=rows)] + 0.4 * rng.normal(size=(rows, dim)) * spread
    return np.asarray(vectors, dtype=np.float32)


def check_quantiser(quantiser: Quantiser, *, dim: int = 16, rows: int = 700, seed: int = 0) -> None:
    """Learning, coding and scoring of an untrained quantiser on vectors [rows, dim]. About a second."""
    vectors = clustered(rows, dim, seed=seed)
    trained = quantiser.fit(vectors, seed=seed)
    codes = trained.encode(vectors)
    _check_learning(quantiser, trained, vectors, seed=seed)
    _check_codes(trained, codes, vectors)
    _check_scores(trained, codes, clustered(9, dim, seed=seed + 1))
    _check_parts(trained, codes, vectors)
    _check_refusals(trained, vectors)


def check_index(
    index: Index, scores: Scores, *, reopen: Callable[[Path], Index] | None = None, folder: Path | None = None
) -> None:
    """Search with effort 1 against `scores`, filters, edges of k, bad queries, save and open. N at least 30."""
    queries = clustered(7, index.dim, seed=3)
    truth = scores(queries)
    size = len(index)
    for k in (1, 10, size, size + 5):
        _check_ranking(index.search(Reps.single(queries), k, effort=1.0), truth, k)
    allowed = np.arange(size) % 3 == 1
    only = index.search(Reps.single(queries), 10, effort=1.0, allowed=allowed)
    _check_ranking(only, np.where(allowed, truth, -np.inf), 10)
    none = index.search(Reps.single(queries), 3, effort=1.0, allowed=np.zeros(size, dtype=np.bool_))
    _claim(bool((none.ids == -1).all()), "with nothing allowed, nothing is found")
    _check_batches(index, queries)
    _check_bad_queries(index, queries)
    if reopen is not None and folder is not None:
        index.save(folder)
        _check_same_hits(index, reopen(folder), queries)


def _check_learning(quantiser: Quantiser, trained: Quantiser, vectors: Floats, *, seed: int) -> None:
    again = quantiser.fit(vectors, seed=seed)
    for name, part in trained.parts().items():
        _claim(np.array_equal(part, again.parts()[name]), f"the same seed learns the same `{name}`")
    _claim(trained.dim == vectors.shape[1], "`dim` is the width of the vectors")
    _claim(not quantiser.parts(), "`fit` gives a copy and leaves the untrained one untrained")


def _check_codes(trained: Quantiser, codes: Codes, vectors: Floats) -> None:
    _claim(codes.codes.shape == (len(vectors), trained.code_bytes), "codes are [N, code_bytes]")
    _claim(codes.codes.dtype == np.uint8, "codes are bytes")
    parts = [trained.encode(vectors[:1]), trained.encode(vectors[1:50])]
    joined = np.concatenate([part.codes for part in parts])
    _claim(np.array_equal(joined, codes.codes[:50]), "codes do not depend on the batch")
    _claim(len(trained.encode(vectors[:0])) == 0, "no vectors give no codes")
    error = float(np.square(vectors - trained.decode(codes)).sum())
    total = float(np.square(vectors - vectors.mean(axis=0)).sum())
    _claim(error < total, "decoding is nearer than the mean of all vectors")


def _check_scores(trained: Quantiser, codes: Codes, queries: Floats) -> None:
    decoded = trained.decode(codes).astype(np.float64)
    if trained.metric == "ip":
        expected = queries.astype(np.float64) @ decoded.T
    else:
        expected = -np.square(queries[:, None] - decoded[None]).sum(axis=2)
    worst = float(np.abs(trained.score(queries, codes) - expected).max())
    _claim(
        worst < 1e-4 * max(1.0, float(np.abs(expected).max())),
        f"score is that of the decoded vector ({worst:.1e} off)",
    )


def _check_parts(trained: Quantiser, codes: Codes, vectors: Floats) -> None:
    copy = trained.with_parts(trained.parts())
    for name, part in trained.parts().items():
        _claim(np.array_equal(copy.parts()[name], part), f"`with_parts` is the inverse of `parts`: {name}")
    _claim(np.array_equal(copy.encode(vectors).codes, codes.codes), "parts carry all that encoding needs")
    if "score.codewords" in trained.parts():
        moved = trained.with_parts({"score.codewords": trained.parts()["score.codewords"] + 0.5})
        _claim(
            np.array_equal(moved.encode(vectors).codes, codes.codes),
            "codewords that score do not change codes",
        )
        _claim(
            not np.allclose(moved.decode(codes), trained.decode(codes)),
            "codewords that score change decoding",
        )


def _check_refusals(trained: Quantiser, vectors: Floats) -> None:
    broken = vectors[:5].copy()
    broken[3, 0] = np.nan
    _refused(lambda: trained.encode(broken), "vectors with NaN")
    _refused(lambda: trained.encode(vectors[:, :-1]), "vectors of another width")
    _refused(lambda: trained.fit(broken, seed=0), "training on NaN")


def _check_ranking(hits: Hits, truth: Floats, k: int) -> None:
    """Hits are the k best of `truth` [B, N] (-inf = not allowed), padded, falling, equal scores by row."""
    found = int(np.isfinite(truth[0]).sum())
    width = min(k, found)
    _claim(hits.ids.shape == (len(truth), k) and hits.scores.shape == hits.ids.shape, "hits are [B, k]")
    _claim(bool((hits.ids[:, width:] == -1).all()), "past the end the id is -1")
    _claim(bool(np.isneginf(hits.scores[:, width:]).all()), "past the end the score is -inf")
    ids, scores = hits.ids[:, :width], hits.scores[:, :width]
    _claim(bool((ids >= 0).all()), "as many rows are found as there are")
    _claim(all(len(set(line)) == width for line in ids.tolist()), "no row is found twice")
    tolerance = 1e-4 * max(1.0, float(np.abs(truth[np.isfinite(truth)]).max(initial=0.0)))
    own = np.take_along_axis(truth, ids, axis=1)
    _claim(np.allclose(own, scores, rtol=0, atol=tolerance), "scores are those of the definition")
    best = -np.sort(-truth, axis=1)[:, :width]
    _claim(np.allclose(best, scores, rtol=0, atol=tolerance), "no better row is left out")
    left, right = scores[:, :-1], scores[:, 1:]
    _claim(bool((left >= right).all()), "scores fall")
    _claim(bool(((left > right) | (ids[:, :-1] < ids[:, 1:])).all()), "equal scores come by ascending row")


def _check_batches(index: Index, queries: Floats) -> None:
    together = index.search(Reps.single(queries), 10)
    for number in range(len(queries)):
        alone = index.search(Reps.single(queries[number : number + 1]), 10)
        near = np.allclose(alone.scores[0], together.scores[number], rtol=1e-5, atol=1e-5)
        _claim(near, "a query's scores do not depend on its batch")
    nothing = index.search(Reps.single(queries[:0]), 4)
    _claim(nothing.ids.shape == (0, 4), "no queries give no hits")
    many = index.search(Reps.single(queries), int(np.int64(3)))
    _claim(np.array_equal(many.ids, together.ids[:, :3]), "a smaller k is the beginning of a larger")


def _check_bad_queries(index: Index, queries: Floats) -> None:
    broken = queries.copy()
    broken[1, 0] = np.inf
    _refused(lambda: index.search(Reps.single(broken), 3), "a query with Inf")
    _refused(lambda: index.search(Reps.single(queries[:, :-1]), 3), "a query of another width")
    _refused(lambda: index.search(Reps.single(queries), 0), "k = 0")
    _refused(lambda: index.search(Reps.single(queries), 10**9), "k = 1,000,000,000")
    _refused(lambda: index.search(Reps.single(queries), 3, effort=0.0), "effort = 0")
    _refused(
        lambda: index.search(Reps.single(queries), 3, allowed=np.ones(3, dtype=np.bool_)), "a short mask"
    )


def _check_same_hits(index: Index, opened: Index, queries: Floats) -> None:
    _claim(len(opened) == len(index) and opened.dim == index.dim, "an opened index has its size")
    for effort in (None, 1.0):
        before = index.search(Reps.single(queries), 10, effort=effort)
        after = opened.search(Reps.single(queries), 10, effort=effort)
        same = np.array_equal(before.ids, after.ids) and np.array_equal(before.scores, after.scores)
        _claim(same, "save, open and search are bit-equal to search")


def _refused(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except LimbeckError:
        return
    raise AssertionError(f"{what} must be refused with a LimbeckError")


def _claim(holds: bool, claim: str) -> None:  # noqa: FBT001
    if not holds:
        raise AssertionError(f"broken claim: {claim}")
