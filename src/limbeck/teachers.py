"""Whose judgement is distilled: teachers give [B, C] scores without gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from limbeck import scores
from limbeck.errors import DataError
from limbeck.types import Batch, Candidates, Floats, Metric, Reps

if TYPE_CHECKING:
    from torch import Tensor


class DenseTeacher:
    """The scores of the uncompressed vectors, with which Distill-VQ needs no labels.

    documents  [N, d] float32, may be memory-mapped; C·d floats are gathered and B·C·d multiply-adds done in a call
    """

    def __init__(self, documents: Floats, *, metric: Metric) -> None:
        self.documents = documents
        self.score = scores.for_metric(metric)

    def __call__(self, batch: Batch, candidates: Candidates) -> Tensor:
        import torch

        if batch.vectors is None:
            raise DataError(
                "the dense teacher needs `batch.vectors`, the teacher's own query vectors; found None."
            )
        with torch.no_grad():
            docs = gathered(self.documents, candidates.ids)
            return self.score(Reps.single(batch.vectors), Reps.single(docs))


def gathered(vectors: Floats, ids: Tensor) -> Tensor:
    """The vectors [..., d] of rows `ids`: by torch, in parallel, where they lie in memory; else read from the map."""
    import torch

    if isinstance(vectors, np.memmap):
        return torch.from_numpy(np.asarray(vectors[ids.numpy()]))
    return torch.from_numpy(vectors).index_select(0, ids.flatten()).reshape(*ids.shape, vectors.shape[1])
