"""Corpora, queries, labels, runs and vectors: read, checked, and addressed by row."""

from limbeck.data.corpus import Corpus, Document
from limbeck.data.dataset import Dataset
from limbeck.data.doctor import examine
from limbeck.data.findings import Finding
from limbeck.data.ids import Ids
from limbeck.data.labels import Labels, Qrels
from limbeck.data.lines import numbered_lines
from limbeck.data.queries import Queries
from limbeck.data.run import Run
from limbeck.data.vectors import Vectors, check_vectors

__all__ = [
    "Corpus",
    "Dataset",
    "Document",
    "Finding",
    "Ids",
    "Labels",
    "Qrels",
    "Queries",
    "Run",
    "Vectors",
    "check_vectors",
    "examine",
    "numbered_lines",
]
