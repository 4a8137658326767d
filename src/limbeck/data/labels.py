"""Relevance labels: read from BEIR and TREC files, and joined to rows for training and evaluation."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limbeck.data.corpus import content_hash
from limbeck.data.ids import Ids
from limbeck.data.lines import decoded, numbered_lines, shown
from limbeck.errors import DataError
from limbeck.types import Floats, Rows

_log = logging.getLogger(__name__)
LARGEST_GRADE = 2**24  # whole numbers up to it are exact in float32
_HINT = (
    "\n\nHint: BEIR lines are `query-id <tab> corpus-id <tab> score`, TREC lines are `qid 0 docid grade`; "
    "nothing is quoted."
)


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of Q queries over the rows of one corpus, packed (compressed sparse rows)."""

    indptr: Rows  # [Q + 1] the labels of query q lie at indptr[q] : indptr[q + 1]
    documents: Rows  # [nnz] document rows, ascending within a query
    gains: Floats  # [nnz] grades as judged; 0 and below mean "judged, not relevant"

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def of(self, query_row: int) -> tuple[Rows, Floats]:
        """The labelled document rows of a query and their gains."""
        if not 0 <= query_row < len(self):
            raise IndexError(f"row {query_row} of {len(self)} queries; rows count from 0.")
        part = slice(int(self.indptr[query_row]), int(self.indptr[query_row + 1]))
        return self.documents[part], self.gains[part]

    def take(self, query_rows: Rows) -> Labels:
        """The labels of these queries only, in this order."""
        counts = np.diff(self.indptr)[query_rows]
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        chosen = np.repeat(self.indptr[query_rows] - indptr[:-1], counts) + np.arange(indptr[-1])
        return Labels(indptr, self.documents[chosen], self.gains[chosen])


class Qrels:
    """Grades of (query, document) pairs by string ids; queries in the order in which the file names them.

    Grades are whole numbers; 0 and below mean "judged, not relevant", as in trec_eval.
    """

    def __init__(self, grades: Mapping[str, Mapping[str, int]]) -> None:
        self._grades = {query: dict(documents) for query, documents in grades.items()}

    @classmethod
    def open(cls, path: Path | str) -> Qrels:
        """Read BEIR TSV, with or without header, or TREC qrels, plain or gzipped; the first line tells which.

        A pair that comes twice with one grade is counted once (and logged); with two grades it is refused.
        Grades such as 1.0 are read as 1; fractions are refused: the measures of trec_eval take whole numbers.

        raises  DataError that names file and line
        """
        path = Path(path)
        grades: dict[str, dict[str, int]] = {}
        repeated = negative = 0
        for line, judgement in _judgements(path):
            of_query = grades.setdefault(judgement.query, {})
            before = of_query.get(judgement.document)
            if before is not None and before != judgement.grade:
                raise DataError(
                    f"{path}:{line}: expected one grade for each pair, found {judgement.grade} for "
                    f"{shown(judgement.query)} and {shown(judgement.document)}, which had {before} before."
                )
            of_query[judgement.document] = judgement.grade
            repeated += before is not None
            negative += judgement.grade < 0
        if repeated:
            _log.warning("%s: %d pairs come again with the same grade; each is counted once", path, repeated)
        if negative:
            _log.info("%s: %d grades are below 0; they mean judged and not relevant", path, negative)
        return cls(grades)

    @property
    def query_ids(self) -> list[str]:
        """The queries with at least one judgement, in the order of the file."""
        return list(self._grades)

    def __len__(self) -> int:
        """The number of judged pairs."""
        return sum(map(len, self._grades.values()))

    def __eq__(self, other: object) -> bool:
        return self._grades == other._grades if isinstance(other, Qrels) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Qrels({len(self._grades)} queries, {len(self)} judgements)"

    def as_dict(self) -> dict[str, dict[str, int]]:
        """{query id: {document id: grade}}, as pytrec_eval and ir-measures take it; a copy."""
        return {query: dict(documents) for query, documents in self._grades.items()}

    def select(self, query_ids: Iterable[str]) -> Qrels:
        """The judgements of these queries, in the order asked for; queries without any are passed over."""
        return Qrels({query: self._grades[query] for query in query_ids if query in self._grades})

    @property
    def fingerprint(self) -> str:
        """sha256 in hex over all judgements, whatever their order in the file."""
        return content_hash(
            (query, document, str(grade))
            for query in sorted(self._grades)
            for document, grade in sorted(self._grades[query].items())
        )

    def rows(self, queries: Ids, documents: Ids) -> Labels:
        """The labels as rows: one entry for each query of `queries`, empty where it has no judgement.

        Judgements of documents that do not exist cannot become rows: they are left out, and a warning gives
        their count and the first five. `as_dict` keeps them, so that measures count them as not retrieved.
        """
        of_query = [self._grades.get(query, {}) for query in queries]
        wanted = [document for grades in of_query for document in grades]
        found = documents.rows_of(wanted)
        self._report_missing(wanted, found)
        gains = np.fromiter(
            (grade for grades in of_query for grade in grades.values()), np.float32, len(wanted)
        )
        owners = np.repeat(np.arange(len(of_query)), [len(grades) for grades in of_query])
        order = np.lexsort((found, owners))
        order = order[found[order] >= 0]
        counts = np.bincount(owners[order], minlength=len(of_query))
        return Labels(_starts(counts), found[order], gains[order])

    def _report_missing(self, wanted: list[str], found: NDArray[np.int64]) -> None:
        missing = np.flatnonzero(found < 0)
        if len(missing):
            _log.warning(
                "%d of %d labels point to documents that are not in the corpus, such as %s",
                len(missing),
                len(wanted),
                ", ".join(shown(wanted[place]) for place in missing[:5]),
            )


