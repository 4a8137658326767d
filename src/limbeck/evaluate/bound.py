"""What a query student loses against its teacher, split into five terms that a theorem bounds one by one.

EmbedDistill (Kim et al., 2023, theorem 3.1) bounds R(student) - R(teacher), where R is the mean over pairs (query,
document, y) of the binary cross-entropy l(s, y) = softplus(s) - y·s of the score s = <query, document>. With the
distillation loss l_d(s, t) = softplus(s) - sigmoid(t)·s and its mean R_d, on pairs for training and pairs for testing,
the difference on test is exactly T1 + T2 + T3 + T4 + T5:

    T1 = R(student) - R_d(student) on test     |T1| <= K²·E|sigmoid(t) - y|: how badly the teacher is calibrated
    T2 = R_d(student), test - train            what the theorem's covering numbers are for: measured, not bounded here
    T3 = R_d(student) - R_d(teacher) on train  0 <= T3 <= K·(R_Emb,Q + R_Emb,D): what embedding matching makes small
    T4 = R_d(teacher) - R(teacher) on train    |T4| <= K²·mean|sigmoid(t) - y|
    T5 = R(teacher), train - test              measured

K is the largest norm of a vector, R_Emb,Q and R_Emb,D the mean distance between the student's and the teacher's vectors
of the queries and documents of the training pairs. The paper has 2K at T3: but l_d changes by at most |s - s'|, and
|<a, b> - <a', b'>| <= K·(|a - a'| + |b - b'|), so K is enough. Everything is float64.

Letters: Q queries, N documents, n pairs, d dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limbeck.data.labels import Labels
from limbeck.errors import ConfigError, DataError, ShapeError
from limbeck.evaluate.compare import Interval, interval
from limbeck.types import Floats, Rows

TERMS = ("T1", "T2", "T3", "T4", "T5")
BOUNDED = ("T1", "T3", "T4")
TOGETHER = 8192  # pairs whose vectors are gathered at once: 25 MB for each of four sides of width 384


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Queries and documents, by row, with whether the one answers the other."""

    queries: Rows  # [n]
    documents: Rows  # [n]
    is_relevant: NDArray[np.bool_]  # [n]

    def __len__(self) -> int:
        return len(self.queries)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """The pairs of one split with the vectors of both models."""

    pairs: Pairs
    student_queries: Floats  # [Q, d]
    teacher_queries: Floats  # [Q, d]
    teacher_documents: Floats  # [N, d]
    student_documents: Floats | None = None  # [N, d]; None = the teacher's own, inherited


@dataclass(frozen=True, slots=True)
class Telescope:
    """R(student) - R(teacher) on test as five terms, and the bounds of three of them."""

    train_pairs: int
    test_pairs: int
    scale: float  # of all scores
    largest_norm: float  # K
    query_distance: float  # R_Emb,Q: over the training pairs, as in the theorem
    document_distance: float  # R_Emb,D: exactly 0 where documents are inherited
    test_query_distance: float  # R_Emb,Q over the test pairs: how far matching carries
    train_calibration: float  # mean |sigmoid(t) - y|
    test_calibration: float
    student_risk: float  # on test
    teacher_risk: float
    terms: tuple[float, ...]  # T1 to T5
    gap_interval: Interval  # of the gap, over the test queries

    @property
    def gap(self) -> float:
        """R(student) - R(teacher) on test: the sum of the terms."""
        return self.student_risk - self.teacher_risk

    @property
    def bounds(self) -> dict[str, float]:
        """What T1 and T4 cannot exceed either way, and T3 upwards."""
        return self._bounds(factor=1.0)

    @property
    def slack(self) -> dict[str, float]:
        """How far each bounded term stays below its bound."""
        values = dict(zip(TERMS, self.terms, strict=True))
        return {name: bound - abs(values[name]) for name, bound in self.bounds.items()}

    @property
    def bound(self) -> float:
        """What the gap cannot exceed: the bounds of T1, T3 and T4, and T2 and T5 as they are."""
        return self._total(self.bounds)

    @property
    def paper_bound(self) -> float:
        """The same with the paper's 2K instead of K."""
        return self._total(self._bounds(factor=2.0))

    def _bounds(self, *, factor: float) -> dict[str, float]:
        norm = self.largest_norm
        return {
            "T1": self.scale * norm**2 * self.test_calibration,
            "T3": factor * self.scale * norm * (self.query_distance + self.document_distance),
            "T4": self.scale * norm**2 * self.train_calibration,
        }

    def _total(self, bounds: dict[str, float]) -> float:
        return sum(bounds.values()) + self.terms[1] + self.terms[4]


