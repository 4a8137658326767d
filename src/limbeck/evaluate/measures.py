"""Scores of ranked lists, query by query, with the names and the definitions of ir-measures.

One tie rule: the order of the hits decides. Searching puts equal scores in ascending order of document row,
and what reaches ir-measures are strictly decreasing scores, because its providers break ties in different
ways: with three tied documents and the relevant one first by id, RR@10 was 1.0 but RR 0.333 and nDCG@10 0.5
(ir-measures 0.4.3).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError, DataError, MissingExtra, ShapeError
from limbeck.evaluate.formulas import formula_of
from limbeck.evaluate.judged import Judged, judge
from limbeck.types import Hits, Rows

if TYPE_CHECKING:
    from limbeck.data.labels import Labels, Qrels
    from limbeck.data.run import Run

logger = logging.getLogger(__name__)

DEFAULT_MEASURES = ("RR@10", "R@100", "nDCG@10")
Results: TypeAlias = "Run | Mapping[str, Mapping[str, float]]"  # query id -> document id -> score
Gains: TypeAlias = "Qrels | Mapping[str, Mapping[str, float]]"  # query id -> document id -> gain


@dataclass(frozen=True, slots=True)
class Scores:
    """The value of each measure for each query that has labels, in query order.

    values      [Q, n_measures] float64, finite
    query_rows  [Q] int64, where these queries stood among all that were searched
    unlabelled  how many were searched but left out, because nothing says what is relevant to them
    """

    measures: tuple[str, ...]
    values: NDArray[np.float64]
    query_ids: tuple[str, ...]
    query_rows: Rows
    unlabelled: int = 0

    def __len__(self) -> int:
        return len(self.values)

    def of(self, measure: str) -> NDArray[np.float64]:
        """[Q] the values of one measure."""
        return self.values[:, self._column(measure)]

    def mean(self, measure: str) -> float:
        """The arithmetic mean over the queries that have labels."""
        return float(self.of(measure).mean())

    def means(self) -> dict[str, float]:
        """Every measure's mean, by name."""
        return {measure: self.mean(measure) for measure in self.measures}

    def plus(self, measure: str, values: NDArray[np.floating[Any]]) -> Scores:
        """The same with one more measure: values [Q], e.g. `overlap(hits, exact)[scores.query_rows]`."""
        if np.shape(values) != (len(self),):
            raise ShapeError(
                f"`values` has shape {np.shape(values)}, expected ({len(self)},): one for each query "
                "with labels.\n\n"
                "Hint: take `values[scores.query_rows]`."
            )
        if measure in self.measures:
            raise ConfigError(f"`{measure}` is measured already: {', '.join(self.measures)}.")
        column = np.asarray(values, dtype=np.float64)[:, None]
        return replace(
            self, measures=(*self.measures, measure), values=np.concatenate([self.values, column], axis=1)
        )

    def _column(self, measure: str) -> int:
        if measure in self.measures:
            return self.measures.index(measure)
        name = str(parse_measure(measure))
        if name not in self.measures:
            raise ConfigError(f"`{measure}` was not measured; there are {', '.join(self.measures)}.")
        return self.measures.index(name)


def score_hits(
    hits: Hits,
    labels: Labels,
    measures: Sequence[str] = DEFAULT_MEASURES,
    *,
    ignore_identical: Rows | None = None,
    query_ids: Sequence[str] | None = None,
) -> Scores:
    """How well each query's hits agree with its labels.

    hits              [B, k] rows, best first; a -1 is no hit
    labels            one row of documents and gains for each query; B rows
    measures          as ir-measures spells them: `RR@10`, `R@100`, `nDCG@10`, `RR(rel=2)@10`, `AP`,
                      `Judged@10` ...
    ignore_identical  [B] the document that has the query's own id, -1 where none has: it is dropped from the
                      hits, as BEIR does on its duplicate-question sets. Search one deeper where you use it.
    query_ids         [B] names for the rows; their numbers when left out
    cost              RR, R, P, nDCG, Success: 0.02 s for 4,000 x 100; any other measure goes through
                      ir-measures and takes about 25 times as long
    raises            ConfigError for a measure that ir-measures does not know or that looks deeper than the
                      hits; DataError when no query has a label, a document comes twice, or a gain is not
                      a whole number; MissingExtra without ir-measures
    """
    _check_rows(hits, labels, query_ids)
    parsed = [parse_measure(measure) for measure in measures]
    _check_depth(parsed, hits.ids.shape[1])
    names = query_ids if query_ids is not None else [str(row) for row in range(len(hits))]
    ids = hits.ids if ignore_identical is None else _without(hits.ids, ignore_identical)
    return _score(judge(ids, labels.indptr, labels.documents, labels.gains), parsed, names)


