"""Query vectors that are there already, as the query side of a system: what the vector recipes train with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from limbeck.errors import DataError
from limbeck.types import Batch, Floats, Reps

if TYPE_CHECKING:
    from torch.nn import Parameter


class GivenQueries:
    """The teacher's query vectors, optionally moved by a learned linear map, then rotated into the codes' space.

    The map starts at zero: q + q·Wᵀ, so that step 0 ranks as before. d² numbers; d² multiply-adds a query.
    """

    def __init__(
        self, dim: int, *, rotation: Floats | None, learn_map: bool, start: Floats | None = None
    ) -> None:
        """`start` is a map [d, d] that was learnt before, to go on from or to keep."""
        import torch

        self.rotation = None if rotation is None else torch.from_numpy(np.asarray(rotation))
        self.shift = torch.nn.Parameter(torch.zeros(dim, dim)) if learn_map else None
        if start is not None:
            self.shift = torch.nn.Parameter(torch.from_numpy(start - np.eye(dim, dtype=np.float32)))

    def forward(self, batch: Batch) -> Reps:
        if batch.vectors is None:
            raise DataError("this query side needs `batch.vectors`; found None. Encode the queries first.")
        vectors = batch.vectors
        if self.shift is not None:
            vectors = vectors + vectors @ self.shift.T
        if self.rotation is not None:
            vectors = vectors @ self.rotation.T
        return Reps.single(vectors)

    def groups(self) -> Mapping[str, list[Parameter]]:
        return {} if self.shift is None else {"query": [self.shift]}

    def query_map(self) -> Floats | None:
        """The learned map as one matrix, for the index: q @ query_map.T; None when none was learned."""
        if self.shift is None:
            return None
        learned: Floats = self.shift.detach().numpy() + np.eye(len(self.shift), dtype=np.float32)
        return learned
