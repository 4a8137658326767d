"""An index over other documents with the codewords that it has: rows left out, and new vectors coded behind them.

Codes that stay are copied, never decoded; new ones are made with the codewords that assign and scored with those that
score. Letters: N documents, n new ones, d dimension.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError
from limbeck.index.compressed import CodeIndex
from limbeck.index.flat import Flat
from limbeck.index.sums import SumIndex
from limbeck.index.two_stage import TwoStageIndex
from limbeck.types import Codes, Floats

CHANGEABLE = (TwoStageIndex, CodeIndex, SumIndex, Flat)


def is_changeable(index: Any) -> bool:
    """Whether `changed` takes it: graphs and other engines are built anew."""
    return isinstance(index, CHANGEABLE)


def changed(index: Any, *, stay: NDArray[np.bool_], new: Floats) -> Any:
    """The same kind of index over the rows that stay, in their order, and new vectors [n, d] behind them.

    cost    one encoding of n vectors, and a copy of the codes
    raises  ConfigError for an index that is not `is_changeable`
    """
    if isinstance(index, TwoStageIndex):
        return index.changed(stay, new)
    if isinstance(index, CodeIndex):
        return index.over(_behind(index.codes, stay, index.quantiser.encode(new)))
    if isinstance(index, SumIndex):
        codes = _behind(index.codes, stay, index.quantiser.encode(new))
        return SumIndex(index.quantiser, codes, query_map=index.query_map, threads=index.threads)
    if isinstance(index, Flat):
        return Flat(
            np.concatenate([index.vectors[stay], new.astype(index.vectors.dtype)]), metric=index.metric
        )
    raise ConfigError(f"cannot change an index of type {type(index).__name__}; build it anew.")


def distortion(index: Any, vectors: Floats, codes_of: slice) -> float | None:
    """Mean squared error of rows of the index against their vectors [n, d], over the vectors' mean square."""
    decoded = _decoded(index, codes_of)
    if decoded is None or len(vectors) == 0:
        return None
    return float(np.square(decoded - vectors).sum() / max(float(np.square(vectors).sum()), 1e-30))


def _decoded(index: Any, rows: slice) -> Floats | None:
    if isinstance(index, TwoStageIndex):
        return index.decode(np.arange(len(index))[rows])
    if isinstance(index, (CodeIndex, SumIndex)):
        codes = index.codes
        some = Codes(codes.codes[rows], None if codes.lists is None else codes.lists[rows])
        found: Floats = index.quantiser.decode(some)
        return found
    return None


def _behind(codes: Codes, stay: NDArray[np.bool_], new: Codes) -> Codes:
    lists = None
    if codes.lists is not None and new.lists is not None:
        lists = np.concatenate([codes.lists[stay], new.lists])
    return Codes(np.concatenate([codes.codes[stay], new.codes]), lists)


def list_imbalance(index: Any) -> float | None:
    """L·Σ n_l²/N²: how many times as many documents are read as from lists of equal length. None without lists."""
    inner = index.first if isinstance(index, TwoStageIndex) else index
    lengths = getattr(inner, "list_lengths", None)
    if lengths is None or lengths.sum() == 0:
        return None
    return float(len(lengths) * np.square(lengths, dtype=np.float64).sum() / float(lengths.sum()) ** 2)
