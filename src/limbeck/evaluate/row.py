"""One system of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from limbeck.evaluate.compare import Interval, interval
from limbeck.evaluate.cost import Cost
from limbeck.evaluate.measures import Scores


@dataclass(frozen=True, slots=True)
class Row:
    """One system: its measures with intervals, and its cost."""

    system: str
    measures: Mapping[str, Interval]
    cost: Cost = field(default_factory=Cost)
    method: str = (
        ""  # systems of one method at several sizes make one line in a plot; the system's name if empty
    )
    is_exact: bool = False  # exact search with the vectors themselves: what the others are held against

    @classmethod
    def of(
        cls,
        system: str,
        scores: Scores,
        *,
        cost: Cost | None = None,
        method: str = "",
        is_exact: bool = False,
        level: float = 0.95,
        draws: int = 10_000,
        seed: int = 0,
    ) -> Row:
        """A row from scores, with bootstrap intervals; `scores.plus("overlap@10", ...)` adds the overlap."""
        intervals = {
            measure: interval(scores.of(measure), level=level, draws=draws, seed=seed)
            for measure in scores.measures
        }
        return cls(system, intervals, cost or Cost(), method, is_exact)
