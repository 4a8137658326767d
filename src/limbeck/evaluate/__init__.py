"""What was kept and what it costs: measures, overlap with exact search, tests, equivalence, cost, reports, plots.

Nothing heavy is imported here: ir-measures, rich, faiss and matplotlib are loaded by the functions that need them.
"""

from limbeck.evaluate.compare import (
    Comparison,
    Equivalence,
    Interval,
    adjust,
    compare_systems,
    equivalence,
    holm,
    interval,
    paired_interval,
    permutation_test,
)
from limbeck.evaluate.cost import Cost, Speed, bytes_per_document, measure_search, peak_memory
from limbeck.evaluate.measures import DEFAULT_MEASURES, Scores, score_hits, score_run
from limbeck.evaluate.overlap import overlap
from limbeck.evaluate.relaxed import relaxed_recall

__all__ = [
    "DEFAULT_MEASURES",
    "Comparison",
    "Cost",
    "Equivalence",
    "Interval",
    "Scores",
    "Speed",
    "adjust",
    "bytes_per_document",
    "compare_systems",
    "equivalence",
    "holm",
    "interval",
    "measure_search",
    "overlap",
    "paired_interval",
    "peak_memory",
    "permutation_test",
    "relaxed_recall",
    "score_hits",
    "score_run",
]
