"""What every index checks before it searches: the engine's own checks are bare assertions, or none."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError, DataError, ShapeError
from limbeck.quantisers.engine import MOST, is_bounded
from limbeck.types import Floats, Reps

LARGEST_K = 10_000  # hits a query; more is refused unless the index holds that many rows


def query_vectors(query: Reps, *, dim: int) -> Floats:
    """[B, d] float32 of queries with one vector each; refuses other widths, NaN and infinity."""
    vectors = query.flat if isinstance(query, Reps) else _not_reps(query)
    array = np.asarray(vectors)
    if array.ndim != 2:
        raise ShapeError(f"queries have shape {array.shape} without their vector axis; must be [B, {dim}].")
    if array.dtype.kind != "f":
        raise DataError(f"queries hold {array.dtype}; must be float16, float32 or float64.")
    if array.shape[1] != dim:
        raise ShapeError(
            f"queries have {array.shape[1]} dimensions, but the index has {dim}.\n\n"
            "Hint: encode queries with the encoder that the index was built for."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        floats = np.ascontiguousarray(array, dtype=np.float32)
    if not is_bounded(floats):  # the row is looked up only when there is one
        bad = np.flatnonzero(~(np.abs(floats) <= MOST).all(axis=1))
        raise DataError(
            f"query vector {bad[0]} contains NaN or Inf, or numbers beyond {MOST:.0e} "
            f"({len(bad)} of {len(floats)} queries do)."
        )
    return floats


def hits_wanted(k: Any, *, size: int) -> int:
    """The number k as an int of at least 1; numpy integers are fine, floats and strings are not."""
    try:
        number = operator.index(k)
    except TypeError:
        raise ConfigError(f"`k` must be a whole number, got {k!r}.") from None
    most = max(size, LARGEST_K)
    if not 1 <= number <= most:
        raise ConfigError(f"`k` must be in 1..{most} for an index of {size} rows, got {number}.")
    return number


def allowed_rows(allowed: NDArray[np.bool_] | None, *, size: int) -> NDArray[np.bool_] | None:
    """The mask [N] as given, or None where it leaves nothing out."""
    if allowed is None:
        return None
    mask = np.asarray(allowed)
    if mask.dtype != np.bool_ or mask.shape != (size,):
        raise ShapeError(
            f"`allowed` is {mask.dtype} {mask.shape}; must be bool [{size}], True = may be found."
        )
    return None if mask.all() else mask


def checked_effort(effort: float | None) -> float | None:
    """Effort in (0, 1], or None for the default of the index."""
    if effort is None:
        return None
    if not (isinstance(effort, (int, float)) and math.isfinite(effort) and 0 < effort <= 1):
        raise ConfigError(f"`effort` must be above 0 and at most 1 (exhaustive), got {effort!r}.")
    return float(effort)


def checked_map(query_map: Any, *, dim: int) -> Floats:
    """A copy of a query map [d, d] as float32, finite."""
    floats = np.array(query_map, dtype=np.float32, order="C")
    if floats.shape != (dim, dim):
        raise ShapeError(f"`query_map` has shape {floats.shape}; must be [{dim}, {dim}].")
    if not is_bounded(floats):
        raise DataError(f"`query_map` holds NaN or infinite values, or some beyond {MOST:.0e}.")
    return floats


def _not_reps(query: Any) -> Any:
    raise DataError(
        f"`query` is a {type(query).__name__}; must be Reps.\n\n"
        "Hint: `Reps.single(vectors)` for vectors [B, d]."
    )