def _starts(counts: NDArray[np.int64]) -> Rows:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Judgement:
    """One line of a label file."""

    query: str
    document: str
    grade: int


@dataclass(frozen=True, slots=True)
class LabelFormat:
    """How to read a label file, told by its first line: 3 columns (BEIR) or 4 (TREC), perhaps under a header."""

    width: int
    has_header: bool

    @classmethod
    def of(cls, first_line: bytes, *, where: str) -> LabelFormat:
        """Raises DataError when the line has neither 3 nor 4 columns."""
        columns = _columns(decoded(first_line, where=where))
        if len(columns) not in (3, 4):
            raise DataError(
                f"{where}: expected 3 or 4 columns, found {len(columns)}: {shown(columns)}.{_HINT}"
            )
        names_columns = _number(columns[2]) is None and columns[2].strip().isidentifier()
        return cls(len(columns), len(columns) == 3 and names_columns)

    def parse(self, raw: bytes, where: str) -> Judgement:
        """Raises DataError on another number of columns, empty ids, and grades that are not whole numbers."""
        columns = _columns(decoded(raw, where=where))
        if len(columns) != self.width:
            raise DataError(
                f"{where}: expected {self.width} columns as on the first line, found {len(columns)}: "
                f"{shown(columns)}.{_HINT}"
            )
        query, document = columns[0], columns[1 if self.width == 3 else 2]
        if not query.strip() or not document.strip():
            raise DataError(f"{where}: expected a query id and a document id, found {shown(columns)}.{_HINT}")
        return Judgement(query, document, _grade(columns[-1], where))


def _judgements(path: Path) -> Iterator[tuple[int, Judgement]]:
    """(line, what it says) of each line."""
    form: LabelFormat | None = None
    for line, raw in numbered_lines(path):
        if not raw.strip():
            continue
        if form is None:
            form = LabelFormat.of(raw, where=f"{path}:{line}")
            if form.has_header:
                continue
        yield line, form.parse(raw, f"{path}:{line}")


def _columns(text: str) -> list[str]:
    return text.split("\t") if "\t" in text else text.split()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _grade(text: str, where: str) -> int:
    number = _number(text)
    if number is None or not abs(number) <= LARGEST_GRADE:
        raise DataError(f"{where}: expected a grade such as 1, found {shown(text)}.{_HINT}")
    if number != int(number):
        raise DataError(
            f"{where}: expected a whole number as grade, found {text.strip()}: "
            "trec_eval takes none other.\n\nHint: multiply all grades by 10, or round them."
        )
    return int(number)
