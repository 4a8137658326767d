"""A transformer in training as query encoder: some layers of the teacher, and all that stands around them."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.encoders.sentence import SentenceEncoder
from limbeck.encoders.tokens import TokenLists
from limbeck.errors import ConfigError
from limbeck.types import Batch, Reps, Rows

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import ModuleList, Parameter


TOGETHER = 32  # texts padded to one length: half the time of a whole batch padded to its longest


class TransformerStudent:
    """Trains from token lists, by the rows of a batch; dropout is off, as in the teacher.

    cost  of a step: three times the encoding of the batch, texts of like length together
    """

    def __init__(self, texts: TokenLists, teacher: SentenceEncoder, *, layers: Sequence[int]) -> None:
        """layers: which of the teacher's, from 0, in this order."""
        self.texts = texts
        self.model = with_layers(teacher.in_float32().model, layers)
        self._names = frozenset(self.model[0].tokenizer.model_input_names)
        self._pad = int(self.model[0].tokenizer.pad_token_id)

    def forward(self, batch: Batch) -> Reps:
        """[B, 1, d] with gradient."""
        import torch

        rows = np.asarray(batch.rows)
        order = np.argsort(self.texts.starts[rows + 1] - self.texts.starts[rows], kind="stable")
        parts = [
            self._encoded(rows[order[start : start + TOGETHER]]) for start in range(0, len(rows), TOGETHER)
        ]
        return Reps.single(torch.cat(parts)[torch.from_numpy(np.argsort(order))])

    def _encoded(self, rows: Rows) -> Tensor:
        import torch

        ids, mask = padded(self.texts.take(rows), self._pad)
        features = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        if "token_type_ids" in self._names:
            features["token_type_ids"] = torch.zeros_like(features["input_ids"])
        vectors: Tensor = self.model(features)["sentence_embedding"]
        return vectors

    def groups(self) -> Mapping[str, list[Parameter]]:
        """The token vectors, which are most of the numbers, apart from all the rest."""
        tokens = list(self.model[0].model.get_input_embeddings().parameters())
        known = {id(parameter) for parameter in tokens}
        rest = [parameter for parameter in self.model.parameters() if id(parameter) not in known]
        return {"tokens": tokens, "layers": rest}

    def encoder(self, teacher: SentenceEncoder) -> SentenceEncoder:
        """What is judged and exported: these very parameters, in float32, in the teacher's space."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
        fingerprint = replace(teacher.fingerprint, weights=digest.hexdigest(), precision="float32")
        return teacher.with_model(self.model, fingerprint)


def padded(texts: TokenLists, pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Token numbers and mask [B, longest], int64; what is missing at the end is `pad` and 0."""
    lengths = np.diff(texts.starts)
    mask = np.arange(int(lengths.max(initial=1))) < lengths[:, None]
    ids = np.full(mask.shape, pad, dtype=np.int64)
    ids[mask] = texts.numbers
    return ids, mask.astype(np.int64)


def with_layers(model: Any, layers: Sequence[int]) -> Any:
    """A copy of a sentence-transformers model that keeps these layers of its transformer, from 0, in this order.

    raises  ConfigError where there are no such layers
    """
    import torch

    stack = _stack(model[0].model)
    wrong = [layer for layer in layers if not 0 <= layer < len(stack)]
    if wrong or not layers:
        raise ConfigError(
            f"`layers` must name at least one of the teacher's, 0 to {len(stack) - 1}; found {tuple(layers)}."
        )
    kept = torch.nn.ModuleList(copy.deepcopy(stack[layer]) for layer in layers)
    copied = copy.deepcopy(
        model, {id(stack): kept}
    ).eval()  # with these for the stack: the others are never copied
    copied[0].model.config.num_hidden_layers = len(layers)
    for parameter in copied.parameters():
        parameter.requires_grad_()
    return copied


def _stack(model: Any) -> ModuleList:
    """The transformer's layers."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == model.config.num_hidden_layers:
            return module
    raise ConfigError(
        f"{type(model).__name__} has no list of {model.config.num_hidden_layers} layers to choose from.\n\n"
        "Hint: a static student learns from any teacher."
    )
