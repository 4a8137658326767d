"""A static student: what is served is what was trained, and the teacher's single tokens are its start."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limbeck.encoders.static_student import StaticStudent, token_vectors, tokenizer_of
from limbeck.encoders.student_starts import with_layers
from limbeck.encoders.tokens import TokenLists
from limbeck.errors import ConfigError
from limbeck.types import Batch

GENERATOR = np.random.default_rng(0)
START = GENERATOR.normal(size=(20, 6)).astype(np.float32)
TEXTS = TokenLists(
    np.array([1, 2, 3, 1, 4, 4, 4, 5, 1, 2], dtype=np.int32), np.array([0, 3, 5, 8, 10], dtype=np.int64)
)


def batch(*rows: int) -> Batch:
    return Batch(rows=torch.tensor(rows))


def moved(student: StaticStudent) -> StaticStudent:
    """As after training."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameters in student.groups().values():
            for parameter in parameters:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return student


@pytest.mark.parametrize("gate", [0, 3], ids=["without gates", "with gates"])
@pytest.mark.parametrize("unit", [True, False], ids=["of length 1", "as means"])
def test_the_table_gives_the_vectors_that_training_saw(unit, gate):
    student = moved(StaticStudent(TEXTS, START, unit=unit, gate=gate))
    seen = student.forward(batch(0, 1, 2, 3)).flat.detach().numpy()
    served = student.served()[0].sums(TEXTS.numbers, TEXTS.starts, unit=unit)
    np.testing.assert_allclose(served, seen, atol=0.02 * np.abs(seen).max())


@pytest.mark.parametrize("unit", [True, False], ids=["of length 1", "as means"])
def test_a_narrow_table_gives_the_vectors_that_training_saw_once_projected(unit):
    student = moved(StaticStudent(TEXTS, START, unit=unit, gate=3, width=4))
    seen = student.forward(batch(0, 1, 2, 3)).flat.detach().numpy()
    table, projection = student.served()
    assert projection.shape == (6, 4)
    np.testing.assert_allclose(projection.T @ projection, np.eye(4), atol=1e-5)
    served = table.sums(TEXTS.numbers, TEXTS.starts, unit=unit) @ projection.T
    np.testing.assert_allclose(served, seen, atol=0.03 * np.abs(seen).max())


def test_a_width_that_is_not_narrow_is_refused():
    with pytest.raises(ConfigError, match=r"1\.\.5"):
        StaticStudent(TEXTS, START, unit=True, width=6)


def test_without_gates_a_vector_is_the_weighted_sum_of_token_vectors_through_the_map():
    student = moved(StaticStudent(TEXTS, START, unit=True, gate=0))
    used = [1, 2, 3, 4, 5]
    vectors, weights, mapped, _ = (parameters[0].detach().numpy() for parameters in student.groups().values())
    for row, tokens in enumerate([[1, 2, 3], [1, 4], [4, 4, 5], [1, 2]]):
        total = sum(np.exp(weights[used.index(token)]) * vectors[used.index(token)] for token in tokens)
        expected = mapped @ total
        found = student.forward(batch(row)).flat[0].detach().numpy()
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


def test_a_token_counts_by_its_gate_and_by_what_stands_beside_it():
    student = moved(StaticStudent(TEXTS, START, unit=True, gate=3))
    used = [1, 2, 3, 4, 5]
    vectors, weights, mapped = (
        getattr(student, name).detach().numpy() for name in ("vectors", "log_weights", "map")
    )
    gates, look = (parameter.detach().numpy() for parameter in student.groups()["gates"])
    rows = [used.index(token) for token in (4, 4, 5)]
    seen = mapped @ sum(np.exp(weights[row]) * vectors[row] for row in rows)
    looks = look @ (seen / np.linalg.norm(seen))
    expected = mapped @ sum(np.exp(weights[row] + gates[row] @ looks) * vectors[row] for row in rows)
    found = student.forward(batch(2)).flat[0].detach().numpy()
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


def test_before_training_every_gate_is_open_the_same():
    gated, plain = (StaticStudent(TEXTS, START, unit=True, gate=gate) for gate in (4, 0))
    torch.testing.assert_close(gated.forward(batch(0, 2)).flat, plain.forward(batch(0, 2)).flat)


def test_the_map_moves_tokens_that_no_training_text_has():
    student = moved(StaticStudent(TEXTS, START, unit=True))
    unseen = np.array([[11]], dtype=np.int32)
    found = student.served()[0].sums(unseen[0], np.array([0, 1]), unit=True)[0]
    expected = student.map.detach().numpy() @ START[11]
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=0.02)


def test_frequent_tokens_weigh_less_at_the_start():
    student = StaticStudent(TEXTS, START, unit=True)
    weights = np.exp(student.log_weights.detach().numpy())
    counts = np.bincount(TEXTS.numbers)[1:]
    np.testing.assert_array_equal(np.argsort(-weights, kind="stable"), np.argsort(counts, kind="stable"))


def test_every_row_of_a_batch_has_its_own_vector_whatever_stands_beside_it():
    student = moved(StaticStudent(TEXTS, START, unit=True))
    together = student.forward(batch(2, 0, 2)).flat
    torch.testing.assert_close(together[0], together[2])
    torch.testing.assert_close(together[1], student.forward(batch(0)).flat[0])


def test_a_tokens_start_is_the_teachers_vector_of_it_alone(teacher, tmp_path, monkeypatch):
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path))
    teacher = with_layers(teacher, (0,))  # of six: a sixth of the time
    vectors = token_vectors(teacher)
    tokenizer = tokenizer_of(teacher)
    for word in ("insulin", "file", "the"):
        _, number, _ = tokenizer.encode(word).ids
        np.testing.assert_allclose(vectors[number], teacher.encode_query([word])[0], atol=1e-5)
    assert vectors.shape == (tokenizer.get_vocab_size(), teacher.dim)
    np.testing.assert_array_equal(token_vectors(teacher), vectors)


def test_two_threads_add_up_the_same_gradient_each_time():
    """Equal bytes after training rest on it."""
    numbers = np.random.default_rng(1).integers(20, size=30_000).astype(np.int32)
    texts = TokenLists(numbers, np.arange(0, 30_001, 10, dtype=np.int64))
    everything = batch(*range(len(texts)))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        gradients = []
        for _ in range(3):
            student = moved(StaticStudent(texts, START, unit=True, gate=3))
            student.forward(everything).flat.cumsum(dim=1).sum().backward()
            gradients.append([p.grad.numpy() for group in student.groups().values() for p in group])
    finally:
        torch.set_num_threads(threads)
    for again in gradients[1:]:
        for first, second in zip(gradients[0], again, strict=True):
            np.testing.assert_array_equal(second, first)