def score_run(
    run: Results,
    qrels: Gains,
    measures: Sequence[str] = DEFAULT_MEASURES,
    *,
    ignore_identical: bool = False,
    document_rows: Mapping[str, int] | None = None,
) -> Scores:
    """The same for string ids: a run and qrels from any tool.

    Queries come in the order of the qrels; one that the run does not hold scores 0, as in trec_eval. Scores
    that tie are ordered by `document_rows` (the corpus's order) where given, else by document id.

    raises  DataError when the run and the qrels share no query id, ConfigError as `score_hits` does
    """
    found, gains = _as_dict(run), _as_dict(qrels)
    parsed = [parse_measure(measure) for measure in measures]
    queries = [query for query, labelled in gains.items() if labelled]
    _check_shared_ids(found, queries)
    unlabelled = len(found.keys() - set(queries))
    numbers: dict[str, int] = {}
    lists = [
        _ordered(found.get(query, {}), document_rows, leave_out=query if ignore_identical else None)
        for query in queries
    ]
    ids = np.full((len(queries), max(map(len, lists), default=0)), -1, dtype=np.int64)
    for row, documents in enumerate(lists):
        ids[row, : len(documents)] = [numbers.setdefault(document, len(numbers)) for document in documents]
    labels = [[numbers.setdefault(document, len(numbers)) for document in gains[query]] for query in queries]
    indptr = np.cumsum([0, *map(len, labels)])
    flat = np.array([document for row in labels for document in row], dtype=np.int64)
    values = np.array([gain for query in queries for gain in gains[query].values()], dtype=np.float64)
    if len(numbers) == sum(map(len, lists)) + len(set(flat.tolist())) and any(lists):
        logger.warning(
            "no document id of the qrels occurs anywhere in the run: %r against %r",
            next(iter(gains[queries[0]])),
            next(document for row in lists for document in row),
        )
    scores = _score(judge(ids, indptr, flat, values), parsed, queries)
    return replace(scores, unlabelled=unlabelled)


def _score(judged: Judged, measures: Sequence[Any], names: Sequence[str]) -> Scores:
    labelled = np.flatnonzero(judged.label_counts)
    if not len(labelled):
        raise DataError(
            f"none of the {len(names)} queries has a label, so there is nothing to measure.\n\n"
            "Hint: check that the query ids of the qrels are those of the queries."
        )
    left_out = len(names) - len(labelled)
    if left_out:
        logger.info("%d of %d queries have no labels and are left out", left_out, len(names))
    columns = [formula_of(measure) for measure in measures]
    slow = [measure for measure, formula in zip(measures, columns, strict=True) if formula is None]
    by_library = _ask_ir_measures(judged, labelled, slow) if slow else {}
    values = [
        by_library[str(measure)] if formula is None else formula(judged)[labelled]
        for measure, formula in zip(measures, columns, strict=True)
    ]
    return Scores(
        measures=tuple(str(measure) for measure in measures),
        values=np.stack(values, axis=1),
        query_ids=tuple(names[row] for row in labelled.tolist()),
        query_rows=labelled.astype(np.int64),
        unlabelled=left_out,
    )


