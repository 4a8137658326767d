"""What was kept and what it costs: measures, overlap with exact search, tests, cost, reports, plots.

Nothing heavy is imported here: ir-measures, rich, faiss and matplotlib load where they are needed.
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
from limbeck.evaluate.plot import plot_quality_against_bytes
from limbeck.evaluate.relaxed import relaxed_recall
from limbeck.evaluate.report import Report
from limbeck.evaluate.row import Row

__all__ = [
    "DEFAULT_MEASURES",
    "Comparison",
    "Cost",
    "Equivalence",
    "Interval",
    "Report",
    "Row",
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
    "plot_quality_against_bytes",
    "relaxed_recall",
    "score_hits",
    "score_run",
]
