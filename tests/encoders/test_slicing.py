"""Layers of MiniLM made narrower: nearer the wider they are, and each step of the fit against its plain definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limbeck.encoders.slicing import _axes, _largest, _passing, _refit_norm, sliced
from limbeck.encoders.static_student import tokenizer_of
from limbeck.encoders.student_starts import narrow, narrowed, with_layers
from limbeck.encoders.texts import TextList
from limbeck.encoders.tokens import TokenLists, padded
from limbeck.errors import ConfigError

LAYERS = (0, 5)
LAST = "encoder.layer.1.output.LayerNorm"


@pytest.fixture(scope="module")
def tokens(teacher, tldr_queries):
    return TokenLists.of(tokenizer_of(teacher), TextList(tldr_queries[:700]))


@pytest.fixture(scope="module")
def wide(teacher):
    return with_layers(teacher, LAYERS).model[0].model


def batches_of(tokens, rows):
    groups = (rows[start : start + 64] for start in range(0, len(rows), 64))
    return [tuple(map(torch.from_numpy, padded(tokens.take(group), 0))) for group in groups]


def explained(vectors, targets):
    """The share of the targets' spread that the best linear map of the vectors explains, on the second half."""
    half = len(vectors) // 2
    centred, goal = vectors - vectors[:half].mean(axis=0), targets - targets[:half].mean(axis=0)
    gram = centred[:half].T @ centred[:half]
    gram[np.diag_indices_from(gram)] += 1e-2 * np.trace(gram) / len(gram)
    weight = np.linalg.solve(gram, centred[:half].T @ goal[:half])
    left = goal[half:] - centred[half:] @ weight
    return 1 - np.square(left).sum() / np.square(goal[half:]).sum()


def test_the_wider_the_nearer_and_all_nearer_than_new_layers(teacher, tokens, tldr_queries):
    texts = tldr_queries[700:1500]
    targets = with_layers(teacher, LAYERS).encode_query(texts)
    found = [
        explained(narrowed(teacher, LAYERS, width=width, texts=tokens, seed=0).encode_query(texts), targets)
        for width in (64, 192)
    ]
    new = explained(narrow(teacher, width=192, layers=2, seed=0).encode_query(texts), targets)
    assert found[0] < found[1]
    assert new < found[1]


def test_the_wide_one_is_left_as_it_is_and_a_seed_draws_the_same(wide, tokens):
    before = {name: tensor.clone() for name, tensor in wide.state_dict().items()}
    batches = batches_of(tokens, np.arange(64))
    first, second = (sliced(wide, 64, batches, positions=128, seed=3) for _ in range(2))
    assert all(torch.equal(before[name], tensor) for name, tensor in wide.state_dict().items())
    assert not any(module._forward_hooks for module in wide.modules())
    other = second.state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in first.state_dict().items())


def test_what_passes_a_module_is_that_of_each_text_alone(wide, tokens):
    rows = np.arange(20)
    _, said = _passing(wide, [LAST], batches_of(tokens, rows))[LAST]
    alone = []
    for row in rows:
        ids = torch.from_numpy(tokens.take(np.array([row])).numbers).long()[None]
        with torch.no_grad():
            alone.append(wide(input_ids=ids).last_hidden_state[0].numpy())
    np.testing.assert_allclose(said, np.concatenate(alone), atol=1e-5)


def test_axes_are_orthonormal_and_hold_what_principal_axes_hold():
    states = np.random.default_rng(0).normal(size=(500, 12)).astype(np.float32) * np.arange(1, 13)
    axes = _axes([states[:300], states[300:]], 4, seed=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(4), atol=1e-5)
    values = np.linalg.svd(states, compute_uv=False)
    assert np.square(states @ axes).sum() == pytest.approx(np.square(values[:4]).sum(), rel=1e-4)


def test_groups_that_add_most_are_those_of_the_plain_sum():
    rng = np.random.default_rng(1)
    inputs, weight = rng.normal(size=(40, 12)), rng.normal(size=(5, 12))
    parts = [inputs[:, start : start + 3] @ weight[:, start : start + 3].T for start in range(0, 12, 3)]
    best = sorted(sorted(range(4), key=lambda group: -np.square(parts[group]).sum())[:2])
    expected = [3 * group + place for group in best for place in range(3)]
    assert _largest(inputs, weight, 3, 6).tolist() == expected


def test_a_layer_norm_takes_the_gain_and_shift_that_the_target_was_made_with(wide, tokens):
    batches = batches_of(tokens, np.arange(30))
    small = sliced(wide, 64, batches, positions=128, seed=0)
    (heard, _) = _passing(small, [LAST], batches)[LAST]
    rng = np.random.default_rng(2)
    gain, shift = rng.uniform(0.5, 2, size=64), rng.normal(size=64)
    normal = torch.nn.functional.layer_norm(torch.from_numpy(heard), (64,), eps=1e-12).numpy()
    _refit_norm(small, LAST, normal * gain + shift, batches)
    module = small.get_submodule(LAST)
    np.testing.assert_allclose(module.weight.detach().numpy(), gain, rtol=1e-3)
    np.testing.assert_allclose(module.bias.detach().numpy(), shift, atol=1e-3)


@pytest.mark.parametrize("width", [100, 384, 0])
def test_widths_that_heads_do_not_divide_are_refused(teacher, tokens, width):
    with pytest.raises(ConfigError, match="multiple of 32, a head's, below 384"):
        narrowed(teacher, LAYERS, width=width, texts=tokens, seed=0)


def test_other_transformers_than_bert_are_refused_with_a_way_out():
    from transformers import DistilBertConfig, DistilBertModel

    sizes = {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64, "vocab_size": 50}
    with pytest.raises(ConfigError, match="new=True"):
        sliced(DistilBertModel(DistilBertConfig(**sizes)), 16, [], positions=16, seed=0)
