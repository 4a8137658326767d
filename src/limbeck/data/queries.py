"""Queries: ids and texts, in memory, in file order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from limbeck.data.corpus import content_hash
from limbeck.data.ids import Ids
from limbeck.data.records import Document
from limbeck.data.scan import Duplicates, OnError, scan_records
from limbeck.errors import DataError, ShapeError


@dataclass(frozen=True)
class Queries:
    """Q queries; `ids[row]` and `texts[row]` belong together."""

    ids: Ids
    texts: list[str]

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.texts):
            raise ShapeError(
                f"`ids` holds {len(self.ids)} ids, but `texts` {len(self.texts)} texts; both must be [Q]."
            )

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        on_error: OnError = "raise",
        duplicates: Duplicates = "error",
        rejects: Path | None = None,
    ) -> Queries:
        r"""Read .jsonl (`_id`, `text`) or .tsv (`id \t text`), plain or gzipped; options as in `Corpus.open`.

        raises  DataError that names file and line
        """
        texts: list[str] = []

        def keep(record: Document) -> None:
            texts.append(record.content)

        scanned = scan_records(
            Path(path), on_error=on_error, duplicates=duplicates, rejects=rejects, keep=keep
        )
        return cls(scanned.ids, [texts[row] for row in scanned.rows])

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[str, str]]) -> Queries:
        """Queries from (id, text) pairs. raises DataError when an id comes twice."""
        ids, texts = [], []
        for identifier, text in pairs:
            ids.append(identifier)
            texts.append(text)
        packed = Ids.from_iterable(ids)
        for first, later in packed.duplicates():
            raise DataError(
                f"queries {first} and {later}: expected each id once, found {packed[later]!r} twice."
            )
        return cls(packed, texts)

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return zip(self.ids, self.texts, strict=True)

    def select(self, ids: Iterable[str]) -> Queries:
        """These queries, in the order asked for. raises DataError when one is missing."""
        wanted = list(ids)
        rows = self.ids.rows_of(wanted)
        missing = [identifier for identifier, row in zip(wanted, rows, strict=True) if row < 0]
        if missing:
            raise DataError(
                f"expected ids of these {len(self)} queries, found {len(missing)} others: {missing[:5]}."
            )
        return Queries(Ids.from_iterable(wanted), [self.texts[row] for row in rows])

    @property
    def fingerprint(self) -> str:
        """sha256 in hex over all ids and texts in order."""
        return content_hash(self)
