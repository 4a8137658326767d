"""JPQ: its exact identities, its three ablations, and that it ranks better than the OPQ that it starts from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from limbeck.errors import ConfigError
from limbeck.index.compressed import CodeIndex
from limbeck.mining import Drawn, Mined
from limbeck.recipes.compress import OPQ
from limbeck.recipes.jpq import JPQ
from limbeck.train.fit import fit
from limbeck.train.history import History
from limbeck.train.system import TrainingQueries, training_step
from limbeck.types import Reps

SMALL = JPQ(code_bytes=4, top_k=50, lambda_cut=50, epochs=2, least_steps=0, batch_size=64, codeword_rate=0.01)
VARIANTS = {
    "softmax": {"loss": "softmax"},
    "reconstruction": {"loss": "reconstruction"},
    "static": {"negatives": "static"},
    "random": {"negatives": "random"},
    "query map alone": {"train_codewords": False},
    "codewords alone": {"learn_query_map": False},
    "teacher's first": {"positives": "teacher"},
    "made queries": {"made_queries": 0.3},
    "4 bits": {"bits": 4},
}


@pytest.fixture(scope="module")
def start(data):
    return OPQ(code_bytes=4).run(data)


def rank_of_positive(system, data) -> float:
    """Mean reciprocal rank of the labelled document over the training queries."""
    hits = system.build().search(Reps.single(data.queries), 10)
    found = hits.ids == data.labels.documents[:, None]
    return float((found / np.arange(1, 11)).sum(axis=1).mean())


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_every_option_trains_lowers_its_loss_and_is_saved_and_searched(settings, data, tmp_path):
    histories: list[History] = []
    recipe = replace(SMALL, **{"epochs": 3, **settings})
    system = recipe.run(replace(data, dev_queries=None), on_history=histories.append)
    if recipe.loss != "reconstruction":  # k-means starts at the minimum for frozen codes
        assert histories[0].epochs[-1].terms["docs"] < histories[0].epochs[0].terms["docs"]
    index = system.build()
    index.save(tmp_path)
    queries = Reps.single(data.dev_queries)
    np.testing.assert_array_equal(
        index.search(queries, 10).ids, CodeIndex.open(tmp_path).search(queries, 10).ids
    )


def test_step_zero_ranks_exactly_as_opq(data, start):
    queries = Reps.single(data.dev_queries)
    before, opq = SMALL(data, start).build().search(queries, 50), start.build().search(queries, 50)
    np.testing.assert_array_equal(before.ids, opq.ids)
    np.testing.assert_array_equal(before.scores, opq.scores)


def test_codes_and_rotation_are_byte_identical_after_training(data, start):
    trained = SMALL.run(data, start)
    assert np.array_equal(trained.documents.stored().codes, start.documents.stored().codes)
    before, after = start.documents.learned().parts(), trained.documents.learned().parts()
    assert np.array_equal(after["rotation"], before["rotation"])
    assert np.array_equal(after["assign.codewords"], before["assign.codewords"])
    assert not np.array_equal(after["score.codewords"], before["score.codewords"])


def test_the_index_file_keeps_its_size(data, start, tmp_path):
    trained = replace(SMALL, learn_query_map=False).run(data, start)
    for name, system in (("before", start), ("after", trained)):
        system.build().save(tmp_path / name)
    sizes = [(tmp_path / name / "index.faiss").stat().st_size for name in ("before", "after")]
    assert sizes[0] == sizes[1]


def test_codewords_that_no_candidate_has_get_no_gradient(data, start):
    system = SMALL(data, start)
    batch = TrainingQueries(vectors=data.queries).batch(np.arange(4))
    step = training_step(system, batch)
    system.objective["docs"][1](step).sum().backward()
    numbers = system.documents.codes.codes[step.candidates.ids[step.candidates.mask].numpy()]
    for part in range(4):
        used = np.zeros(256, dtype=bool)
        used[numbers[:, part]] = True
        assert not system.documents.codewords.grad[part, ~used].any()
        assert system.documents.codewords.grad[part, used].any()


def test_the_gradient_of_a_codeword_is_the_sum_over_its_documents_of_theirs_times_the_query(data, start):
    system = replace(SMALL, learn_query_map=False)(data, start)
    batch = TrainingQueries(vectors=data.queries).batch(np.arange(6))
    step = training_step(system, batch)
    step.scores["docs"].retain_grad()
    system.objective["docs"][1](step).sum().backward()
    pulls = step.scores["docs"].grad.numpy()
    turned = start.documents.learned().rotate_vectors(data.queries[:6]).reshape(6, 4, 8)
    expected = np.zeros((4, 256, 8))
    for query, line in enumerate(step.candidates.ids.numpy()):
        for document, pull in zip(line, pulls[query], strict=True):
            for part, number in enumerate(system.documents.codes.codes[document]):
                expected[part, number] += pull * turned[query, part]
    np.testing.assert_allclose(system.documents.codewords.grad.numpy(), expected, atol=1e-6)


def test_each_steps_candidates_are_what_the_index_of_that_step_finds(data, start):
    system = SMALL(data, start)
    seen = []

    def watched(given, batch):
        found = given.negatives(batch).ids[:, :50].numpy()
        expected = given.build().search(Reps.single(batch.vectors.numpy()), 50).ids
        # a sum of four numbers may round otherwise with the map folded in; equal scores may swap
        seen.append(np.mean([len(set(a) & set(b)) / 50 for a, b in zip(found, expected, strict=True)]))
        return training_step(given, batch)

    from limbeck.train.fit import Schedule

    schedule = Schedule(epochs=1, batch_size=200)
    fit(system, TrainingQueries(vectors=data.queries), schedule, step=watched, progress=False)
    assert len(seen) == 3
    assert min(seen) > 0.99


def test_training_ranks_the_labelled_documents_higher_than_opq_does(data, start):
    assert rank_of_positive(SMALL.run(data, start), data) > rank_of_positive(start, data) + 0.02


def test_rates_of_zero_leave_nothing_to_train_and_the_index_as_it_was(data, start):
    still = replace(SMALL, codeword_rate=0.0, query_rate=1e-30).run(data, start)
    before, after = start.documents.learned().parts(), still.documents.learned().parts()
    for name, value in before.items():
        assert np.array_equal(after[name], value), name


def test_each_kind_of_negatives_is_what_its_name_says(data, start):
    assert SMALL(data, start).negatives.live
    static = replace(SMALL, negatives="static")(data, start).negatives
    assert isinstance(static, Mined)
    assert not static.live
    assert isinstance(replace(SMALL, negatives="random")(data, start).negatives, Drawn)


def test_the_drawn_temperature_is_a_share_of_the_teachers_spread_and_a_given_one_is_taken_as_it_is(
    data, start
):
    def loss(**settings) -> torch.Tensor:
        system = replace(SMALL, **settings)(data, start)
        step = training_step(system, TrainingQueries(vectors=data.queries).batch(np.arange(16)))
        return system.objective["docs"][1](step).detach()

    exact = np.sort(data.queries @ data.documents.T, axis=1)[:, -200:]
    spread = float(exact.std(axis=1).mean())
    torch.testing.assert_close(loss(spread_share=0.5), loss(temperature=0.5 * spread), rtol=2e-2, atol=1e-3)


def test_the_same_seed_gives_the_same_bytes(data, start):
    words = [SMALL.run(data, start).documents.codewords.detach() for _ in range(2)]
    assert torch.equal(words[0], words[1])


def test_without_labels_the_teachers_first_document_is_relevant(data, start):
    system = replace(SMALL, positives="auto")(replace(data, labels=None), start)
    candidates = system.negatives(TrainingQueries(vectors=data.queries).batch(np.arange(20)))
    exact = (data.queries[:20] @ data.documents.T).argmax(axis=1)
    for line in range(20):
        relevant = candidates.ids[line][candidates.gains[line] > 0].tolist()
        assert len(relevant) == 1
        scores = data.queries[line] @ data.documents[[relevant[0], exact[line]]].T
        assert scores[0] == pytest.approx(scores[1], abs=0.01)  # the teacher's lists are searched in bfloat16


def test_labels_that_are_asked_for_and_absent_are_refused(data, start):
    with pytest.raises(ConfigError, match=r"data\.labels"):
        replace(SMALL, positives="labels").run(replace(data, labels=None), start)


@pytest.mark.parametrize(
    "settings", [{"learn_query_map": False}, {"loss": "reconstruction"}], ids=["neither", "reconstruction"]
)
def test_nothing_left_to_train_is_refused(settings, data, start):
    with pytest.raises(ConfigError, match="nothing is left to train"):
        replace(SMALL, train_codewords=False, **settings).run(data, start)
