"""How well a document answers a query: the definitions that every index is a fast path of, and is tested against.

Letters: B queries, C candidates, d dimension. Higher = better. A leading 1 in `docs` is a pool shared by the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from limbeck.errors import ShapeError
from limbeck.types import Metric, Reps, Sums

if TYPE_CHECKING:
    from torch import Tensor

    from limbeck.contracts import Score


def dot(query: Reps, docs: Reps | Sums) -> Tensor:
    """The inner product of single vectors.

    query    [B, 1, d]
    docs     [1, C, 1, d] shared by the batch | [B, C, 1, d] a list for each query; sums of codewords likewise
    returns  [B, C]; B·C·d multiply-adds, for sums B·C·M additions
    """
    if isinstance(docs, Sums) and len(docs.choice) in (1, len(query.vectors)):
        from limbeck.lookups import own_products, products

        return (products if len(docs.choice) == 1 else own_products)(query.flat, docs)
    query_Bd, docs_BCd = _single(query, docs)
    if docs_BCd.shape[0] == 1:
        return query_Bd @ docs_BCd[0].T
    return (docs_BCd @ query_Bd[:, :, None])[:, :, 0]


def negative_squared_distance(query: Reps, docs: Reps | Sums) -> Tensor:
    """-‖q - d‖², so that nearer is higher. Shapes and cost as `dot`, plus the norms."""
    query_Bd, docs_BCd = _single(query, docs)
    return (
        2 * dot(query, Reps.single(docs_BCd)) - query_Bd.square().sum(-1)[:, None] - docs_BCd.square().sum(-1)
    )


def for_metric(metric: Metric) -> Score:
    """The score that belongs to a metric: `dot` for "ip", `negative_squared_distance` for "l2"."""
    return {"ip": dot, "l2": negative_squared_distance}[metric]


def _single(query: Reps, docs: Reps | Sums) -> tuple[Tensor, Tensor]:
    query_Bd, docs_BCd = query.flat, docs.flat
    fits = query_Bd.ndim == 2 and docs_BCd.ndim == 3 and docs_BCd.shape[0] in (1, len(query_Bd))
    if not fits or query_Bd.shape[-1] != docs_BCd.shape[-1]:
        raise ShapeError(
            f"`query` is {tuple(query.vectors.shape)} and `docs` is {tuple(docs.vectors.shape)}; expected "
            "[B, 1, d] and [1 or B, C, 1, d] with the same B and d.\n\n"
            "Hint: documents are called with `candidates.ids`, which keeps the leading axis."
        )
    return query_Bd, docs_BCd
