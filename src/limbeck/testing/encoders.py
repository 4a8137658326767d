"""An encoder without a model, and what every encoder must do."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from limbeck.encoders.fingerprint import Fingerprint
from limbeck.encoders.texts import check_texts
from limbeck.types import Floats, Reps, Side

TOLERANCES: Mapping[str, float] = {
    "float32": 1e-5,  # sums in another order
    "bfloat16": 0.02,  # 8 bits of mantissa in each of the layers; measured below 0.01 on MiniLM
    "int8": 0.05,  # activations are scaled by the largest of the batch
}


class HashEncoder:
    """A unit vector for a text: the normalised sum of one pseudo-random vector for each of its words.

    Texts that share words are near each other, as with a real encoder. The same text gives the same vector on
    every machine and in every process. Without torch; some 20,000 short texts a second.
    """

    def __init__(self, dim: int = 64, *, seed: int = 0, prompts: Mapping[str, str] | None = None) -> None:
        self.fingerprint = Fingerprint(
            weights=hashlib.sha256(f"hash encoder {dim} {seed}".encode()).hexdigest(),
            dim=dim,
            pooling="sum of words",
            prompts=prompts or {},
            normalise=True,
        )
        self._words: dict[str, Floats] = {}
        self._seed = seed

    @property
    def dim(self) -> int:
        """The width of a vector."""
        return self.fingerprint.dim

    def encode(self, texts: Sequence[str], *, side: Side, batch_size: int = 64) -> Reps:
        """[len(texts), 1, dim] float32."""
        del batch_size  # each text is summed alone
        check_texts(texts)
        prompt = self.fingerprint.prompts.get(side, "")
        vectors = np.empty((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self._sum(prompt + text)
        return Reps.single(vectors)

    def encode_query(self, texts: Sequence[str]) -> Floats:
        """[len(texts), dim] float32."""
        vectors: Floats = self.encode(texts, side="query").flat
        return vectors

    def encode_document(self, texts: Sequence[str]) -> Floats:
        """[len(texts), dim] float32."""
        vectors: Floats = self.encode(texts, side="doc").flat
        return vectors

    def _sum(self, text: str) -> Floats:
        # "" in front, so that an empty text has a direction too
        total = np.sum([self._word(word) for word in ["", *text.lower().split()]], axis=0, dtype=np.float64)
        unit: Floats = np.asarray(total / np.linalg.norm(total), np.float32)
        return unit

    def _word(self, word: str) -> Floats:
        if word not in self._words:
            digest = hashlib.sha256(f"{self._seed} {word}".encode()).digest()
            generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
            self._words[word] = generator.standard_normal(self.dim, dtype=np.float32)
        return self._words[word]


class CheckedEncoder(Protocol):
    """What `check_encoder` asks of an encoder."""

    @property
    def dim(self) -> int:
        """The width of a vector."""
        ...

    @property
    def fingerprint(self) -> Fingerprint:
        """What it is."""
        ...

    def encode(self, texts: Sequence[str], *, side: Side, batch_size: int = 64) -> Reps:
        """[len(texts), 1, dim]."""
        ...


def check_encoder(encoder: CheckedEncoder, texts: Sequence[str], *, tolerance: float | None = None) -> None:
    """AssertionError with the reason, unless the encoder keeps the contract on these ten or more texts.

    tolerance  of an element, relative to the largest when that is above 1; None = by the fingerprint's
               precision
    """
    if tolerance is None:
        tolerance = TOLERANCES[encoder.fingerprint.precision]
    if len(texts) < 10 or len({len(text) for text in texts}) < 3:
        raise ValueError("check_encoder needs ten texts or more, of three lengths or more")
    vectors = _check_form(encoder, texts)
    scale = tolerance * max(1.0, float(np.abs(vectors).max()))
    _check_order(encoder, texts, vectors, scale)
    _check_batches(encoder, texts, vectors, scale)
    _check_prompts(encoder, texts, scale)


def _check_form(encoder: CheckedEncoder, texts: Sequence[str]) -> Floats:
    sides: tuple[Side, Side] = ("query", "doc")
    for side in sides:
        empty = encoder.encode([], side=side).vectors
        _require(
            empty.shape == (0, 1, encoder.dim),
            f"an empty list gives [0, 1, {encoder.dim}], not {empty.shape}",
        )
        _require(empty.dtype == np.float32, f"an empty list gives float32, not {empty.dtype}")
        blank = encoder.encode([""], side=side).flat
        _require(bool(np.isfinite(blank).all()), "an empty text has a finite vector")
    vectors: Floats = encoder.encode(texts, side="doc").flat
    _require(isinstance(vectors, np.ndarray), f"vectors are numpy, not {type(vectors).__name__}")
    _require(vectors.dtype == np.float32, f"vectors are float32, not {vectors.dtype}")
    expected = (len(texts), encoder.dim)
    _require(vectors.shape == expected, f"shape is {vectors.shape}, not {expected}")
    _require(bool(np.isfinite(vectors).all()), "vectors are finite")
    _require(encoder.fingerprint.dim == encoder.dim, "the fingerprint has the width of the vectors")
    lengths = np.linalg.norm(vectors, axis=1)
    unit = bool(np.allclose(lengths, 1, atol=1e-3))
    _require(unit or not encoder.fingerprint.normalise, "vectors have length 1, as the fingerprint says")
    return vectors


def _check_batches(encoder: CheckedEncoder, texts: Sequence[str], vectors: Floats, allowed: float) -> None:
    for batch_size in (1, 3, len(texts)):
        again = encoder.encode(texts, side="doc", batch_size=batch_size).flat
        _near(again, vectors, allowed, f"batch_size={batch_size} changes no vector")
    alone = np.concatenate([encoder.encode([text], side="doc").flat for text in texts])
    _near(
        alone,
        vectors,
        allowed,
        "a text alone has the vector that it has in a batch, so padding changes nothing",
    )
    longest = max(texts, key=len)
    padded = np.concatenate([encoder.encode([text, longest], side="doc").flat[:1] for text in texts])
    _near(padded, vectors, allowed, "padding beside a long text changes no vector")


def _check_order(encoder: CheckedEncoder, texts: Sequence[str], vectors: Floats, allowed: float) -> None:
    backwards = encoder.encode(texts[::-1], side="doc").flat
    _near(backwards[::-1], vectors, allowed, "vectors come in the order of their texts")
    again = encoder.encode(texts, side="doc").flat
    _require(bool(np.array_equal(again, vectors)), "the same call gives the same bits")


def _check_prompts(encoder: CheckedEncoder, texts: Sequence[str], allowed: float) -> None:
    prompts = encoder.fingerprint.prompts
    query, document = (encoder.encode(texts, side=side).flat for side in ("query", "doc"))
    if prompts.get("query", "") == prompts.get("doc", ""):
        _near(query, document, allowed, "both sides are equal where their prompts are")
    else:
        _require(bool(np.abs(query - document).max() > allowed), "different prompts give different vectors")


def _near(found: Floats, expected: Floats, allowed: float, claim: str) -> None:
    difference = np.abs(found - expected).max(axis=1)
    row = int(np.argmax(difference))
    held = bool(difference[row] <= allowed)
    _require(held, f"{claim}: row {row} differs by {difference[row]:.2e} > {allowed:.0e}")


def _require(fact: bool, claim: str) -> None:  # noqa: FBT001
    if not fact:
        raise AssertionError(claim)
