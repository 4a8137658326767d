"""MoPQ, Contrast-VQ, DPQ, Poeem and RepCONC: what each trains, what it leaves alone, and that it is searched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from limbeck.data.labels import Labels
from limbeck.index.compressed import CodeIndex
from limbeck.losses.rank import nce
from limbeck.recipes.chosen_anew import composed
from limbeck.recipes.compress import OPQ
from limbeck.recipes.contrastive_vq import DPQ, ContrastVQ, MoPQ, Poeem, RepCONC
from limbeck.recipes.jpq import JPQ
from limbeck.recipes.labelled import relevant_documents
from limbeck.train.history import History
from limbeck.train.system import TrainingQueries, training_step
from limbeck.types import Reps

QUICK = {"code_bytes": 4, "epochs": 3, "least_steps": 0, "batch_size": 64}
FAMILY = {
    "MoPQ": MoPQ(**QUICK),
    "MoPQ, hard negatives, query map": MoPQ(**QUICK, hard_negatives=2, learn_query_map=True),
    "MoPQ, 4 bits, made queries": MoPQ(**QUICK, bits=4, made_queries=0.3),
    "ContrastVQ": ContrastVQ(**QUICK, lists=12),
    "ContrastVQ, query map": ContrastVQ(**QUICK, lists=12, learn_query_map=True),
    "DPQ-SX": DPQ(**QUICK),
    "DPQ-VQ": DPQ(**QUICK, form="vq", learn_query_map=True),
    "Poeem": Poeem(**QUICK),
    "RepCONC": RepCONC(**QUICK, bits=4, hard_negatives=3, hardest=8),
    "RepCONC, unconstrained": RepCONC(**QUICK, iterations=0, hard_negatives=3),
}


@pytest.fixture(scope="module")
def start(data):
    return OPQ(code_bytes=4).run(data)


def a_step(recipe, data, start):
    system, queries = composed(recipe, data, start)
    return system, training_step(system, TrainingQueries(vectors=queries).batch(np.arange(32)))


def gradients(recipe, data, start, *, terms) -> dict[str, torch.Tensor | None]:
    system, step = a_step(recipe, data, start)
    sum(system.objective[name][1](step).mean() for name in terms).backward()
    return {name: group[0].grad for name, group in system.groups().items()}


def moves(gradient: torch.Tensor | None) -> bool:
    return gradient is not None and bool(gradient.abs().max() > 1e-12)


@pytest.mark.parametrize("recipe", FAMILY.values(), ids=FAMILY)
def test_every_recipe_trains_lowers_its_loss_and_is_saved_and_searched(recipe, data, tmp_path):
    histories: list[History] = []
    system = recipe.run(data, on_history=histories.append)
    first, last = histories[0].epochs[0].terms["docs"], histories[0].epochs[-1].terms["docs"]
    assert last < first
    index = system.build()
    index.save(tmp_path)
    queries = Reps.single(data.dev_queries)
    np.testing.assert_array_equal(
        index.search(queries, 10).ids, CodeIndex.open(tmp_path).search(queries, 10).ids
    )


@pytest.mark.parametrize("recipe", FAMILY.values(), ids=FAMILY)
def test_what_training_scores_is_what_the_index_scores(recipe, data):
    if isinstance(recipe, RepCONC) and recipe.iterations:
        pytest.skip("the constraint holds in training alone")
    if isinstance(recipe, ContrastVQ):
        recipe = replace(recipe, batch_size=32)
    system = replace(recipe, epochs=1).run(data)
    batch = TrainingQueries(vectors=data.dev_queries).batch(np.arange(8))
    ids = torch.arange(len(data.documents))[None]
    trained = system.score(system.query.forward(batch), system.documents(ids)["docs"]).detach().numpy()
    hits = system.build().search(Reps.single(data.dev_queries[:8]), 20, effort=1.0)
    np.testing.assert_allclose(np.take_along_axis(trained, hits.ids, axis=1), hits.scores, atol=1e-4)


def test_mopq_is_pure_contrastive_learning_on_hard_decoded_documents(data, start):
    system, step = a_step(FAMILY["MoPQ"], data, start)
    temperature = 0.1
    recipe = replace(FAMILY["MoPQ"], temperature=temperature)
    system, step = a_step(recipe, data, start)
    decoded = start.documents(step.candidates.ids)["docs"].flat
    scores = step.query.flat @ decoded[0].T / temperature
    torch.testing.assert_close(
        system.objective["docs"][1](step), nce(scores, step.candidates), rtol=1e-4, atol=1e-5
    )
    assert set(system.objective) == {"docs"}


def test_a_reconstruction_weight_of_zero_leaves_the_contrastive_loss_alone(data, start):
    recipe = replace(FAMILY["RepCONC, unconstrained"], reconstruction_weight=0.0)
    system, _ = a_step(recipe, data, start)
    weights = {name: weight for name, (weight, _) in system.objective.items()}
    assert weights == {"docs": 1.0, "reconstruction": 0.0}


@pytest.mark.parametrize("name", ["Poeem", "DPQ-VQ"])
def test_where_the_gradient_goes_to_the_vector_codewords_learn_from_reconstruction_alone(name, data, start):
    ranking = gradients(FAMILY[name], data, start, terms=["docs"])
    assert not moves(ranking["codewords"])
    assert moves(ranking["query"])
    rebuilding = gradients(FAMILY[name], data, start, terms=["reconstruction"])
    assert moves(rebuilding["codewords"])
    assert not moves(rebuilding["query"])


def test_keys_of_dpq_learn_from_the_contrastive_loss_and_values_from_both(data, start):
    ranking = gradients(FAMILY["DPQ-SX"], data, start, terms=["docs"])
    assert moves(ranking["keys"])
    assert moves(ranking["codewords"])
    assert moves(gradients(FAMILY["DPQ-SX"], data, start, terms=["reconstruction"])["codewords"])


def test_at_the_start_the_relative_reconstruction_error_is_about_one(data, start):
    system, step = a_step(FAMILY["DPQ-VQ"], data, start)
    assert float(system.objective["reconstruction"][1](step).detach().mean()) == pytest.approx(1.0, rel=0.2)


def test_repconc_in_training_uses_codewords_more_evenly_than_the_nearest_are(data, start):
    recipe = replace(FAMILY["RepCONC"], hard_negatives=12, batch_size=200)
    started = OPQ(code_bytes=4, bits=4).run(data)
    system, _ = composed(recipe, data, started)
    ids = torch.arange(len(data.documents))[None]
    words = system.documents.codewords.detach()
    served = system.documents(ids)["docs"].flat.detach()[0].reshape(len(data.documents), 8, -1)
    rotated = system.documents(ids)["exact"].flat[0].reshape(served.shape)

    def spread(vectors: torch.Tensor) -> float:
        numbers = (vectors[:, :, None] - words).square().sum(-1).argmin(-1)
        return float(np.mean([np.bincount(numbers[:, m], minlength=16).std() for m in range(8)]))

    assert spread(served) < 0.6 * spread(rotated)


def test_contrast_vq_chooses_lists_by_the_centroids_it_learned_and_moves_no_document(data):
    begun = OPQ(code_bytes=4, lists=12).run(data)
    trained = FAMILY["ContrastVQ"].run(data, begun)
    parts = trained.documents.learned().parts()
    assert np.array_equal(parts["routing"], parts["base"])
    assert not np.array_equal(parts["base"], begun.documents.learned().parts()["base"])
    assert np.array_equal(trained.documents.stored().lists, begun.documents.stored().lists)


def test_rates_of_zero_give_the_codes_and_codewords_of_the_start(data, start):
    still = MoPQ(**QUICK, codeword_rate=0.0).run(data, start)
    assert np.array_equal(still.documents.stored().codes, start.documents.stored().codes)
    for name, value in start.documents.learned().parts().items():
        assert np.array_equal(still.documents.learned().parts()[name], value), name


@pytest.mark.parametrize("scale", [0.1, 30.0])
@pytest.mark.parametrize("name", ["MoPQ", "DPQ-SX", "RepCONC, unconstrained"])
def test_scaling_all_vectors_scales_the_losses_gradient_and_nothing_else(name, scale, data, start):
    from limbeck.documents import CodeBank

    def first_step(factor: float) -> tuple[float, torch.Tensor]:
        small = np.float32(factor)
        scaled = replace(data, documents=data.documents * small, queries=data.queries * small)
        parts = {n: v if n == "rotation" else v * small for n, v in start.documents.learned().parts().items()}
        bank = CodeBank(start.documents.quantiser.with_parts(parts), start.documents.codes)
        system, step = a_step(FAMILY[name], scaled, replace(start, documents=bank))
        loss = sum(weight * term(step).mean() for weight, term in system.objective.values())
        loss.backward()
        return float(loss.detach()), system.documents.codewords.grad * factor

    (loss, gradient), (scaled_loss, scaled_gradient) = first_step(1.0), first_step(scale)
    assert scaled_loss == pytest.approx(loss, rel=1e-3)
    torch.testing.assert_close(scaled_gradient, gradient, rtol=1e-2, atol=1e-2 * float(gradient.abs().max()))


def test_queries_without_labels_take_the_teachers_first_document_the_others_their_own(data):
    labels = Labels(np.array([0, 1, 1, 2]), data.labels.documents[:2], data.labels.gains[:2])
    few = replace(data, queries=data.queries[:3], labels=labels)
    found = relevant_documents(FAMILY["MoPQ"], few, few.queries)
    assert found.of(0)[0].tolist() == labels.of(0)[0].tolist()
    assert len(found.of(1)[0]) == 1
    assert found.of(2)[0].tolist() == labels.of(2)[0].tolist()


def test_jpq_is_repconcs_second_stage_and_keeps_its_codes(data):
    first = FAMILY["RepCONC, unconstrained"].run(data)
    second = JPQ(code_bytes=4, epochs=1, least_steps=0).run(data, first)
    assert np.array_equal(second.documents.stored().codes, first.documents.stored().codes)
