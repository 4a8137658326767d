"""OPQ: the rotation under which product codes lose least (Ge et al., 2013), by alternating k-means and Procrustes."""

from __future__ import annotations

import numpy as np

from limbeck.quantisers.engine import encode_codes, train_codewords
from limbeck.quantisers.packing import unpack
from limbeck.types import Floats


def learn_rotation(vectors: Floats, sub_vectors: int, *, bits: int, seed: int) -> Floats:
    """Rotation [d, d], orthogonal, for row vectors: x @ rotation.T. First version; see `alternate`."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(vectors))[:16_384]
    sample = vectors[np.sort(rows)]
    rotation = principal_rotation(sample, sub_vectors)
    for _ in range(4):
        turned = sample @ rotation.T
        codewords = train_codewords(turned, sub_vectors, bits=bits, seed=seed)
        numbers = unpack(encode_codes(turned, codewords, bits=bits), bits=bits)
        decoded = np.concatenate([codewords[m, numbers[:, m]] for m in range(sub_vectors)], axis=1)
        left, _, right = np.linalg.svd(decoded.T.astype(np.float64) @ sample.astype(np.float64))
        rotation = np.ascontiguousarray(left @ right, dtype=np.float32)
    return rotation


def principal_rotation(vectors: Floats, sub_vectors: int) -> Floats:
    """Principal axes dealt out so that all sub-spaces hold about the same product of variances (eigen-allocation)."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    values, axes = np.linalg.eigh(centred.T @ centred / max(1, len(vectors)))
    order = np.argsort(-values)
    width = vectors.shape[1] // sub_vectors
    logs = np.log(np.maximum(values[order], 1e-12))
    buckets: list[list[int]] = [[] for _ in range(sub_vectors)]
    weight = np.zeros(sub_vectors)
    for position, axis in enumerate(order):
        open_buckets = [m for m in range(sub_vectors) if len(buckets[m]) < width]
        best = min(open_buckets, key=lambda m: weight[m])
        buckets[best].append(int(axis))
        weight[best] += logs[position] - logs[-1]
    return np.ascontiguousarray(axes[:, [axis for bucket in buckets for axis in bucket]].T, dtype=np.float32)
