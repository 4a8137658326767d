"""Assignment with balance: each codeword of a part gets about the same number of documents (RepCONC).

Letters: M code parts, N documents, K codewords a part.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError, ShapeError
from limbeck.types import Floats, Rows

Doubles = NDArray[np.float64]
PUBLISHED_EPSILON = 0.003  # RepCONC: run_train_conc.py, sk_epsilon
PUBLISHED_ITERATIONS = 100  # sk_iters
ROUNDS_APART = 8  # scalings that are kept beside the plan before it takes them in: few enough for float64
TINY = 1e-300


def balanced_numbers(
    distances: NDArray[np.floating],
    *,
    epsilon: float = PUBLISHED_EPSILON,
    iterations: int = PUBLISHED_ITERATIONS,
) -> Rows:
    """The codeword of each document [M, N] under which all codewords of a part get about N/K documents.

    distances  [M, N, K] squared distances
    cost       2·iterations·M·N·K multiply-adds in float64
    source     Zhan et al., WSDM 2022; jingtaozhan/RepCONC modeling_repconc.py
    """
    plan = balanced_plan(centred(distances), epsilon=epsilon, iterations=iterations)
    numbers: Rows = plan.argmax(axis=2).astype(np.int64)
    return numbers


def balanced_plan(distances: NDArray[np.floating], *, epsilon: float, iterations: int) -> Doubles:
    """Sinkhorn's plan [M, N, K] for distances in [-1, 1]: a document's shares sum to 1, a codeword's to about N/K.

    Without iterations it is exp(-distance / epsilon), whose maximum is the nearest codeword. Its columns are exact, its
    rows converge. Large epsilon tends to the uniform plan, not to the nearest codeword.

    raises  ConfigError where epsilon would overflow float64; ShapeError for other shapes
    """
    if distances.ndim != 3:
        raise ShapeError(f"`distances` has shape {distances.shape}; must be [M, N, K].")
    # float64: exp(1 / 0.003) is 1e144, which float32 cannot hold
    reach = float(np.abs(distances).max(initial=0.0)) / epsilon if epsilon > 0 else np.inf
    if reach > 600 or iterations < 0:
        raise ConfigError(
            f"`epsilon`={epsilon} and `iterations`={iterations} cannot be used: epsilon must be at least "
            "1/600 of the largest distance, and iterations 0 or more. Published: 0.003 and 100."
        )
    plan = np.exp(-distances.astype(np.float64) / epsilon)
    for part in plan:  # one after the other: a part fits a processor's cache, all of them do not
        for start in range(0, iterations, ROUNDS_APART):
            _scale(part, min(ROUNDS_APART, iterations - start))
    return plan


def centred(distances: NDArray[np.floating]) -> Doubles:
    """Distances [M, N, K] moved and scaled to [-1, 1] part by part, as the published epsilon expects."""
    exact = distances.astype(np.float64)
    highest = exact.max(axis=(1, 2), keepdims=True)
    lowest = exact.min(axis=(1, 2), keepdims=True)
    middle = (highest + lowest) / 2
    scaled: Doubles = (exact - middle) / np.maximum(highest - middle, TINY)
    return scaled


def squared_distances(vectors: Floats, codewords: Floats) -> Floats:
    """Of each sub-vector to each codeword of its part: vectors [N, d], codewords [M, K, d / M] to [M, N, K]."""
    parts = vectors.reshape(len(vectors), len(codewords), -1).transpose(1, 0, 2)
    products = parts @ codewords.transpose(0, 2, 1)
    squares = np.square(parts).sum(axis=2)[:, :, None] + np.square(codewords).sum(axis=2)[:, None, :]
    distances: Floats = np.maximum(squares - 2 * products, 0)
    return distances


def _scale(plan: Doubles, rounds: int) -> None:
    """Rounds of Sinkhorn on one part [N, K], in place: each codeword to 1/K of all mass, then each document to 1.

    Row and column factors are kept apart for the rounds, which takes two products of a matrix and a vector each.
    """
    documents, codewords = plan.shape
    column = np.ones(documents)
    for _ in range(rounds):
        row = (documents / codewords) / np.maximum(column @ plan, TINY)
        column = 1 / np.maximum(plan @ row, TINY)
    plan *= column[:, None]
    plan *= row
