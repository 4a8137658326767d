"""Matching vectors with a static student: what it can represent it learns, and a stopped run ends the same."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck import scores
from limbeck.data.text_data import TextData
from limbeck.documents import Bank
from limbeck.encoders.static_student import StaticStudent
from limbeck.encoders.tokens import TokenLists
from limbeck.errors import ShapeError
from limbeck.losses.vectors import match_queries
from limbeck.train.fit import Schedule, fit
from limbeck.train.system import System, TrainingQueries

VOCABULARY, DIM, TEXTS = 60, 12, 800


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def taught() -> tuple[TokenLists, np.ndarray, np.ndarray]:
    """Texts, their vectors by a teacher that is a weighted sum of tokens, and what the student starts from."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(2, 9, TEXTS)
    numbers = generator.integers(0, VOCABULARY, lengths.sum()).astype(np.int32)
    texts = TokenLists(numbers, np.concatenate([[0], np.cumsum(lengths)]))
    table = generator.normal(size=(VOCABULARY, DIM))
    teacher = unit(np.add.reduceat(table[numbers], texts.starts[:-1], axis=0))
    return texts, teacher, (table + generator.normal(size=table.shape)).astype(np.float32)


def system(taught) -> System:
    texts, _, start = taught
    return System(
        query=StaticStudent(texts, start, unit=True),
        documents=Bank(np.empty((0, DIM), np.float32)),
        score=scores.dot,
        objective={"match": (1.0, match_queries())},
        train={"tokens": 0.05, "weights": 0.01, "map": 0.001, "gates": 0.001},
    )


def off(student: System, taught) -> float:
    texts, teacher, _ = taught
    found = student.query.served()[0].sums(texts.numbers, texts.starts, unit=True)
    return float(np.linalg.norm(found - teacher, axis=1).mean())


def test_a_teacher_that_is_a_sum_of_tokens_is_matched_almost_exactly(taught):
    student = system(taught)
    before = off(student, taught)
    fit(student, TrainingQueries(vectors=taught[1]), Schedule(epochs=30, batch_size=64), progress=False)
    assert off(student, taught) < 0.1 * before


def test_a_run_that_was_stopped_ends_as_one_that_was_not(taught, tmp_path):
    schedule = Schedule(epochs=4, batch_size=64)
    whole, stopped, resumed = system(taught), system(taught), system(taught)
    queries = TrainingQueries(vectors=taught[1])
    fit(whole, queries, schedule, progress=False)

    def interrupt(number: list[int]):
        def dev(_: System) -> float:
            number[0] += 1
            if number[0] == 4:  # before training, then after epochs 1, 2 and 3
                raise KeyboardInterrupt
            return float(number[0])

        return dev

    with pytest.raises(KeyboardInterrupt):
        fit(stopped, queries, schedule, dev=interrupt([0]), folder=tmp_path, progress=False)
    fit(resumed, queries, schedule, dev=interrupt([4]), folder=tmp_path, progress=False)
    for name in ("vectors", "scales", "weights", "gates", "look"):
        np.testing.assert_array_equal(
            getattr(resumed.query.served()[0], name), getattr(whole.query.served()[0], name)
        )


def test_texts_without_their_vectors_are_refused():
    vectors = np.zeros((2, 4), np.float32)
    with pytest.raises(ShapeError, match="`queries` has 3 texts"):
        TextData(queries=["a", "b", "c"], vectors=vectors)
    with pytest.raises(ShapeError, match="`dev_queries` has 1 texts"):
        TextData(queries=["a", "b"], vectors=vectors, dev_queries=["c"], dev_vectors=np.zeros((1, 5)))
