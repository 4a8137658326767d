"""Iterative quantisation: the rotation that brings centred vectors nearest to the corners of a cube.

Ours and not faiss's: there the loss rises and falls from one iteration to the next (1.15), while the alternation of
the paper can only lower it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from limbeck.types import Floats

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CubeRotation:
    """Bits of a vector: the signs of x @ matrix.T + offset."""

    matrix: Floats  # [bits, d]; rows orthonormal
    offset: Floats  # [bits]
    losses: tuple[float, ...]  # |sign(VR) - VR|² of the training vectors, before each step and after the last


def learn_cube_rotation(vectors: Floats, bits: int, *, iterations: int, seed: int) -> CubeRotation:
    """PCA to so many dimensions, then signs and rotation in turn, from a random rotation (Gong & Lazebnik, §3).

    vectors  [N, d], bits at most d
    cost     iterations · 4 · N · bits² multiply-adds, a bits³ decomposition in each
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = (vectors - mean).astype(np.float32)
    axes = np.linalg.eigh(centred.T.astype(np.float64) @ centred)[1][:, ::-1][:, :bits]
    kept = centred @ axes.astype(np.float32)  # V
    drawn = np.random.default_rng(seed).standard_normal((bits, bits))
    rotation = np.linalg.qr(drawn)[0]
    losses = []
    for _ in range(iterations):
        turned = kept @ rotation.astype(np.float32)
        corners = np.where(turned >= 0, np.float32(1), np.float32(-1))
        losses.append(_loss(corners, turned))
        left, _, right = np.linalg.svd((kept.T @ corners).astype(np.float64))
        rotation = left @ right  # the best for these signs (Procrustes)
    turned = kept @ rotation.astype(np.float32)
    losses.append(_loss(np.where(turned >= 0, np.float32(1), np.float32(-1)), turned))
    log.info("ITQ: squared distance to the corners %.4g to %.4g", losses[0], losses[-1])
    matrix = (axes @ rotation).T
    return CubeRotation(matrix.astype(np.float32), -(matrix @ mean).astype(np.float32), tuple(losses))


def _loss(corners: Floats, turned: Floats) -> float:
    return float(np.square(corners - turned).sum(dtype=np.float64))
