"""The loop: what it trains, what it keeps, when it stops, and that a stopped run continues in the same bytes."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from limbeck.errors import ConfigError, CorruptArtefact, DataError
from limbeck.losses.distil import listnet
from limbeck.losses.terms import distil
from limbeck.negatives import InBatch, TopK
from limbeck.scores import dot
from limbeck.teachers import DenseTeacher
from limbeck.train.fit import Schedule, fit
from limbeck.train.system import System, TrainingQueries, training_step
from limbeck.types import Reps

GENERATOR = np.random.default_rng(0)
DOCUMENTS = GENERATOR.normal(size=(80, 6)).astype(np.float32)
QUERIES = TrainingQueries(vectors=GENERATOR.normal(size=(50, 6)).astype(np.float32))
RANKED = np.argsort(-(QUERIES.vectors @ DOCUMENTS.T), axis=1)[:, :20]
SCHEDULE = Schedule(epochs=3, batch_size=8, seed=1)


class Learnt:
    """Documents as one free table: the smallest thing that can be trained."""

    def __init__(self) -> None:
        self.table = torch.nn.Parameter(torch.from_numpy(DOCUMENTS[:, ::-1].copy()))
        self.unused = torch.nn.Parameter(torch.zeros(3))

    def __call__(self, ids):
        return {"docs": Reps.single(self.table[ids])}

    def groups(self):
        return {"table": [self.table], "unused": [self.unused]}

    def stored(self):
        return self.table.detach().numpy()


class AsGiven:
    def forward(self, batch):
        return Reps.single(batch.vectors)

    def groups(self):
        return {}


def small_system(**changes) -> System:
    system = System(
        query=AsGiven(),
        documents=Learnt(),
        score=dot,
        negatives=InBatch(TopK(RANKED, sample=5, seed=3)),
        teacher=DenseTeacher(DOCUMENTS, metric="ip"),
        objective={"docs": (1.0, distil(listnet)), "logged": (0.0, distil(listnet, temperature=2.0))},
        train={"table": 0.05},
    )
    return replace(system, **changes)


def table(system: System) -> np.ndarray:
    return system.documents.stored().copy()


def test_training_lowers_the_objective_and_touches_only_the_named_groups():
    system = small_system()
    before = table(system)
    history = fit(system, QUERIES, SCHEDULE)
    curve = [epoch.terms["docs"] for epoch in history.epochs]
    assert curve == sorted(curve, reverse=True)
    assert (table(system) != before).any()
    assert not system.documents.unused.detach().any()


def test_a_weight_of_zero_logs_a_term_without_training_on_it():
    with_term, without = small_system(), small_system(objective={"docs": (1.0, distil(listnet))})
    history = fit(with_term, QUERIES, SCHEDULE)
    fit(without, QUERIES, SCHEDULE)
    assert set(history.epochs[0].terms) == {"docs", "logged"}
    np.testing.assert_array_equal(table(with_term), table(without))


def test_every_query_is_seen_once_an_epoch_in_an_order_that_differs_between_epochs():
    first, second = (np.concatenate(list(SCHEDULE.batches(50, epoch))) for epoch in (0, 1))
    assert sorted(first.tolist()) == list(range(50))
    assert sorted(second.tolist()) == list(range(50))
    assert first.tolist() != second.tolist()


def test_the_rate_warms_up_and_falls_to_nothing():
    rates = [Schedule(warm_up=0.1).rate(step, 100) for step in range(100)]
    assert max(rates) <= 1
    assert rates[0] < 0.2
    assert rates[-1] < 0.02
    peak = int(np.argmax(rates))
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_the_best_epoch_on_dev_is_kept_and_patience_ends_the_run():
    figures = iter([0.1, 0.5, 0.4, 0.3, 0.2])
    seen: list[np.ndarray] = []

    def dev(system: System) -> float:
        seen.append(table(system))
        return next(figures)

    system = small_system()
    history = fit(system, QUERIES, replace(SCHEDULE, epochs=9, patience=2), dev=dev)
    assert (history.best, len(history.epochs)) == (1, 3)
    np.testing.assert_array_equal(table(system), seen[1])


def test_training_that_never_helps_gives_back_what_it_started_from():
    system = small_system()
    before = table(system)
    figures = iter([0.9, 0.1, 0.1, 0.1])
    assert fit(system, QUERIES, SCHEDULE, dev=lambda s: next(figures)).best == 0
    np.testing.assert_array_equal(table(system), before)


class Killed(Exception):
    """The machine went away."""


@pytest.mark.parametrize("fatal_step", [3, 7, 8, 20])
@pytest.mark.parametrize("has_dev", [False, True])
def test_a_run_killed_at_any_step_continues_and_ends_in_the_same_bytes(
    fatal_step, has_dev, tmp_path, monkeypatch
):
    monkeypatch.setattr("limbeck.train.checkpoint.SECONDS_BETWEEN", -1.0)  # a checkpoint after every step
    dev = (lambda system: -float(np.abs(table(system) - DOCUMENTS).sum())) if has_dev else None
    whole = small_system()
    expected = fit(whole, QUERIES, SCHEDULE, dev=dev)
    calls = 0

    def dying_step(system, batch):
        nonlocal calls
        calls += 1
        if calls == fatal_step:
            raise Killed
        return training_step(system, batch)

    with pytest.raises(Killed):
        fit(small_system(), QUERIES, SCHEDULE, dev=dev, step=dying_step, folder=tmp_path)
    resumed = small_system()
    history = fit(resumed, QUERIES, SCHEDULE, dev=dev, folder=tmp_path)
    np.testing.assert_array_equal(table(resumed), table(whole))
    assert [e.terms for e in history.epochs] == [e.terms for e in expected.epochs]
    assert [e.dev for e in history.epochs] == [e.dev for e in expected.epochs]


def test_a_checkpoint_of_other_settings_is_refused_and_names_them(tmp_path):
    fit(small_system(), QUERIES, SCHEDULE, folder=tmp_path)
    with pytest.raises(ConfigError, match="epochs"):
        fit(small_system(), QUERIES, replace(SCHEDULE, epochs=4), folder=tmp_path)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    fit(small_system(), QUERIES, SCHEDULE, folder=tmp_path)
    pointer = json.loads((tmp_path / "checkpoint.json").read_text())
    path = tmp_path / pointer["file"]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptArtefact, match="sha256"):
        fit(small_system(), QUERIES, SCHEDULE, folder=tmp_path)


def test_only_the_newest_checkpoint_stays_on_disk(tmp_path):
    fit(small_system(), QUERIES, SCHEDULE, folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint.json",
        "step-00000021.safetensors",
    ]


def test_clipping_bounds_the_gradient_that_is_applied():
    free, bound = small_system(), small_system()
    fit(free, QUERIES, SCHEDULE)
    fit(bound, QUERIES, replace(SCHEDULE, clip=1e-9))
    assert (table(free) != table(bound)).any()


def test_epochs_are_logged_with_their_numbers(caplog):
    caplog.set_level(logging.INFO, logger="limbeck")
    fit(small_system(), QUERIES, SCHEDULE)
    assert "epoch 3: docs" in caplog.text


def test_a_loss_that_is_not_finite_stops_the_run_with_its_step():
    broken = small_system(objective={"docs": (1.0, lambda step: step.scores["docs"].sum(-1) * float("nan"))})
    with pytest.raises(DataError, match="step 0"):
        fit(broken, QUERIES, SCHEDULE)


def test_a_learning_rate_for_an_unknown_group_is_refused_with_the_groups_there_are():
    with pytest.raises(ConfigError, match="'table'"):
        fit(small_system(train={"tables": 0.1}), QUERIES, SCHEDULE)


def test_no_queries_are_refused():
    with pytest.raises(DataError, match="no training queries"):
        fit(small_system(), TrainingQueries(), SCHEDULE)


@pytest.mark.parametrize("settings", [{"epochs": 0}, {"batch_size": 0}, {"patience": 0}, {"warm_up": 1.0}])
def test_schedules_that_cannot_run_are_refused(settings):
    with pytest.raises(ConfigError):
        Schedule(**settings)


def test_batches_carry_texts_as_well_as_vectors():
    queries = TrainingQueries(texts=["a", "b", "c"])
    assert len(queries) == 3
    assert queries.batch(np.array([2, 0])).texts == ["c", "a"]
