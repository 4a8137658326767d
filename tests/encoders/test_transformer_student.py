"""A student of the teacher's own layers: with all of them it is the teacher, and training leaves the teacher alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limbeck.documents import Live
from limbeck.encoders.export import export_onnx
from limbeck.encoders.fingerprint import check_pair, space_of
from limbeck.encoders.opening import open_encoder
from limbeck.encoders.static_student import tokenizer_of
from limbeck.encoders.student_starts import with_layers
from limbeck.encoders.texts import TextList
from limbeck.encoders.tokens import TokenLists, padded
from limbeck.encoders.transformer_student import TransformerStudent
from limbeck.errors import ConfigError
from limbeck.types import Batch

TEXTS = ["list files", "print the first lines of a file, with their numbers", "", "stop", "restart a service"]
ALL = (0, 1, 2, 3, 4, 5)


@pytest.fixture(scope="module")
def tokens(teacher):
    return TokenLists.of(tokenizer_of(teacher), TextList(TEXTS))


def vectors(student, *rows):
    return student.forward(Batch(rows=torch.tensor(rows))).flat


def test_a_student_with_every_layer_is_the_teacher(teacher, tokens):
    student = TransformerStudent(tokens, with_layers(teacher, ALL))
    found = vectors(student, 0, 1, 2, 3, 4).detach().numpy()
    np.testing.assert_allclose(found, teacher.encode_query(TEXTS), atol=1e-5)


def test_layers_are_those_asked_for_in_their_order(teacher, tokens):
    student = TransformerStudent(tokens, with_layers(teacher, (5, 2)))
    kept, whole = student.model[0].model.encoder.layer, teacher.model[0].model.encoder.layer
    assert len(kept) == 2
    for own, theirs in zip(kept, (whole[5], whole[2]), strict=True):
        for left, right in zip(own.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(left, right)


def test_a_text_has_the_same_vector_beside_a_longer_one(teacher, tokens):
    student = TransformerStudent(tokens, with_layers(teacher, (0, 5)))
    together = vectors(student, 0, 1, 3).detach()
    torch.testing.assert_close(together[0], vectors(student, 0)[0].detach(), atol=1e-5, rtol=1e-5)


def test_a_step_moves_the_student_and_never_the_teacher(teacher, tokens):
    before = [parameter.detach().clone() for parameter in teacher.model.parameters()]
    student = TransformerStudent(tokens, with_layers(teacher, (0, 5)))
    parameters = [parameter for group in student.groups().values() for parameter in group]
    assert len(parameters) == len(list(student.model.parameters()))
    optimiser = torch.optim.Adam(parameters, lr=1e-3)
    target = torch.from_numpy(teacher.encode_query(TEXTS))
    losses = []
    for _ in range(8):
        loss = (vectors(student, 0, 1, 2, 3, 4) - target).square().sum(dim=1).mean()
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < 0.5 * losses[0]
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.model.parameters(), strict=True))


@pytest.mark.parametrize("layers", [(0, 5), ALL])
def test_training_in_bfloat16_points_where_float32_does(teacher, tokens, layers):
    gradients = []
    for precision in ("float32", "bfloat16"):
        student = TransformerStudent(tokens, with_layers(teacher, layers), precision=precision)
        found = vectors(student, 0, 1, 2, 3, 4)
        assert found.dtype == torch.float32
        (found - torch.from_numpy(teacher.encode_query([*TEXTS[1:], TEXTS[0]]))).norm(dim=1).mean().backward()
        parameters = [parameter for group in student.groups().values() for parameter in group]
        assert {parameter.dtype for parameter in parameters} == {torch.float32}
        gradients.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
    assert not torch.equal(*gradients)
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


def test_without_gradient_its_vectors_are_float32s_whatever_it_trains_in(teacher, tokens):
    found = [
        TransformerStudent(tokens, with_layers(teacher, (0, 5)), precision=precision).vectors(np.arange(5))
        for precision in ("float32", "bfloat16")
    ]
    np.testing.assert_array_equal(*found)


def test_documents_are_stored_in_what_it_trains_in_a_little_blurred(teacher, tokens):
    student = TransformerStudent(tokens, with_layers(teacher, (0, 5)), precision="bfloat16")
    exact = student.vectors(np.arange(5))
    off = np.abs(Live(student, exact, first=0).stored() - exact).max()
    assert 0 < off < 0.01


def test_exported_it_is_an_encoder_of_the_teachers_space(teacher, tokens, tmp_path):
    encoder = TransformerStudent(tokens, with_layers(teacher, (0,))).encoder(teacher)
    export_onnx(encoder, tmp_path / "student", sample_texts=TEXTS, space=teacher.fingerprint)
    opened = open_encoder(tmp_path / "student", threads=1)
    np.testing.assert_allclose(opened.encode_query(TEXTS), encoder.encode_query(TEXTS), atol=1e-5)
    assert opened.fingerprint.weights != teacher.fingerprint.weights
    check_pair(space_of(opened), teacher.fingerprint)


def test_padding_stands_behind_and_is_masked():
    texts = TokenLists(np.array([7, 8, 9, 4], dtype=np.int32), np.array([0, 1, 4]))
    ids, mask = padded(texts, 1)
    np.testing.assert_array_equal(ids, [[7, 1, 1], [8, 9, 4]])
    np.testing.assert_array_equal(mask, [[1, 0, 0], [1, 1, 1]])


@pytest.mark.parametrize("layers", [(), (6,), (0, -1)])
def test_layers_that_the_teacher_does_not_have_are_refused(teacher, tokens, layers):
    with pytest.raises(ConfigError, match="0 to 5"):
        TransformerStudent(tokens, with_layers(teacher, layers))
