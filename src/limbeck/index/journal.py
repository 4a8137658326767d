"""Changes that were accepted and are not in a generation yet: in SQLite beside the generations, each synced to disk.

    INDEX/changes/journal.sqlite     sequence, kind, id, title, text, metadata, vector
    INDEX/changes/.lock              held by whoever applies them

A change is acknowledged after its transaction was synced, and forgotten after a generation that holds it was published.
A generation's manifest says up to which number it holds changes, so applying them again after a crash changes nothing.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from limbeck.data.records import Document
from limbeck.errors import CorruptArtefact, DataError, StorageError
from limbeck.storage import durable
from limbeck.types import Floats

FOLDER, FILE = "changes", "journal.sqlite"
_SCHEMA = """CREATE TABLE IF NOT EXISTS changes(
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, id TEXT NOT NULL,
    title TEXT NOT NULL, text TEXT NOT NULL, metadata TEXT NOT NULL, vector BLOB)"""


class New(Protocol):
    """A document that somebody wants to add."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def metadata(self) -> dict[str, Any]: ...
    @property
    def vector(self) -> Sequence[float] | None: ...


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the journal."""

    sequence: int
    kind: Literal["put", "delete"]
    document: Document  # its id alone, of a deletion
    vector: Floats | None  # [d] float32


class Journal:
    """Append-only. Safe from many threads and processes: SQLite's write-ahead log, synced at each commit."""

    def __init__(self, index: Path) -> None:
        self.path = index / FOLDER / FILE
        self._writing = threading.Lock()
        durable.make_folders(self.path.parent)
        try:
            self._connection = sqlite3.connect(
                self.path, check_same_thread=False, timeout=10, isolation_level=None
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(_SCHEMA)
        except sqlite3.OperationalError as error:
            raise StorageError(f"cannot write {self.path}: {error}.") from error
        except sqlite3.DatabaseError as error:
            raise CorruptArtefact(f"{self.path} is damaged: {error}.") from error
        durable.sync_folder(self.path.parent)

    def put(self, documents: Sequence[New]) -> int:
        """The number of the last change, once all of them are on disk."""
        try:
            lines = [
                (
                    "put",
                    one.id,
                    one.title,
                    one.text,
                    json.dumps(one.metadata, ensure_ascii=False, allow_nan=False),
                    None if one.vector is None else np.asarray(one.vector, dtype="<f4").tobytes(),
                )
                for one in documents
            ]
        except ValueError as error:
            raise DataError(f"metadata holds what JSON cannot say: {error}.") from error
        return self._append(lines)

    def delete(self, identifier: str) -> int:
        """The number of the change, once it is on disk."""
        return self._append([("delete", identifier, "", "", "{}", None)])

    def after(self, sequence: int) -> Iterator[Change]:
        """Changes with larger numbers, in order."""
        with self._reading() as reader:
            rows = reader.execute(
                "SELECT sequence, kind, id, title, text, metadata, vector FROM changes WHERE sequence > ? "
                "ORDER BY sequence",
                [sequence],
            )
            for number, kind, identifier, title, text, metadata, vector in rows:
                found = None if vector is None else np.frombuffer(vector, dtype="<f4")
                yield Change(number, kind, Document(identifier, title, text, json.loads(metadata)), found)

    def last(self) -> int:
        """The number of the last change that was ever accepted; 0 without any."""
        with self._writing:
            found = self._connection.execute(
                "SELECT seq FROM sqlite_sequence WHERE name = 'changes'"
            ).fetchone()
        return int(found[0]) if found else 0

    def forget(self, sequence: int) -> None:
        """Drop the changes up to this number: a published generation holds them."""
        with self._writing:
            self._connection.execute("DELETE FROM changes WHERE sequence <= ?", [sequence])

    def close(self) -> None:
        """Close the file."""
        with self._writing:
            self._connection.close()

    def _append(self, rows: list[tuple[Any, ...]]) -> int:
        with self._writing:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(
                    "INSERT INTO changes(kind, id, title, text, metadata, vector) VALUES (?, ?, ?, ?, ?, ?)",
                    rows,
                )
                (number,) = self._connection.execute("SELECT MAX(sequence) FROM changes").fetchone()
                self._connection.execute("COMMIT")
            except (sqlite3.Error, UnicodeEncodeError) as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, UnicodeEncodeError):
                    raise DataError(f"a document holds text that is not UTF-8: {error}.") from error
                raise StorageError(f"the change was not accepted; {self.path}: {error}.") from error
            return int(number)

    def _reading(self) -> Any:
        from contextlib import closing

        return closing(sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True, timeout=10))
