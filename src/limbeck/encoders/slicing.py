"""Layers of a BERT made narrower: what the wide one thinks, on fewer axes.

The hidden states of all layers lie mostly on a few principal axes [d, w]. Each map of the narrow one is fitted in its
turn by least squares, from what really reaches it there to what the wide one said at that place, on these axes: what
one map gets wrong the next can mend. Of attention heads and neurons those stay that add most.

Letters: T tokens, d and w the two widths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from limbeck.encoders.least_squares import affine_map
from limbeck.errors import ConfigError
from limbeck.types import Floats, Rows

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import BertModel

Batches: TypeAlias = "Sequence[tuple[Tensor, Tensor]]"  # token numbers and mask, [B, longest]

RIDGE = 1e-3
NEURONS = 4  # of a layer, in widths
EMBEDDED = "embeddings.LayerNorm"
PROJECTIONS = ("attention.self.query", "attention.self.key", "attention.self.value")
JOIN, NORM = "attention.output.dense", "attention.output.LayerNorm"  # of all heads
FEED, OUT, LAST = "intermediate.dense", "output.dense", "output.LayerNorm"


def sliced(wide: BertModel, width: int, batches: Batches, *, positions: int, seed: int) -> BertModel:
    """A BERT of this width with as many layers, fitted on texts of T tokens. The wide one is left as it is.

    positions  that it knows
    cost       for each layer a reading of the texts by the wide one and six by the narrow one; memory: 4·T·16·d bytes
    raises     ConfigError for other transformers than BERT, and a width that its heads do not divide
    """
    check_narrower(wide, width)
    norms = [EMBEDDED, *(f"{layer}{norm}" for layer in _layers(wide) for norm in (NORM, LAST))]
    states = {path: said for path, (_, said) in _passing(wide, norms, batches).items()}
    axes = _axes(list(states.values()), width, seed=seed)
    small = _start(wide, axes, positions=positions, seed=seed)
    _refit_norm(small, EMBEDDED, states[EMBEDDED] @ axes, batches)
    for layer in _layers(wide):
        _refit_layer(small, wide, layer, axes, batches)
    return small


def _layers(model: BertModel) -> list[str]:
    return [f"encoder.layer.{number}." for number in range(model.config.num_hidden_layers)]


def _axes(states: Sequence[Floats], width: int, *, seed: int) -> Floats:
    """[d, w]: the principal axes of all hidden states, turned at random: a layer norm subtracts the mean of the w
    numbers, which would else be mostly the largest axis.
    """
    gram = sum(one.T @ one for one in states)
    axes = np.linalg.eigh(gram)[1][:, ::-1][:, :width]
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]
    turned: Floats = (axes @ turn).astype(np.float32)
    return turned


def _start(wide: BertModel, axes: Floats, *, positions: int, seed: int) -> BertModel:
    """The narrow one with the wide one's embeddings on the axes; its layers are still to be fitted."""
    import torch
    from transformers import BertConfig, BertModel

    width = axes.shape[1]
    size = wide.config.hidden_size // wide.config.num_attention_heads
    settings = wide.config.to_dict() | {
        "hidden_size": width,
        "num_attention_heads": width // size,
        "intermediate_size": NEURONS * width,
        "max_position_embeddings": min(positions, wide.config.max_position_embeddings),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        small = BertModel(BertConfig.from_dict(settings)).eval()
    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        theirs, own = (getattr(model.embeddings, name).weight for model in (wide, small))
        with torch.no_grad():
            own.copy_(theirs[: len(own)] @ torch.from_numpy(axes))
    return small


def _refit_layer(small: BertModel, wide: BertModel, layer: str, axes: Floats, batches: Batches) -> None:
    theirs = _passing(wide, [layer + path for path in (*PROJECTIONS, JOIN, NORM, FEED, OUT, LAST)], batches)

    def refit(path: str, target: Floats) -> None:
        _refit(small, layer + path, _heard(small, layer + path, batches), target)

    def said(path: str) -> Floats:
        return theirs[layer + path][1]

    size = wide.config.hidden_size // wide.config.num_attention_heads
    heads = _largest(theirs[layer + JOIN][0], _weight(wide, layer + JOIN), size, axes.shape[1])
    neurons = _largest(theirs[layer + OUT][0], _weight(wide, layer + OUT), 1, small.config.intermediate_size)
    reaching = _heard(small, layer + PROJECTIONS[0], batches)
    for path in PROJECTIONS:
        _refit(small, layer + path, reaching, said(path)[:, heads])
    refit(JOIN, said(JOIN) @ axes)
    _refit_norm(small, layer + NORM, said(NORM) @ axes, batches)
    refit(FEED, said(FEED)[:, neurons])
    refit(OUT, said(OUT) @ axes)
    _refit_norm(small, layer + LAST, said(LAST) @ axes, batches)


def _largest(inputs: Floats, weight: Floats, size: int, count: int) -> Rows:
    """Which `count` inputs [T, ..] of a map [.., inputs] add most to what it gives; `size` neighbours go together."""
    groups = range(0, inputs.shape[1], size)
    added = []
    for start in groups:
        rows, columns = inputs[:, start : start + size], weight[:, start : start + size]
        added.append(((rows.T @ rows) * (columns.T @ columns)).sum())
    chosen = np.sort(np.argsort(added)[::-1][: count // size])
    numbers: Rows = (chosen[:, None] * size + np.arange(size)).ravel()
    return numbers


def _refit(small: BertModel, path: str, reaching: Floats, target: Floats) -> None:
    """A linear map from what reaches it to the target [T, ..]."""
    found = affine_map(reaching, target, ridge=RIDGE)
    _set(small, path, weight=found[:-1].T, bias=found[-1])


def _refit_norm(small: BertModel, path: str, target: Floats, batches: Batches) -> None:
    """Gain and shift of each number, from what is normalised there to the target [T, w]."""
    states = _heard(small, path, batches)
    states = states - states.mean(axis=1, keepdims=True)
    states /= np.sqrt(np.square(states).mean(axis=1, keepdims=True) + small.config.layer_norm_eps)
    centre, goal = states.mean(axis=0), target.mean(axis=0)
    gain = ((states - centre) * (target - goal)).sum(axis=0) / np.square(states - centre).sum(axis=0)
    _set(small, path, weight=gain, bias=goal - centre * gain)


def _set(model: BertModel, path: str, *, weight: Floats, bias: Floats) -> None:
    import torch

    module: Any = model.get_submodule(path)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight, np.float32)))
        module.bias.copy_(torch.from_numpy(np.ascontiguousarray(bias, np.float32)))


