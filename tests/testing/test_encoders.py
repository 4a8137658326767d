"""The double keeps the contract, and the contract catches encoders that do not."""

import subprocess
import sys

import numpy as np
import pytest

from limbeck.testing import HashEncoder, check_encoder
from limbeck.types import Reps

TEXTS = [" ".join(f"word{i * j % 17}" for j in range(1, i + 2)) for i in range(12)]


@pytest.mark.parametrize("prompts", [{}, {"query": "query: "}, {"query": "a ", "doc": "b "}])
def test_the_double_keeps_the_contract(prompts):
    check_encoder(HashEncoder(32, prompts=prompts), TEXTS)


def test_texts_that_share_words_are_near_each_other():
    vectors = HashEncoder(256).encode_document(["copy a file", "copy the file", "nothing in common"])
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_the_double_gives_the_same_vectors_in_every_process():
    code = "from limbeck.testing import HashEncoder as H; print(H(8).encode_query(['a b']).tobytes().hex())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == HashEncoder(8).encode_query(["a b"]).tobytes().hex()


def test_other_seeds_and_widths_are_other_encoders():
    prints = {HashEncoder(dim, seed=seed).fingerprint.digest for dim in (8, 16) for seed in (0, 1)}
    assert len(prints) == 4


class Broken(HashEncoder):
    """Spoils what the double gives."""

    def __init__(self, spoil, **settings):
        super().__init__(16, **settings)
        self.spoil = spoil

    def encode(self, texts, *, side, batch_size=64):
        return self.spoil(self, super().encode(texts, side=side).vectors, texts, side, batch_size)


def leaks_padding(self, vectors, texts, side, batch_size):
    longest = max(map(len, texts), default=0)
    return Reps(vectors * np.float32(1 + 1e-5 * min(longest, 90)))


def depends_on_the_batch_size(self, vectors, texts, side, batch_size):
    return Reps(np.where(batch_size == 3, -vectors, vectors))


def forgets_the_order(self, vectors, texts, side, batch_size):
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    return Reps(vectors[order])


def is_double(self, vectors, texts, side, batch_size):
    return Reps(vectors.astype(np.float64))


def is_flat_when_empty(self, vectors, texts, side, batch_size):
    return Reps(vectors if len(texts) else np.empty((0, 16), np.float32))


def has_holes(self, vectors, texts, side, batch_size):
    return Reps(np.where(np.arange(16) == 3, np.float32("nan"), vectors))


def is_not_unit(self, vectors, texts, side, batch_size):
    return Reps(vectors * np.float32(2))


def has_hidden_prompts(self, vectors, texts, side, batch_size):
    return Reps(vectors if side == "doc" else -vectors)


def is_random(self, vectors, texts, side, batch_size):
    return Reps(vectors + np.random.default_rng().normal(0, 1e-7, vectors.shape).astype(np.float32))


@pytest.mark.parametrize(
    ("spoil", "claim"),
    [
        (leaks_padding, "padding|batch_size"),
        (depends_on_the_batch_size, "batch_size=3"),
        (forgets_the_order, "order"),
        (is_double, "float32"),
        (is_flat_when_empty, "empty list"),
        (has_holes, "finite"),
        (is_not_unit, "length 1"),
        (has_hidden_prompts, "both sides are equal"),
        (is_random, "same bits"),
    ],
)
def test_the_contract_names_what_is_broken(spoil, claim):
    with pytest.raises(AssertionError, match=claim):
        check_encoder(Broken(spoil), TEXTS)


def test_prompts_that_are_not_used_are_found():
    encoder = HashEncoder(16)
    encoder.fingerprint = HashEncoder(16, prompts={"query": "query: "}).fingerprint
    encoder._sum = lambda text: HashEncoder._sum(encoder, text.removeprefix("query: "))
    with pytest.raises(AssertionError, match="different prompts"):
        check_encoder(encoder, TEXTS)


def test_too_few_texts_prove_nothing():
    with pytest.raises(ValueError, match="ten texts"):
        check_encoder(HashEncoder(), TEXTS[:3])


def test_a_name_that_is_not_there_is_an_attribute_error():
    import limbeck.encoders
    import limbeck.testing

    for module in (limbeck.encoders, limbeck.testing):
        with pytest.raises(AttributeError, match="no_such_name"):
            _ = module.no_such_name


def test_every_public_name_can_be_loaded():
    import limbeck.encoders

    for name in limbeck.encoders.__all__:
        assert getattr(limbeck.encoders, name) is not None
