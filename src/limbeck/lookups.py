"""Inner products with sums of codewords by table look-up, forwards and backwards: what asymmetric search does, trained.

Letters: B queries, C candidates, S slices of the space, M code parts, K codewords a part, w = d/S, d dimension.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from limbeck.types import Sums


def products(query: Tensor, docs: Sums) -> Tensor:
    """The inner products [B, C] of queries [B, d] with a pool of documents [1, C, ...], without their vectors.

    cost  tables B·M/S·K·d multiply-adds, then B·C·M additions; B·C·d for a base
    """
    slices = query.reshape(len(query), docs.slices, -1).permute(1, 2, 0)  # [S, w, B]
    codewords = docs.codewords.unflatten(0, (docs.slices, -1)).flatten(1, 2)  # [S, M/S·K, w]
    tables = (codewords @ slices).flatten(0, 1)  # [M·K, B]
    found: Tensor = _SumOfRows.apply(tables, docs.rows[0])  # type: ignore[no-untyped-call]
    found = found.T.contiguous()  # what reads it next goes along the candidates
    return found if docs.base is None else found + query @ docs.base[0].T


def own_products(query: Tensor, docs: Sums) -> Tensor:
    """The inner products [B, C] of queries [B, d] with a list of documents for each [B, C, ...], without their vectors.

    cost  tables as in `products`, then B·C·M additions; B·C·d for a base
    """
    slices = query.reshape(len(query), docs.slices, -1)
    codewords = docs.codewords.unflatten(0, (docs.slices, -1)).flatten(1, 2)
    tables = torch.einsum("bsw,sjw->bsj", slices, codewords)
    places = docs.rows.flatten(start_dim=1)  # [B, C·M]
    found = torch.gather(tables.flatten(start_dim=1), 1, places).reshape(docs.choice.shape).sum(dim=-1)
    return found if docs.base is None else found + (docs.base @ query[:, :, None])[:, :, 0]


class _SumOfRows(torch.autograd.Function):
    """The sums [C, B] of the rows [C, M] of tables [R, B]. Its gradient is the same: sums of the rows of a gradient.

    torch's own gradient of `embedding_bag` does this row by row on one thread, at about twice the time.
    """

    @staticmethod
    def forward(ctx: Any, tables: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.count = len(tables)
        return torch.nn.functional.embedding_bag(rows, tables.contiguous(), mode="sum")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        flat = rows.flatten().int()  # half the time of sorting int64
        readers = (
            torch.argsort(flat, stable=True) // rows.shape[1]
        )  # who read row 0, then who read row 1, ...
        counts = torch.bincount(flat, minlength=ctx.count)
        starts = counts.cumsum(0) - counts
        return torch.nn.functional.embedding_bag(readers, gradients[0].contiguous(), starts, mode="sum"), None
