"""A transformer in training as query encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from limbeck.encoders.precision import Chosen, multiplying_in
from limbeck.encoders.sentence import SentenceEncoder
from limbeck.encoders.tokens import TokenLists, padded
from limbeck.types import Batch, Floats, Reps, Rows

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter


TOGETHER = 32  # texts padded to one length: half the time of a whole batch padded to its longest


class TransformerStudent:
    """Trains from token lists, by the rows of a batch; dropout is off, as in the teacher.

    cost  of a step: three times the encoding of the batch, texts of like length together
    """

    def __init__(self, texts: TokenLists, start: SentenceEncoder, *, precision: Chosen = "float32") -> None:
        """What moves is `start` itself.

        start      in float32, of `encoders.student_starts`
        precision  what the transformer multiplies in; parameters and the encoder that comes out are float32
        """
        self.texts = texts
        self.model = start.model.eval()
        for parameter in self.model.parameters():
            parameter.requires_grad_()
        self._start = start
        self._precision: Chosen = precision
        last = type(self.model[-1]).__name__
        self._made_unit = start.fingerprint.normalise and last != "Normalize"
        self._names = frozenset(self.model[0].tokenizer.model_input_names)
        self._pad = int(self.model[0].tokenizer.pad_token_id)

    def forward(self, batch: Batch) -> Reps:
        """[B, 1, d] with gradient."""
        return Reps.single(self._encoded(np.asarray(batch.rows), self._precision))

    def vectors(self, rows: Rows) -> Floats:
        """[B, d] of these texts in float32, as they are now."""
        import torch

        with torch.no_grad():
            found: Floats = self._encoded(rows, "float32").numpy()
        return found

    def _encoded(self, rows: Rows, precision: Chosen) -> Tensor:
        """[B, d], texts of like length together."""
        import torch

        order = np.argsort(self.texts.starts[rows + 1] - self.texts.starts[rows], kind="stable")
        parts = [
            self._together(rows[order[start : start + TOGETHER]], precision)
            for start in range(0, len(rows), TOGETHER)
        ]
        return torch.cat(parts)[torch.from_numpy(np.argsort(order))]

    def _together(self, rows: Rows, precision: Chosen) -> Tensor:
        import torch

        ids, mask = padded(self.texts.take(rows), self._pad)
        features: dict[str, Tensor] = {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
        }
        if "token_type_ids" in self._names:
            features["token_type_ids"] = torch.zeros_like(features["input_ids"])
        with multiplying_in(precision):  # the transformer alone
            features = self.model[0](features)
        features["token_embeddings"] = features["token_embeddings"].float()
        for module in list(self.model)[1:]:
            features = module(features)
        vectors: Tensor = features["sentence_embedding"]
        return torch.nn.functional.normalize(vectors, dim=1) if self._made_unit else vectors

    def groups(self) -> Mapping[str, list[Parameter]]:
        """The token vectors, which are most of the numbers, apart from all the rest."""
        tokens = list(self.model[0].model.get_input_embeddings().parameters())
        known = {id(parameter) for parameter in tokens}
        rest = [parameter for parameter in self.model.parameters() if id(parameter) not in known]
        return {"tokens": tokens, "layers": rest}

    def encoder(self, teacher: SentenceEncoder) -> SentenceEncoder:
        """What is judged and exported: these very parameters, whose vectors lie in the teacher's space."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
        return self._start.with_model(
            self.model, replace(self._start.fingerprint, weights=digest.hexdigest())
        )