def _weight(model: BertModel, path: str) -> Floats:
    module: Any = model.get_submodule(path)
    weight: Floats = module.weight.detach().numpy()
    return weight


def _heard(model: BertModel, path: str, batches: Batches) -> Floats:
    """What reaches this module [T, ..]."""
    return _passing(model, [path], batches)[path][0]


def _passing(model: BertModel, paths: Sequence[str], batches: Batches) -> dict[str, tuple[Floats, Floats]]:
    """What reaches each module, and what it gives, [T, ..]: of tokens that are no padding."""
    import torch

    caught: dict[str, tuple[Tensor, Tensor]] = {}

    def catching(path: str) -> Callable[..., None]:
        return lambda _module, inputs, output: caught.update({path: (inputs[0], output)})

    hooks = [model.get_submodule(path).register_forward_hook(catching(path)) for path in paths]
    parts: dict[str, list[list[Floats]]] = {path: [] for path in paths}
    try:
        with torch.no_grad():
            for ids, mask in batches:
                model(input_ids=ids, attention_mask=mask, token_type_ids=torch.zeros_like(ids))
                for path in paths:
                    parts[path].append([states[mask.bool()].numpy() for states in caught[path]])
    finally:
        for hook in hooks:
            hook.remove()
    return {
        path: (np.concatenate([one[0] for one in found]), np.concatenate([one[1] for one in found]))
        for path, found in parts.items()
    }


def check_narrower(wide: BertModel, width: int) -> None:
    """ConfigError unless this is a BERT, and the width is one of fewer whole heads."""
    config = wide.config
    if type(wide).__name__ != "BertModel":
        raise ConfigError(
            f"only a BERT can be made narrower; found {type(wide).__name__}.\n\n"
            "Hint: NarrowQueries(new=True) starts with new layers, of any teacher."
        )
    size = config.hidden_size // config.num_attention_heads
    if width % size or not 0 < width < config.hidden_size:
        raise ConfigError(
            f"`width` must be a multiple of {size}, a head's, below {config.hidden_size}; found {width}.\n\n"
            "Hint: two thirds of the teacher's keep most."
        )
