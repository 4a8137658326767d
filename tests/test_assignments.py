"""Documents whose codes are chosen anew: what they serve, who gets gradient, and what is stored at the end."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limbeck.assignments import (
    Assigned,
    Beside,
    Keyed,
    TiedLists,
    balanced,
    keyed,
    soft,
    through_vectors,
    typical_distance,
)
from limbeck.documents import CodeBank
from limbeck.errors import ConfigError
from limbeck.quantisers.product import ProductQuantiser

GENERATOR = np.random.default_rng(0)
VECTORS = GENERATOR.normal(size=(600, 16)).astype(np.float32)
ROWS = torch.tensor([[3, 599, 0, 17]])
BOTH = ("decoded", "exact")
CHOICES = {
    "soft": soft(temperature=0.3),
    "vectors": through_vectors,
    "keyed": keyed(temperature=0.3),
    "unconstrained": balanced(iterations=0),
}
VARIANTS = [{}, {"rotate": True}, {"bits": 4}, {"lists": 5}, {"lists": 5, "rotate": True}]


def fitted(**settings) -> ProductQuantiser:
    return ProductQuantiser(**{"code_bytes": 4, **settings}).fit(VECTORS, seed=0)


def assigned(quantiser: ProductQuantiser, kind: type = Assigned, **settings) -> Assigned:
    return kind(
        quantiser, quantiser.encode(VECTORS), VECTORS, **{"choose": soft(temperature=0.3), **settings}
    )


@pytest.mark.parametrize("choose", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_every_choice_serves_what_the_stored_codes_decode_to(settings, choose):
    quantiser = fitted(**settings)
    documents = assigned(quantiser, choose=choose, beside=BOTH)
    views = {name: reps.flat.detach().numpy()[0] for name, reps in documents(ROWS).items() if name != "lists"}
    bank = CodeBank(quantiser, quantiser.encode(VECTORS))(ROWS)["docs"].flat.detach().numpy()[0]
    np.testing.assert_allclose(views["docs"], bank, atol=1e-5)
    np.testing.assert_allclose(views["decoded"], bank, atol=1e-5)
    np.testing.assert_allclose(views["exact"], quantiser.rotate_vectors(VECTORS)[ROWS[0].numpy()], atol=1e-6)


def test_views_beside_the_documents_are_served_only_where_they_are_asked_for():
    assert set(assigned(fitted())(ROWS)) == {"docs"}
    assert set(assigned(fitted(lists=5), beside=("exact",))(ROWS)) == {"docs", "exact", "coarse", "lists"}


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_unmoved_codewords_are_stored_as_the_codes_that_were_there(settings):
    quantiser = fitted(**settings)
    documents = assigned(quantiser)
    assert np.array_equal(documents.stored().codes, quantiser.encode(VECTORS).codes)


def test_moved_codewords_assign_as_well_so_that_later_documents_fit():
    documents = assigned(fitted(lists=5))
    with torch.no_grad():
        documents.codewords.mul_(0.5)
        documents.base.add_(0.1)
    learned = documents.learned()
    assert np.array_equal(learned.parts()["assign.codewords"], learned.parts()["score.codewords"])
    assert np.array_equal(learned.parts()["assign.base"], learned.parts()["base"])
    assert np.array_equal(documents.stored().lists, documents.codes.lists)


def test_through_the_vectors_codewords_learn_from_the_decoded_view_alone():
    documents = assigned(fitted(), choose=through_vectors, beside=BOTH)
    views = documents(ROWS)
    assert not views["docs"].flat.requires_grad
    (views["decoded"].flat - views["exact"].flat).square().sum().backward()
    assert documents.codewords.grad.abs().sum() > 0


def test_keys_choose_values_score_and_each_is_stored_as_what_it_is():
    documents = assigned(fitted(), Keyed, choose=keyed(temperature=0.3))
    with torch.no_grad():
        documents.codewords.mul_(2.0)
    learned = documents.learned()
    np.testing.assert_array_equal(learned.parts()["score.codewords"], 2 * learned.parts()["assign.codewords"])
    assert np.array_equal(documents.stored().codes, fitted().encode(VECTORS).codes)
    np.testing.assert_allclose(
        documents(ROWS)["docs"].flat.detach().numpy()[0],
        learned.decode(documents.stored())[ROWS[0].numpy()],
        atol=1e-5,
    )
    assert set(documents.groups()) == {"codewords", "keys"}
    documents(ROWS)["docs"].flat.square().sum().backward()
    assert documents.keys().grad.abs().sum() > 0


def test_tied_lists_are_routed_by_the_base_centroids():
    documents = assigned(fitted(lists=5), TiedLists)
    assert set(documents.groups()) == {"codewords", "base"}
    with torch.no_grad():
        documents.base.add_(1.0)
    parts = documents.learned().parts()
    assert np.array_equal(parts["routing"], parts["base"])
    assert set(assigned(fitted(), TiedLists).groups()) == {"codewords"}


def test_balanced_choice_serves_decoded_codewords_used_about_equally_often():
    quantiser = fitted(bits=4)
    documents = assigned(quantiser, choose=balanced())
    served = documents(torch.arange(600)[None])["docs"].flat.detach().numpy()[0].reshape(600, 8, 2)
    words = quantiser.parts()["score.codewords"]
    for part in range(8):
        numbers = np.square(served[:, part, None] - words[part]).sum(-1).argmin(axis=1)
        np.testing.assert_allclose(served[:, part], words[part][numbers], atol=1e-6)
        assert np.bincount(numbers, minlength=16).max() < 2.5 * 600 / 16


def test_balanced_choice_gives_the_chosen_codewords_the_gradient_of_the_documents():
    documents = assigned(fitted(bits=4), choose=balanced())
    documents(torch.arange(600)[None])["docs"].flat.sum().backward()
    assert documents.codewords.grad[:, :, 0].sum(dim=1).tolist() == [600.0] * 8


def test_frozen_codes_beside_their_vectors():
    quantiser = fitted(rotate=True)
    documents = Beside(quantiser, quantiser.encode(VECTORS), VECTORS)
    views = documents(ROWS)
    np.testing.assert_allclose(
        views["exact"].flat.numpy()[0], quantiser.rotate_vectors(VECTORS)[ROWS[0].numpy()], atol=1e-6
    )
    np.testing.assert_array_equal(
        views["docs"].flat.detach().numpy(),
        CodeBank(quantiser, documents.codes)(ROWS)["docs"].flat.detach().numpy(),
    )
    assert documents.stored() is documents.codes


def test_the_typical_distance_is_the_mean_error_of_a_part():
    quantiser = fitted(rotate=True)
    error = VECTORS - quantiser.decode(quantiser.encode(VECTORS))
    expected = np.square(error).sum(axis=1).mean() / 4
    assert typical_distance(quantiser, VECTORS, seed=0) == pytest.approx(expected, rel=1e-5)


def test_lists_that_hold_no_residuals_are_refused():
    with pytest.raises(ConfigError, match="by_residual"):
        assigned(fitted(lists=5, by_residual=False))
