"""Codes of 4 or 8 bits as bytes, as faiss lays them out: of two 4-bit codes the first in the low half."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ShapeError


def pack(codewords: NDArray[np.uint8], *, bits: int) -> NDArray[np.uint8]:
    """Codeword numbers [N, M] to bytes [N, M * bits / 8]."""
    numbers = np.ascontiguousarray(codewords, dtype=np.uint8)
    if bits == 8:
        return numbers
    if numbers.shape[1] % 2:
        raise ShapeError(f"4-bit codes come in pairs, found {numbers.shape[1]} sub-vectors; must be even.")
    packed: NDArray[np.uint8] = np.bitwise_or(numbers[:, 0::2], np.left_shift(numbers[:, 1::2], np.uint8(4)))
    return packed


def unpack(codes: NDArray[np.uint8], *, bits: int) -> NDArray[np.uint8]:
    """Bytes [N, code_bytes] to codeword numbers [N, M], M = code_bytes * 8 / bits. The inverse of `pack`."""
    if bits == 8:
        return codes
    numbers = np.empty((codes.shape[0], codes.shape[1] * 2), dtype=np.uint8)
    numbers[:, 0::2] = codes & 15
    numbers[:, 1::2] = codes >> 4
    return numbers
