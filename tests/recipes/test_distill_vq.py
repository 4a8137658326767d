"""Distill-VQ: its exact identities, its invariances, and that each of its options trains and is searched."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from limbeck.documents import CodeBank
from limbeck.errors import ConfigError, DataError
from limbeck.evaluate.overlap import overlap
from limbeck.index.compressed import CodeIndex
from limbeck.index.flat import Flat
from limbeck.recipes.compress import OPQ, PQ
from limbeck.recipes.distill_vq import DistillVQ, NearUniformTeacher
from limbeck.train import unlabelled
from limbeck.train.history import History
from limbeck.train.unlabelled import queries_from_documents
from limbeck.types import Reps

SMALL = DistillVQ(code_bytes=4, top_k=50, sample=16, made_queries=0.0, epochs=3, least_steps=0, batch_size=64)
VARIANTS = {
    "whole top list": {"sample": None},
    "own lists": {"in_batch": False},
    "labels": {"use_labels": True, "sample": 1},
    "mse": {"loss": "mse"},
    "margin_mse": {"loss": "margin_mse"},
    "ranknet": {"loss": "ranknet", "sample": 2},
    "reverse_kl": {"loss": "reverse_kl"},
    "re-encoded": {"codes": "re-encoded"},
    "query map": {"learn_query_map": True},
    "made queries": {"made_queries": 0.5},
    "lists": {"lists": 12},
    "lists re-encoded": {"lists": 12, "codes": "re-encoded"},
    "4 bits": {"bits": 4},
    "no rotation": {"rotate": False},
}


def overlap_with_exact(system, data, *, effort=1.0) -> float:
    queries = Reps.single(data.dev_queries)
    exact = Flat(data.documents, metric=data.metric).search(queries, 10)
    return float(overlap(system.build().search(queries, 10, effort=effort), exact, k=10).mean())


@pytest.fixture(scope="module")
def start(data):
    return OPQ(code_bytes=4).run(data)


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_every_option_trains_lowers_its_loss_and_is_saved_and_searched(settings, data, tmp_path):
    histories: list[History] = []
    system = replace(SMALL, **settings).run(replace(data, dev_queries=None), on_history=histories.append)
    first, last = histories[0].epochs[0].terms["docs"], histories[0].epochs[-1].terms["docs"]
    assert last < first
    index = system.build()
    index.save(tmp_path)
    queries = Reps.single(data.dev_queries)
    before, after = index.search(queries, 10), CodeIndex.open(tmp_path).search(queries, 10)
    np.testing.assert_array_equal(before.ids, after.ids)
    np.testing.assert_array_equal(before.scores, after.scores)


def test_distillation_keeps_every_code_and_gains_overlap_over_opq(data, start):
    system = SMALL.run(data, start)
    assert np.array_equal(system.documents.stored().codes, start.documents.stored().codes)
    assert overlap_with_exact(system, data) > overlap_with_exact(start, data) + 0.02


def test_learning_rates_of_zero_leave_the_index_byte_identical(data):
    ivf = OPQ(code_bytes=4, lists=12).run(data)
    still = replace(SMALL, lists=12, codeword_rate=0, base_rate=0, routing_rate=0).run(data, ivf)
    for name, value in ivf.documents.learned().parts().items():
        assert np.array_equal(still.documents.learned().parts()[name], value), name
    assert np.array_equal(still.documents.stored().codes, ivf.documents.stored().codes)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(data, start):
    words = [
        replace(SMALL, seed=s).run(data, start).documents.learned().parts()["score.codewords"]
        for s in (0, 0, 1)
    ]
    assert np.array_equal(words[0], words[1])
    assert not np.array_equal(words[0], words[2])


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("settings", [{}, {"lists": 12}, {"loss": "margin_mse"}], ids=str)
def test_scaling_all_vectors_does_not_change_what_is_learnt(scale, settings, data, monkeypatch):
    # rounding to bfloat16 moves with the scale, and neighbours in the lists with it: float32 lists here
    monkeypatch.setattr(unlabelled, "has_native_bfloat16", lambda: False)

    def trained(factor: float) -> CodeBank:
        scaled = replace(
            data,
            documents=data.documents * np.float32(factor),
            queries=data.queries * np.float32(factor),
            dev_queries=None,
        )
        recipe = replace(SMALL, **settings)
        begun = OPQ(code_bytes=4, lists=recipe.lists).run(data)
        parts = {
            n: v if n == "rotation" else v * np.float32(factor)
            for n, v in begun.documents.learned().parts().items()
        }
        begun = replace(
            begun, documents=CodeBank(begun.documents.quantiser.with_parts(parts), begun.documents.codes)
        )
        return recipe.run(scaled, begun).documents

    reference, scaled = trained(1.0).learned().parts(), trained(scale).learned().parts()
    for name in set(reference) - {"rotation"}:
        size = np.abs(reference[name]).max()
        np.testing.assert_allclose(scaled[name] / scale, reference[name], atol=2e-3 * size, err_msg=name)


def test_vectors_that_are_not_normalised_are_trained_on_as_well(data):
    lengths = np.random.default_rng(1).uniform(5, 15, size=(len(data.documents), 1)).astype(np.float32)
    long = replace(data, documents=data.documents * lengths)
    start = OPQ(code_bytes=4).run(long)
    assert overlap_with_exact(SMALL.run(long, start), long) > overlap_with_exact(start, long) + 0.02


def test_l2_is_distilled_under_its_own_score(data):
    euclidean = replace(data, documents=data.documents * 3, metric="l2")
    start = OPQ(code_bytes=4, lists=12).run(euclidean)
    system = replace(SMALL, lists=12).run(euclidean, start)
    assert overlap_with_exact(system, euclidean) > overlap_with_exact(start, euclidean) + 0.02


def test_lossless_codes_and_the_teachers_own_queries_leave_nothing_to_learn():
    documents = np.random.default_rng(0).normal(size=(256, 8)).astype(np.float32)
    from limbeck.data.vector_data import VectorData

    data = VectorData(documents=documents, queries=documents[:64] + 0.1)
    start = PQ(code_bytes=2).run(data)  # 256 codewords for 256 documents
    exact = start.documents.quantiser
    halves = np.stack([documents[:, :4], documents[:, 4:]])
    exact = exact.with_parts({"assign.codewords": halves, "score.codewords": halves})
    system = replace(start, documents=CodeBank(exact, exact.encode(documents)))
    trained = replace(SMALL, code_bytes=2, rotate=False, epochs=1).run(data, system)
    moved = np.abs(trained.documents.learned().parts()["score.codewords"] - halves).max()
    untrained_step = 0.1 * np.sqrt(np.square(halves).mean())
    assert (
        moved < untrained_step
    )  # Adam turns rounding into steps; a real gradient would move every codeword further


def test_routing_vectors_learn_apart_from_the_base(data):
    system = replace(SMALL, lists=12).run(data)
    parts = system.documents.learned().parts()
    assert not np.array_equal(parts["routing"], parts["base"])


def test_a_teacher_that_says_nothing_is_warned_about_loudly(data, start):
    with pytest.warns(NearUniformTeacher, match="leave `temperature` at None"):
        replace(SMALL, temperature=50.0).run(data, start)


def test_the_drawn_temperature_warns_of_nothing(data, start):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SMALL.run(data, start)


def test_made_queries_have_the_queries_mean_and_ask_for_documents(data):
    made = queries_from_documents(data, len(data.documents), seed=0)
    np.testing.assert_allclose(made.mean(axis=0), data.queries.mean(axis=0), atol=1e-5)
    few = queries_from_documents(data, 10, seed=0)
    assert few.shape == (10, 32)


def test_without_any_query_the_documents_themselves_ask(data, start):
    silent = replace(data, queries=np.empty((0, 32), dtype=np.float32), labels=None)
    assert overlap_with_exact(SMALL.run(silent, start), data) > overlap_with_exact(start, data)


def test_a_stopped_run_continues_and_ends_in_the_same_bytes(data, start, tmp_path):
    plain = replace(data, dev_queries=None)
    whole = SMALL.run(plain, start, folder=tmp_path / "whole").documents.learned().parts()["score.codewords"]
    again = SMALL.run(plain, start, folder=tmp_path / "whole").documents.learned().parts()["score.codewords"]
    np.testing.assert_array_equal(again, whole)


def test_few_queries_are_gone_through_more_often(data, start):
    histories: list[History] = []
    replace(SMALL, least_steps=55).run(replace(data, dev_queries=None), start, on_history=histories.append)
    assert len(histories[0].epochs) == 6  # 10 steps an epoch


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"made_queries": 1.0}, "made_queries"),
        ({"use_labels": True}, "data.labels"),
        ({"sample": 999}, "sample"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_way_out(settings, text, data, start):
    with pytest.raises(ConfigError, match=text):
        replace(SMALL, **settings).run(replace(data, labels=None), start)


def test_one_document_is_refused(data, start):
    with pytest.raises(DataError, match="two documents"):
        SMALL.run(replace(data, documents=data.documents[:1]), start)
