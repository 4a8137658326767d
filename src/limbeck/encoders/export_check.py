"""Is an exported encoder the same? Compared on texts: a graph can look right and give wrong vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from limbeck.encoders.fingerprint import Fingerprint
from limbeck.encoders.texts import longest_first
from limbeck.errors import ExportError
from limbeck.types import Floats, Reps, Side

TOLERANCE = 1e-5  # float32 sums in another order: about 1e-6 at 384 dimensions
LEAST_COSINE = 0.95  # of an int8 vector with its float32 original
_GROUP = 16


class Both(Protocol):
    """An encoder with a fingerprint."""

    @property
    def fingerprint(self) -> Fingerprint:
        """What it is."""
        ...

    def encode(self, texts: Sequence[str], *, side: Side, batch_size: int = 64) -> Reps:
        """[len(texts), 1, d]."""
        ...


def check_same(exported: Both, original: Both, texts: Sequence[str]) -> float:
    """The largest difference between two elements; ExportError with the worst text if above 1e-5.

    Every text is compared in a batch of texts of all lengths, so that most of it is padding, and alone. An
    empty text and one beyond the maximum length are added. Vectors with elements above 1 are compared
    relative to the largest.
    """
    probes = _with_extremes(texts, original.fingerprint.max_length)
    worst = 0.0
    for side in _sides(original.fingerprint):
        expected = original.encode(probes, side=side).flat
        scale = max(1.0, float(np.abs(expected).max()))
        for way, rows in _ways(probes):
            found = exported.encode([probes[row] for row in rows], side=side).flat
            differences = np.abs(found - expected[rows]).max(axis=1) / scale
            at = int(np.argmax(np.nan_to_num(differences, nan=np.inf)))
            if not differences[at] <= TOLERANCE:
                raise ExportError(
                    f"the exported encoder differs from torch by {differences[at]:.2e}, allowed is "
                    f"{TOLERANCE:.0e}: encoded {way} as {side}, worst text {probes[rows[at]][:120]!r}.\n\n"
                    "Nothing was written. Hint: stay with the torch encoder (`SentenceEncoder`)."
                )
            worst = max(worst, float(differences[at]))
    return worst


def check_close(blurred: Both, original: Both, texts: Sequence[str]) -> float:
    """The smallest cosine of an int8 vector with its original; ExportError if it is below 0.95."""
    worst = 1.0
    for side in _sides(original.fingerprint):
        a, b = (_unit(encoder.encode(texts, side=side).flat) for encoder in (blurred, original))
        cosines = np.einsum("bd,bd->b", a, b)
        at = int(np.argmin(np.nan_to_num(cosines, nan=-np.inf)))
        if not cosines[at] >= LEAST_COSINE:
            raise ExportError(
                f"with 8-bit weights a vector has a cosine of {cosines[at]:.3f} with torch's, allowed is "
                f"{LEAST_COSINE}: text {texts[at][:120]!r}.\n\nHint: export with quantise=False."
            )
        worst = min(worst, float(cosines[at]))
    return worst


def _sides(fingerprint: Fingerprint) -> tuple[Side, ...]:
    same = fingerprint.prompts.get("query", "") == fingerprint.prompts.get("doc", "")
    return ("query",) if same else ("query", "doc")


def _with_extremes(texts: Sequence[str], max_length: int | None) -> list[str]:
    beyond = " ".join(texts)[: 16 * (max_length or 512)]  # far above the limit at four letters a token
    return [*texts, "", beyond]


def _ways(texts: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """Groups of rows to encode together: of all lengths in one batch, and each row alone."""
    order = longest_first(texts).tolist()
    groups = -(-len(order) // _GROUP)
    for group in range(groups):
        yield "in a padded batch", order[group::groups]
    for row in order:
        yield "alone", [row]


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = vectors / np.maximum(lengths, np.float32(1e-12))
    return unit