def _ask_ir_measures(
    judged: Judged, queries: Rows, measures: Sequence[Any]
) -> dict[str, NDArray[np.float64]]:
    """Values by the library itself, through strictly decreasing scores. name -> [len(queries)]."""
    ir_measures = _library()
    qrels = {str(query): judged.labels_of(query) for query in queries}
    run = {str(query): found for query in queries if (found := judged.run_of(query))}
    position = {str(query): place for place, query in enumerate(queries)}
    values = {str(measure): np.zeros(len(queries)) for measure in measures}
    if not run:  # some providers divide by the number of hits
        return values
    try:
        for metric in ir_measures.iter_calc(list(measures), qrels, run):
            values[str(metric.measure)][position[metric.query_id]] = metric.value
    except (ValueError, AssertionError, RuntimeError) as error:
        raise ConfigError(
            f"ir-measures cannot compute {', '.join(map(str, measures))}: {error}.\n\n"
            "Hint: write the cut-off, as in R@100, and see ir-measur.es for what each measure needs."
        ) from error
    return values


def parse_measure(measure: str) -> Any:
    """The measure that a name stands for, by ir-measures. raises ConfigError for others, MissingExtra without it"""
    ir_measures = _library()
    try:
        return ir_measures.parse_measure(measure)
    except (NameError, ValueError, SyntaxError) as error:
        raise ConfigError(
            f"{measure!r} is not a measure that ir-measures knows: {error}. Try RR@10, R@100, nDCG@10, AP or "
            "RR(rel=2)@10."
        ) from error


def _library() -> Any:
    """ir-measures. Left out where an index is only served: its providers bring scipy."""
    try:
        import ir_measures
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "measuring needs ir-measures.\n\nInstall it with: pip install 'limbeck[evaluate]'"
        ) from error
    return ir_measures


def _check_rows(hits: Hits, labels: Labels, query_ids: Sequence[str] | None) -> None:
    labelled = len(labels.indptr) - 1
    if len(hits) != labelled:
        raise ShapeError(
            f"the hits are for {len(hits)} queries, but the labels for {labelled}; both must be in the order "
            "of the same queries."
        )
    if query_ids is not None and len(query_ids) != len(hits):
        raise ShapeError(f"`query_ids` holds {len(query_ids)} names, but there are {len(hits)} queries.")


def _check_depth(measures: Sequence[Any], depth: int) -> None:
    for measure in measures:
        cutoff = measure.params.get("cutoff")
        if cutoff is not None and cutoff > depth:
            raise ConfigError(
                f"`{measure}` looks at {cutoff} hits a query, but only {depth} were searched for.\n\n"
                f"Hint: search with k={cutoff}, or measure at {depth} or fewer."
            )


def _check_shared_ids(found: Mapping[str, Any], queries: Sequence[str]) -> None:
    missing = [query for query in queries if query not in found]
    if queries and len(missing) == len(queries):
        raise DataError(
            f"the run and the qrels share no query id: {next(iter(found), None)!r} against "
            f"{queries[0]!r}.\n\n"
            "Hint: both must use the ids of the same queries file."
        )
    if missing:
        logger.warning(
            "%d of %d queries with labels are not in the run and score 0: %r ...",
            len(missing),
            len(queries),
            missing[0],
        )


def _without(ids: Rows, identical: Rows) -> Rows:
    if np.shape(identical) != (len(ids),):
        raise ShapeError(
            f"`ignore_identical` has shape {np.shape(identical)}, expected ({len(ids)},): one document row a "
            "query, -1 for none."
        )
    return np.where(ids == np.asarray(identical)[:, None], -1, ids)


def _ordered(
    results: Mapping[str, float], rows: Mapping[str, int] | None, *, leave_out: str | None
) -> list[str]:
    """Document ids by falling score; ties by row, or by id where the rows are not known."""
    documents = [document for document in results if document != leave_out]
    if rows is None:
        return sorted(documents, key=lambda document: (-results[document], document))
    return sorted(documents, key=lambda document: (-results[document], rows[document]))


def _as_dict(table: Any) -> Mapping[str, Mapping[str, float]]:
    plain: Mapping[str, Mapping[str, float]] = table if isinstance(table, Mapping) else table.as_dict()
    return plain
