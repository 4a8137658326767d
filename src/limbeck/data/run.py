"""Runs: what a system answered, by string ids, under the one tie rule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limbeck.data.ids import Ids
from limbeck.data.lines import decoded, numbered_lines, shown
from limbeck.errors import DataError, ShapeError
from limbeck.storage.whole import replaced_file
from limbeck.types import Floats, Hits, Rows

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Run:
    """The ranked answers of Q queries.

    The tie rule: score falling, then document row ascending (the order of the lines for a run that was read).
    Tools break ties differently, some even by measure, so no ties are left to them: a score that does not fall
    is lowered to the next smaller float32 number (trec_eval keeps scores in that width). Ranks never change by
    this, scores by one unit in the last place for each tied document above.
    """

    query_ids: Ids  # [Q]
    document_ids: Ids  # [N] the ids that `rows` points to
    indptr: Rows  # [Q + 1] the answers to query q lie at indptr[q] : indptr[q + 1]
    rows: Rows  # [answers] best first within a query
    scores: Floats  # [answers] strictly falling within a query

    @classmethod
    def from_hits(cls, query_ids: Ids, document_ids: Ids, hits: Hits) -> Run:
        """A run of what a search returned. Entries with id -1 (nothing found) are dropped.

        raises  ShapeError when `hits` and `query_ids` differ in length; DataError on rows outside the corpus,
                NaN or infinite scores, and documents that one query received twice
        """
        if hits.ids.shape != hits.scores.shape or len(hits.ids) != len(query_ids):
            raise ShapeError(
                f"`hits` has ids {hits.ids.shape} and scores {hits.scores.shape}; both must be [Q, k] with "
                f"Q = {len(query_ids)}, the number of query ids."
            )
        found = hits.ids >= 0
        owners, _ = np.nonzero(found)
        rows, scores = hits.ids[found].astype(np.int64), hits.scores[found].astype(np.float32)
        if len(rows) and rows.max() >= len(document_ids):
            raise DataError(
                f"expected rows below {len(document_ids)}, the number of documents, found {rows.max()}."
            )
        order = np.lexsort((rows, -scores, owners))
        return _ranked(query_ids, document_ids, owners[order], rows[order], scores[order])

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Read a TREC run, `qid Q0 docid rank score tag` a line; the rank column is not read, scores decide.

        raises  DataError that names file and line
        """
        queries: dict[str, int] = {}
        documents: dict[str, int] = {}
        owners: list[int] = []
        rows: list[int] = []
        scores: list[float] = []
        for line, raw in numbered_lines(path):
            if not raw.strip():
                continue
            query, document, score = _answer(raw, f"{path}:{line}")
            owners.append(queries.setdefault(query, len(queries)))
            rows.append(documents.setdefault(document, len(documents)))
            scores.append(score)
        owner_column, score_column = np.array(owners, np.int64), np.array(scores, np.float64)
        order = np.lexsort((np.arange(len(owners)), -score_column, owner_column))
        return _ranked(
            Ids.from_iterable(queries),
            Ids.from_iterable(documents),
            owner_column[order],
            np.array(rows, np.int64)[order],
            score_column[order].astype(np.float32),
        )

    def save(self, path: Path | str, *, tag: str = "limbeck") -> None:
        """Write a TREC run, whole or not at all.

        raises  DataError on ids with white space, which the format cannot hold
        """
        if not tag or any(map(str.isspace, tag)):
            raise DataError(f"expected a tag without white space, found {tag!r}.")
        with replaced_file(path) as part, part.open("w", encoding="utf-8", newline="\n") as stream:
            for query, answers in self.items():
                _check_writable(query)
                for rank, (document, score) in enumerate(answers.items(), start=1):
                    _check_writable(document)
                    stream.write(f"{query} Q0 {document} {rank} {score:.9g} {tag}\n")

    def __len__(self) -> int:
        """The number of queries, those without answers included."""
        return len(self.query_ids)

    def items(self) -> list[tuple[str, dict[str, float]]]:
        """(query id, {document id: score}, best first) for each query."""
        return list(self.as_dict().items())

    def as_dict(self) -> dict[str, dict[str, float]]:
        """{query id: {document id: score}}, best first, as pytrec_eval and ir-measures take it."""
        names = self.document_ids
        answers: dict[str, dict[str, float]] = {}
        for place, query in enumerate(self.query_ids):
            part = slice(int(self.indptr[place]), int(self.indptr[place + 1]))
            found = zip(self.rows[part].tolist(), self.scores[part].tolist(), strict=True)
            answers[query] = {names[row]: score for row, score in found}
        return answers


def strictly_falling(scores: Floats) -> Floats:
    """A copy in which each score is below the one before, by the least step of float32 where they were equal.

    scores  [n] float32, falling
    """
    falling = scores.astype(np.float32)
    for place in np.flatnonzero(falling[1:] >= falling[:-1]) + 1:
        at = int(place)
        while (
            at < len(falling) and falling[at] >= falling[at - 1]
        ):  # a step may meet the next score and push it on
            falling[at] = np.nextafter(falling[at - 1], np.float32(-np.inf))
            at += 1
    return falling


def _ranked(query_ids: Ids, document_ids: Ids, owners: Rows, rows: Rows, scores: Floats) -> Run:
    """Check the sorted answers, then make their scores fall strictly."""
    if not np.isfinite(scores).all():
        at = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise DataError(
            f"query {shown(query_ids[int(owners[at])])}, document {shown(document_ids[int(rows[at])])}: "
            f"expected a finite score, found {scores[at]}."
        )
    pairs = np.lexsort((rows, owners))
    again = np.flatnonzero((np.diff(owners[pairs]) == 0) & (np.diff(rows[pairs]) == 0))
    if len(again):
        at = int(pairs[again[0]])
        raise DataError(
            f"query {shown(query_ids[int(owners[at])])}: expected each document once, found "
            f"{shown(document_ids[int(rows[at])])} twice."
        )
    counts = (
        np.bincount(owners, minlength=len(query_ids)) if len(owners) else np.zeros(len(query_ids), np.int64)
    )
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    falling = scores.copy()
    ties = np.flatnonzero((np.diff(scores) >= 0) & (np.diff(owners) == 0))
    for query in np.unique(owners[ties]):
        part = slice(int(indptr[query]), int(indptr[query + 1]))
        falling[part] = strictly_falling(scores[part])
    return Run(query_ids, document_ids, indptr, rows, falling)


def _answer(raw: bytes, where: str) -> tuple[str, str, float]:
    columns = decoded(raw, where=where).split()
    if len(columns) != 6:
        raise DataError(
            f"{where}: expected 6 columns `qid Q0 docid rank score tag`, found {len(columns)}: "
            f"{shown(columns)}."
        )
    try:
        score = float(columns[4])
    except ValueError:
        score = math.nan
    if not abs(score) <= _LARGEST:
        raise DataError(f"{where}: expected a finite score in column 5, found {shown(columns[4])}.")
    return columns[0], columns[2], score


def _check_writable(identifier: str) -> None:
    if not identifier or any(map(str.isspace, identifier)):
        raise DataError(
            f"id {shown(identifier)}: expected no white space, which separates the columns of TREC runs.\n\n"
            "Hint: rename these ids, or keep the results as JSON through `as_dict()`."
        )
