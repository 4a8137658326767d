"""Documents in training are the documents of the index: same numbers, and gradient only where it is meant to go."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limbeck.documents import Bank, CodeBank, Requantised
from limbeck.errors import ConfigError
from limbeck.quantisers.product import ProductQuantiser

GENERATOR = np.random.default_rng(0)
VECTORS = GENERATOR.normal(size=(600, 16)).astype(np.float32)
ROWS = torch.tensor([[3, 599, 0, 3]])
VARIANTS = [
    {"code_bytes": 4},
    {"code_bytes": 4, "rotate": True},
    {"code_bytes": 4, "bits": 4},
    {"code_bytes": 4, "lists": 5},
    {"code_bytes": 4, "lists": 5, "rotate": True},
]


def fitted(**settings) -> ProductQuantiser:
    return ProductQuantiser(**settings).fit(VECTORS, seed=0)


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_a_code_bank_serves_what_the_quantiser_decodes(settings):
    quantiser = fitted(**settings)
    codes = quantiser.encode(VECTORS)
    served = CodeBank(quantiser, codes)(ROWS)["docs"].flat.detach().numpy()[0]
    expected = quantiser.rotate_vectors(quantiser.decode(codes))[ROWS[0].numpy()]
    np.testing.assert_allclose(served, expected, atol=1e-5)  # float32, d = 16


def test_without_training_the_quantiser_and_its_codes_stay_byte_for_byte():
    quantiser = fitted(code_bytes=4, lists=5, rotate=True)
    codes = quantiser.encode(VECTORS)
    bank = CodeBank(quantiser, codes)
    for name, value in quantiser.parts().items():
        assert np.array_equal(bank.learned().parts()[name], value), name
    assert bank.stored() is codes


def test_gradient_reaches_the_chosen_codewords_only_and_is_the_sum_over_documents():
    quantiser = fitted(code_bytes=4)
    codes = quantiser.encode(VECTORS)
    bank = CodeBank(quantiser, codes)
    query = torch.from_numpy(GENERATOR.normal(size=16).astype(np.float32))
    weight = torch.tensor([1.0, -2.0, 0.5, 3.0])
    (bank(ROWS)["docs"].flat[0] @ query @ weight).backward()
    expected = np.zeros(bank.codewords.shape, dtype=np.float32)
    for document, w in zip(ROWS[0].tolist(), weight.tolist(), strict=True):
        for part in range(4):
            expected[part, codes.codes[document, part]] += w * query[part * 4 : part * 4 + 4].numpy()
    np.testing.assert_allclose(bank.codewords.grad.numpy(), expected, atol=1e-6)


def test_views_of_lists_are_the_base_of_each_document_and_all_routing_vectors():
    quantiser = fitted(code_bytes=4, lists=5)
    codes = quantiser.encode(VECTORS)
    views = CodeBank(quantiser, codes)(ROWS)
    np.testing.assert_array_equal(
        views["coarse"].flat.detach().numpy()[0], quantiser.base[codes.lists[ROWS[0].numpy()]]
    )
    np.testing.assert_array_equal(views["lists"].flat.detach().numpy()[0], quantiser.routing)


def test_straight_through_serves_the_nearest_codewords():
    quantiser = fitted(code_bytes=4, lists=5, rotate=True)
    codes = quantiser.encode(VECTORS)
    requantised = Requantised(quantiser, codes, VECTORS, temperature=0.1)
    served = requantised(ROWS)["docs"].flat.detach().numpy()
    np.testing.assert_allclose(
        served, CodeBank(quantiser, codes)(ROWS)["docs"].flat.detach().numpy(), atol=1e-5
    )


def test_straight_through_moves_codewords_that_were_not_chosen_as_well():
    quantiser = fitted(code_bytes=4)
    requantised = Requantised(quantiser, quantiser.encode(VECTORS), VECTORS, temperature=1.0)
    requantised(ROWS)["docs"].flat.square().sum().backward()
    assert (requantised.codewords.grad.abs().sum(-1) > 0).sum() > 4 * ROWS.shape[1]


def test_documents_encoded_again_stay_in_their_lists():
    quantiser = fitted(code_bytes=4, lists=5)
    codes = quantiser.encode(VECTORS)
    requantised = Requantised(quantiser, codes, VECTORS, temperature=0.1)
    with torch.no_grad():
        requantised.codewords.mul_(0.5)
    stored = requantised.stored()
    assert np.array_equal(stored.lists, codes.lists)
    assert (stored.codes != codes.codes).any()


def test_unmoved_codewords_encode_to_the_same_codes():
    quantiser = fitted(code_bytes=4, lists=5, rotate=True)
    codes = quantiser.encode(VECTORS)
    assert np.array_equal(Requantised(quantiser, codes, VECTORS, temperature=0.1).stored().codes, codes.codes)


def test_re_encoding_lists_that_hold_no_residuals_is_refused():
    quantiser = fitted(code_bytes=4, lists=5, by_residual=False)
    with pytest.raises(ConfigError, match="by_residual"):
        Requantised(quantiser, quantiser.encode(VECTORS), VECTORS, temperature=0.1)


def test_a_bank_serves_the_stored_vectors():
    bank = Bank(VECTORS)
    np.testing.assert_array_equal(bank(ROWS)["docs"].flat[0].numpy(), VECTORS[ROWS[0].numpy()])
    assert bank.stored() is VECTORS
    assert bank.groups() == {}
