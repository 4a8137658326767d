"""Where document representations come from in training, and with that, what is frozen.

`Bank` serves stored vectors; `Live` encodes anew in each step; `CodeBank` serves stored codes, so that gradient reaches
codewords and centroids only; `Requantised` chooses the codes anew in each step, straight through. `stored()` of each is
what the index is built from: training and serving cannot disagree.

Letters: N documents, C candidates, L lists, M code parts, K codewords a part, d dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from limbeck.errors import ConfigError
from limbeck.quantisers.engine import BLOCK_ROWS, encode_codes
from limbeck.quantisers.packing import unpack
from limbeck.types import Batch, Codes, Floats, Reps, Rows, Sums

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from limbeck.quantisers.product import ProductQuantiser
    from limbeck.quantisers.sums import SumQuantiser


LIVE_ROWS = 1024


class Reads(Protocol):
    """A student that knows its texts by their rows."""

    def forward(self, batch: Batch) -> Reps: ...


class Bank:
    """Frozen document vectors, gathered by row; they may be memory-mapped."""

    def __init__(self, vectors: Floats) -> None:
        self.vectors = vectors

    def __call__(self, ids: Tensor) -> Mapping[str, Reps]:
        import torch

        return {"docs": Reps.single(torch.from_numpy(np.asarray(self.vectors[ids.numpy()])))}

    def groups(self) -> Mapping[str, list[Parameter]]:
        return {}

    def stored(self) -> Floats:
        return self.vectors


class Live:
    """Documents that a student in training encodes itself: symmetric dual encoders, both sides of one tower.

    Views: "docs", the student's vectors of a pool, and "exact", the teacher's, both [1, C, 1, d].
    Cost of a call: C encodings, and their gradients.
    """

    def __init__(self, student: Reads, vectors: Floats, *, first: int) -> None:
        """first: the student's row of document 0; its parameters are named by the query side."""
        self.student = student
        self.vectors = vectors
        self.first = first

    def __call__(self, ids: Tensor) -> Mapping[str, Reps]:
        import torch

        if len(ids) != 1:
            raise ConfigError(
                f"documents that are encoded in each step need a pool shared by the batch, [1, C]; "
                f"found ids of shape {tuple(ids.shape)}.\n\nHint: put the negatives into `InBatch`."
            )
        own = self.student.forward(Batch(rows=ids[0] + self.first)).vectors[None]
        exact = torch.from_numpy(np.asarray(self.vectors[ids[0].numpy()]))[None]
        return {"docs": Reps(own), "exact": Reps.single(exact)}

    def groups(self) -> Mapping[str, list[Parameter]]:
        return {}

    def stored(self) -> Floats:
        """The student's vectors [N, d] of all documents.

        cost  one encoding of each by the student
        """
        import torch
        from tqdm import tqdm

        parts = []
        starts = range(0, len(self.vectors), LIVE_ROWS)
        with torch.no_grad():
            for start in tqdm(starts, desc="documents", unit="batch", delay=2, disable=None):
                rows = torch.arange(start, min(start + LIVE_ROWS, len(self.vectors))) + self.first
                parts.append(self.student.forward(Batch(rows=rows)).flat.numpy())
        return np.concatenate(parts)


class CodeBank:
    """Frozen codes under learned codewords: JPQ's and our own default for Distill-VQ.

    Views: "docs", base + codewords, [1|B, C, 1, d]; with coarse lists also "coarse", the base alone, and "lists",
    the routing vectors [1, L, 1, d]. All live in the rotated space, where the query must be put as well.
    Cost of a call: C·M gathered code bytes, and with lists C·d floats of bases; never C·K.
    """

    def __init__(self, quantiser: ProductQuantiser, codes: Codes) -> None:
        import torch

        self.quantiser = quantiser
        self.codes = codes
        parts = quantiser.parts()
        self.codewords = torch.nn.Parameter(torch.tensor(parts["score.codewords"]))  # [M, K, d/M]
        self.base = self.routing = None
        if codes.lists is not None:
            self.base = torch.nn.Parameter(torch.tensor(parts["base"]))  # [L, d]
            self.routing = torch.nn.Parameter(torch.tensor(parts["routing"]))  # [L, d]
            self.lists = torch.from_numpy(np.asarray(codes.lists))  # [N]
        self._choice = torch.from_numpy(unpack(codes.codes, bits=quantiser.bits))  # [N, M] uint8

    def __call__(self, ids: Tensor) -> Mapping[str, Reps | Sums]:
        coarse = self._coarse(ids)
        base = coarse if self.quantiser.by_residual else None
        docs = Sums(self.codewords, self._choice[ids].long(), slices=len(self.codewords), base=base)
        return {"docs": docs, **self._list_views(coarse)}

    def _coarse(self, ids: Tensor) -> Tensor | None:
        """The base centroid of each document [..., d]; None without lists."""
        import torch

        return None if self.base is None else torch.nn.functional.embedding(self.lists[ids], self.base)

    def _list_views(self, coarse: Tensor | None) -> Mapping[str, Reps]:
        if coarse is None or self.routing is None:
            return {}
        return {"coarse": Reps.single(coarse), "lists": Reps.single(self.routing[None])}

    def groups(self) -> Mapping[str, list[Parameter]]:
        """Parameters by the name that a recipe's learning rates use."""
        groups = {"codewords": [self.codewords]}
        if self.base is not None and self.routing is not None:
            groups |= {"base": [self.base], "routing": [self.routing]}
        return groups

    def learned(self) -> ProductQuantiser:
        """The quantiser with the codewords that score as they are now; those that assign are kept."""
        parts = {"score.codewords": self.codewords.detach().numpy().copy()}
        if self.base is not None and self.routing is not None:
            parts |= {
                "base": self.base.detach().numpy().copy(),
                "routing": self.routing.detach().numpy().copy(),
            }
        return self.quantiser.with_parts(parts)

    def stored(self) -> Codes:
        return self.codes


