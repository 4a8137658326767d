"""Near-copies of code: equal but for names, found by a hash of the tokens, or nearly, found by MinHash."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections import defaultdict
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SKETCH = 64  # hashes in a sketch: the standard error of an estimated overlap of 0.8 is 0.05
_ROWS = 4  # hashes in a band: pairs of overlap 0.8 share one of the 16 bands with probability 0.9998
_SHINGLE = 5  # tokens
_MIN_TOKENS = 40  # shorter code is alike by chance: there only equal tokens count

_TOKEN = re.compile(r"[A-Za-z_]\w*|\d+|[^\s\w]")
_COMMENT = re.compile(r"#[^\n\"']*(?=\n|$)")
_FACTORS = np.random.default_rng(20220711).integers(1, 2**63, (2, SKETCH, 1), dtype=np.uint64) | np.uint64(1)


def normalised_tokens(code: str, *, own_name: str) -> list[str]:
    """The tokens of code as compared for copies: no comments, the function's own name and capitalised names
    made one.

    So `class LlamaMLP(nn.Module)` and `class MistralMLP(nn.Module)` are equal when their bodies are.
    """
    tokens = _TOKEN.findall(_COMMENT.sub("", code))
    return ["N" if token == own_name or token[0].isupper() else token for token in tokens]


def sketch(tokens: list[str]) -> tuple[str, str]:
    """(hash of all tokens, MinHash of their runs of five) in hex; the second is empty for short code.

    About 40 microseconds for 200 tokens.
    """
    whole = hashlib.sha256("\0".join(tokens).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    if len(tokens) < _MIN_TOKENS:
        return whole, ""
    codes = np.fromiter(map(_token_code, tokens), np.uint64, len(tokens))
    shingles = np.zeros(len(codes) - _SHINGLE + 1, np.uint64)
    with np.errstate(over="ignore"):
        for place in range(_SHINGLE):
            shingles = (
                shingles * np.uint64(0x9E3779B97F4A7C15) + codes[place : len(codes) - _SHINGLE + 1 + place]
            )
            shingles ^= shingles >> np.uint64(29)
        hashed = (np.unique(shingles)[None, :] * _FACTORS[0] + _FACTORS[1]) >> np.uint64(32)
    return whole, hashed.min(axis=1).astype("<u4").tobytes().hex()


class NearCopies:
    """Sketches seen so far, so that of a family of copies only the first stays."""

    def __init__(self, *, overlap: float = 0.8) -> None:
        """Overlap is the share of five-token runs in common (Jaccard) from which on two pieces are copies."""
        self._overlap = overlap
        self._wholes: set[str] = set()
        self._bands: dict[tuple[int, bytes], list[int]] = defaultdict(list)
        self._sketches: list[NDArray[np.uint32]] = []

    def is_copy(self, whole: str, marks: str) -> bool:
        """True when code with these hashes, or nearly, was seen; otherwise it is remembered."""
        if whole in self._wholes:
            return True
        if marks:
            hashes = np.frombuffer(bytes.fromhex(marks), "<u4")
            bands = [(start, hashes[start : start + _ROWS].tobytes()) for start in range(0, SKETCH, _ROWS)]
            candidates = {place for band in bands for place in self._bands.get(band, ())}
            if any(float((self._sketches[place] == hashes).mean()) >= self._overlap for place in candidates):
                return True
            for band in bands:
                self._bands[band].append(len(self._sketches))
            self._sketches.append(hashes)
        self._wholes.add(whole)
        return False


@lru_cache(maxsize=1 << 18)
def _token_code(token: str) -> int:
    return zlib.crc32(token.encode("utf-8", "surrogatepass"))
