"""A data set in BEIR's layout: corpus, queries and, for each split, labels."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from limbeck.data.corpus import Corpus, content_hash
from limbeck.data.labels import Qrels
from limbeck.data.queries import Queries
from limbeck.data.scan import Duplicates, OnError
from limbeck.errors import DatasetError

_log = logging.getLogger(__name__)
_LAYOUT = "\n\nHint: the layout is corpus.jsonl, queries.jsonl and qrels/<split>.tsv, each plain or .gz."


@dataclass(frozen=True)
class Dataset:
    """Documents, queries, and the labels of each split."""

    name: str
    corpus: Corpus
    queries: Queries
    qrels: Mapping[str, Qrels]

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        on_error: OnError = "raise",
        duplicates: Duplicates = "error",
        rejects: Path | None = None,
    ) -> Dataset:
        """Open a BEIR folder; options as in `Corpus.open`. All splits are read, none is required.

        raises  DatasetError when a file is missing; DataError that names file and line when one is bad
        """
        folder = Path(folder)
        corpus = Corpus.open(
            records_file(folder, "corpus"), on_error=on_error, duplicates=duplicates, rejects=rejects
        )
        queries = Queries.open(
            records_file(folder, "queries"), on_error=on_error, duplicates=duplicates, rejects=rejects
        )
        qrels = {split: Qrels.open(path) for split, path in qrels_files(folder).items()}
        return cls(folder.resolve().name, corpus, queries, qrels)

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits, sorted."""
        return tuple(sorted(self.qrels))

    def split(self, name: str) -> tuple[Queries, Qrels]:
        """The queries of a split, in the order of the queries file, and their labels.

        Queries without labels in this split are left out, and so are labels whose query has no text; both are
        counted in the log.

        raises  DatasetError that lists the splits there are
        """
        if name not in self.qrels:
            known = ", ".join(self.splits) or "none"
            raise DatasetError(f"{self.name}: expected one of its splits ({known}), found {name!r}.")
        labelled = dict.fromkeys(self.qrels[name].query_ids)
        chosen = [identifier for identifier in self.queries.ids if identifier in labelled]
        without_text = len(labelled) - len(chosen)
        _log.info(
            "%s/%s: %d queries, %d others have no label in this split",
            self.name,
            name,
            len(chosen),
            len(self.queries) - len(chosen),
        )
        if without_text:
            known_ids = set(chosen)
            first = [identifier for identifier in labelled if identifier not in known_ids][:5]
            _log.warning(
                "%s/%s: %d labelled queries have no text, such as %s", self.name, name, without_text, first
            )
        return self.queries.select(chosen), self.qrels[name].select(chosen)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 in hex over documents, queries and labels: the same however the files were written."""
        labels = [part for split in self.splits for part in (split, self.qrels[split].fingerprint)]
        return content_hash([[self.corpus.fingerprint, self.queries.fingerprint, *labels]])

    def __repr__(self) -> str:
        splits = ", ".join(f"{split}: {len(self.qrels[split].query_ids)}" for split in self.splits)
        return f"Dataset({self.name!r}, {len(self.corpus)} documents, {len(self.queries)} queries; {splits})"


def records_file(folder: Path, stem: str) -> Path:
    """The one file `stem` in .jsonl or .tsv, plain or gzipped.

    raises  DatasetError when there is none, or more than one
    """
    names = [f"{stem}{ending}" for ending in (".jsonl", ".jsonl.gz", ".tsv", ".tsv.gz")]
    there = [folder / name for name in names if (folder / name).is_file()]
    if not there:
        raise DatasetError(f"{folder}: expected one of {', '.join(names)}, found none.{_LAYOUT}")
    if len(there) > 1:
        raise DatasetError(
            f"{folder}: expected one of {', '.join(names)}, found {', '.join(p.name for p in there)}."
        )
    return there[0]


def qrels_files(folder: Path) -> dict[str, Path]:
    """The label files of a folder by split name. raises DatasetError when a split has two."""
    files: dict[str, Path] = {}
    for path in sorted((folder / "qrels").glob("*.tsv*")):
        split = path.name.removesuffix(".gz").removesuffix(".tsv")
        if f"{split}.tsv" not in (path.name, path.name.removesuffix(".gz")):
            continue
        if split in files:
            raise DatasetError(
                f"{folder}: expected one file for split {split!r}, found {files[split].name} and {path.name}."
            )
        files[split] = path
    return files