def telescope(train: Sample, test: Sample, *, scale: float = 1.0) -> Telescope:
    """The five terms over the pairs of two splits.

    scale    multiplies every score. At 1, cosines are read as log-odds, as the theory does; larger ones are as if all
             vectors were longer by its root, and every identity and bound holds as well
    cost     about 10·n·d multiply-adds: a second for 50,000 pairs of width 384
    raises   ShapeError where arrays do not fit together, DataError for a split without pairs
    """
    if not (np.isfinite(scale) and scale > 0):
        raise ConfigError(f"`scale` must be a number above 0, found {scale}.")
    _check(train, "train")
    _check(test, "test")
    seen, new = _measured(train, scale), _measured(test, scale)
    terms = (
        new.student_risk - new.student_distilled,
        new.student_distilled - seen.student_distilled,
        seen.student_distilled - seen.teacher_distilled,
        seen.teacher_distilled - seen.teacher_risk,
        seen.teacher_risk - new.teacher_risk,
    )
    return Telescope(
        train_pairs=len(train.pairs),
        test_pairs=len(test.pairs),
        scale=scale,
        largest_norm=max(seen.largest_norm, new.largest_norm),
        query_distance=float(seen.query_distances.mean()),
        document_distance=float(seen.document_distances.mean()),
        test_query_distance=float(new.query_distances.mean()),
        train_calibration=seen.calibration,
        test_calibration=new.calibration,
        student_risk=new.student_risk,
        teacher_risk=new.teacher_risk,
        terms=terms,
        gap_interval=interval(_gap_by_query(test.pairs, new)),
    )


def draw_pairs(labels: Labels, documents: int, *, negatives: int, seed: int) -> Pairs:
    """All judged pairs, relevant where the gain is above 0, and for each query other documents as not relevant.

    documents  how many rows the corpus has
    negatives  other documents of each query, uniform over those that are not judged, none twice; fewer where there
               are no more
    """
    if negatives < 0:
        raise ConfigError(f"`negatives` must be 0 or more, found {negatives}.")
    generator = np.random.default_rng(seed)
    drawn = [_others(labels.of(row)[0], documents, negatives, generator) for row in range(len(labels))]
    rows = np.arange(len(labels))
    others = np.concatenate([np.empty(0, np.int64), *drawn])
    return Pairs(
        queries=np.concatenate(
            [np.repeat(rows, np.diff(labels.indptr)), np.repeat(rows, [*map(len, drawn)])]
        ),
        documents=np.concatenate([labels.documents, others]),
        is_relevant=np.concatenate([labels.gains > 0, np.zeros(len(others), np.bool_)]),
    )


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's: Pearson's of the ranks, where equals share the mean of theirs. None where either does not vary."""
    if len(a) < 2 or len(set(a)) < 2 or len(set(b)) < 2:
        return None
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def _others(judged: Rows, documents: int, count: int, generator: np.random.Generator) -> Rows:
    """Rows among those not judged: the x-th free row lies behind all judged rows j_i with j_i - i <= x."""
    free = documents - len(judged)
    chosen = generator.choice(free, min(count, free), replace=False)
    return np.sort(chosen) + np.searchsorted(judged - np.arange(len(judged)), np.sort(chosen), side="right")


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """One split: scores and distances of each pair [n], in float64."""

    is_relevant: NDArray[np.bool_]
    student: NDArray[np.float64]
    teacher: NDArray[np.float64]
    query_distances: NDArray[np.float64]
    document_distances: NDArray[np.float64]
    largest_norm: float

    @property
    def student_risk(self) -> float:
        return float(_cross_entropy(self.student, self.is_relevant).mean())

    @property
    def teacher_risk(self) -> float:
        return float(_cross_entropy(self.teacher, self.is_relevant).mean())

    @property
    def student_distilled(self) -> float:
        return float(_cross_entropy(self.student, _sigmoid(self.teacher)).mean())

    @property
    def teacher_distilled(self) -> float:
        return float(_cross_entropy(self.teacher, _sigmoid(self.teacher)).mean())

    @property
    def calibration(self) -> float:
        return float(np.abs(_sigmoid(self.teacher) - self.is_relevant).mean())


def _measured(sample: Sample, scale: float) -> _Measured:
    parts = [_part(sample, slice(low, low + TOGETHER)) for low in range(0, len(sample.pairs), TOGETHER)]
    student, teacher, query_distances, document_distances, norms = map(
        np.concatenate, zip(*parts, strict=True)
    )
    return _Measured(
        sample.pairs.is_relevant,
        scale * student,
        scale * teacher,
        query_distances,
        document_distances,
        float(norms.max()),
    )


def _part(sample: Sample, part: slice) -> tuple[NDArray[np.float64], ...]:
    """Scores of student and teacher, distances of queries and documents, largest norms: [n] of these pairs each."""
    queries, documents = sample.pairs.queries[part], sample.pairs.documents[part]
    student_query = sample.student_queries[queries].astype(np.float64)
    teacher_query = sample.teacher_queries[queries].astype(np.float64)
    teacher_document = sample.teacher_documents[documents].astype(np.float64)
    student_document = teacher_document
    if sample.student_documents is not None:
        student_document = sample.student_documents[documents].astype(np.float64)
    sides = (student_query, teacher_query, student_document, teacher_document)
    return (
        np.einsum("nd,nd->n", student_query, student_document),
        np.einsum("nd,nd->n", teacher_query, teacher_document),
        np.linalg.norm(student_query - teacher_query, axis=1),
        np.linalg.norm(student_document - teacher_document, axis=1),
        np.max([np.linalg.norm(side, axis=1) for side in sides], axis=0),
    )


def _cross_entropy(
    scores: NDArray[np.float64], target: NDArray[np.float64] | NDArray[np.bool_]
) -> NDArray[np.float64]:
    """softplus(s) - target·s: with a label l of eq. 10, with the sigmoid of a teacher's score l_d of eq. 12."""
    losses: NDArray[np.float64] = np.logaddexp(0, scores) - target * scores
    return losses


