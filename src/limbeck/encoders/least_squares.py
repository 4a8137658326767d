"""Linear maps by least squares with a ridge: where students begin."""

from __future__ import annotations

import numpy as np

from limbeck.types import Floats

RIDGE = 1e-2


def linear_map(inputs: Floats, targets: Floats, *, ridge: float = RIDGE) -> Floats:
    """The map [w, d] of rows [N, w] to rows [N, d], without a constant.

    ridge  times the mean square of an input: directions in which inputs hardly differ get no large weights, under which
           a small step of the student would throw the mapped vector far. A layer norm leaves one such direction
    """
    rows, goal = (np.asarray(array, dtype=np.float64) for array in (inputs, targets))
    gram = rows.T @ rows
    gram[np.diag_indices_from(gram)] += ridge * np.trace(gram) / len(gram)
    found: Floats = np.linalg.lstsq(gram, rows.T @ goal, rcond=None)[0]
    return found


def affine_map(inputs: Floats, targets: Floats, *, ridge: float = RIDGE) -> Floats:
    """The map [w + 1, d] of [..., w] to [..., d]; its last row is added."""
    flat = np.asarray(inputs, dtype=np.float64).reshape(-1, inputs.shape[-1])
    goal = np.asarray(targets, dtype=np.float64).reshape(len(flat), -1)
    centre, goal_centre = flat.mean(axis=0), goal.mean(axis=0)
    weights = linear_map(flat - centre, goal - goal_centre, ridge=ridge)
    return np.concatenate([weights, (goal_centre - centre @ weights)[None]]).astype(np.float32)