class Requantised(CodeBank):
    """Codes chosen anew in each step with the current codewords, with a straight-through gradient.

    Forward: the nearest codeword of each part. Backward: as if the choice were the soft-max over -distance, so that
    every codeword of a part gets gradient (Distill-VQ §3.3; its IVF assignment stays as it was, footnote 2).
    `stored()` encodes all documents again with the learned codewords, which then assign as well.
    Cost of a call: C·K·d multiply-adds and C·M·K floats.
    """

    def __init__(
        self, quantiser: ProductQuantiser, codes: Codes, vectors: Floats, *, temperature: float
    ) -> None:
        super().__init__(quantiser, codes)
        if codes.lists is not None and not quantiser.by_residual:
            raise ConfigError("re-encoding with lists needs `by_residual=True`; found False.")
        self.vectors = vectors
        self.temperature = temperature  # of the soft choice, in squared distance

    def __call__(self, ids: Tensor) -> Mapping[str, Reps | Sums]:
        import torch

        rotated = torch.from_numpy(
            self.quantiser.rotate_vectors(np.asarray(self.vectors[ids.reshape(-1).numpy()]))
        )
        target = rotated.reshape(*ids.shape, -1)
        coarse = self._coarse(ids)
        if coarse is None:
            return {"docs": Reps.single(self._straight_through(target))}
        docs = coarse + self._straight_through(target - coarse)
        return {"docs": Reps.single(docs), **self._list_views(coarse)}

    def _straight_through(self, target: Tensor) -> Tensor:
        import torch

        parts, size, width = self.codewords.shape
        sub = target.reshape(*target.shape[:-1], parts, width)  # [..., M, d/M]
        closeness = 2 * torch.einsum("...mw,mkw->...mk", sub, self.codewords) - self.codewords.square().sum(
            -1
        )
        soft = torch.softmax(closeness / self.temperature, dim=-1)
        hard = torch.nn.functional.one_hot(closeness.argmax(dim=-1), size).to(soft.dtype)
        choice = hard + soft - soft.detach()
        return torch.einsum("...mk,mkw->...mw", choice, self.codewords).flatten(start_dim=-2)

    def learned(self) -> ProductQuantiser:
        quantiser = super().learned()
        return quantiser.with_parts({"assign.codewords": quantiser.parts()["score.codewords"]})

    def stored(self) -> Codes:
        return encode_in_lists(self.learned(), self.vectors, self.codes.lists)


def encode_in_lists(quantiser: ProductQuantiser, vectors: Floats, lists: Rows | None) -> Codes:
    """New codes for documents that stay in the lists they are in; block by block, so maps stay on disk."""
    if lists is None:
        return quantiser.encode(vectors)
    parts = quantiser.parts()
    codes = np.empty((len(vectors), quantiser.code_bytes), dtype=np.uint8)
    for start in range(0, len(vectors), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        residual = quantiser.rotate_vectors(vectors[rows]) - parts["base"][lists[rows]]
        codes[rows] = encode_codes(residual, parts["assign.codewords"], bits=quantiser.bits)
    return Codes(codes, lists)


class SumBank:
    """Frozen codes under learned codewords that add up: what `Limbeck` trains.

    View: "docs", sums of codewords, in the space of the quantiser's slices. A call gathers C·M code bytes.
    """

    def __init__(self, quantiser: SumQuantiser, codes: Codes) -> None:
        import torch

        quantiser.check_codes(codes)
        self.quantiser = quantiser
        self.codes = codes
        self.codewords = torch.nn.Parameter(torch.tensor(quantiser.scoring_codewords()))  # [M, K, d/S]
        self._choice = torch.from_numpy(codes.codes)  # [N, M] uint8

    def __call__(self, ids: Tensor) -> Mapping[str, Reps | Sums]:
        return {"docs": Sums(self.codewords, self._choice[ids].long(), slices=self.quantiser.cut)}

    def groups(self) -> Mapping[str, list[Parameter]]:
        return {"codewords": [self.codewords]}

    def learned(self) -> SumQuantiser:
        """The quantiser with the codewords that score as they are now; those that assign are kept."""
        return self.quantiser.with_parts({"score.codewords": self.codewords.detach().numpy().copy()})

    def stored(self) -> Codes:
        return self.codes