def _sigmoid(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    odds: NDArray[np.float64] = 0.5 * (1 + np.tanh(scores / 2))  # exp would overflow at large scales
    return odds


def _gap_by_query(pairs: Pairs, found: _Measured) -> NDArray[np.float64]:
    """One value a query, whose mean is the gap: its pairs' differences, in units of the mean number of pairs."""
    student = _cross_entropy(found.student, found.is_relevant)
    differences = student - _cross_entropy(found.teacher, found.is_relevant)
    _, place = np.unique(pairs.queries, return_inverse=True)
    sums = np.bincount(place, differences).astype(np.float64)
    return sums * len(sums) / len(pairs)


def _check(sample: Sample, name: str) -> None:
    """Raises where the arrays of one split do not fit together."""
    pairs = sample.pairs
    if not len(pairs):
        raise DataError(f"the {name} split has no pairs; expected labelled documents of its queries.")
    lengths = {len(pairs.queries), len(pairs.documents), len(pairs.is_relevant)}
    if len(lengths) > 1:
        raise ShapeError(f"the {name} pairs hold columns of {sorted(lengths)} entries; expected one length.")
    sides = {
        "student_queries": (sample.student_queries, pairs.queries),
        "teacher_queries": (sample.teacher_queries, pairs.queries),
        "teacher_documents": (sample.teacher_documents, pairs.documents),
    }
    if sample.student_documents is not None:
        sides["student_documents"] = (sample.student_documents, pairs.documents)
    dim = sample.teacher_documents.shape[-1]
    for side, (vectors, rows) in sides.items():
        if vectors.ndim != 2 or vectors.shape[1] != dim:
            raise ShapeError(
                f"{name}: `{side}` has shape {vectors.shape}; expected [rows, {dim}], as the teacher's documents: "
                "the bound compares vectors of one space."
            )
        if rows.min() < 0 or rows.max() >= len(vectors):
            raise ShapeError(
                f"{name}: pairs name rows {rows.min()} to {rows.max()}, but `{side}` has {len(vectors)}."
            )
