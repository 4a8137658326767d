"""The documents of an artefact in SQLite: row to id, title, text and metadata, without loading any of them up front."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from limbeck.data.records import Document
from limbeck.errors import CorruptArtefact

FILE = "documents.sqlite"
_SCHEMA = """CREATE TABLE documents(
    row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL, text TEXT NOT NULL, metadata TEXT NOT NULL)"""
_AT_ONCE = 500  # rows a statement; SQLite allows 32,766 parameters


class DocumentStore:
    """Read-only access by row, from many threads: each holds a connection of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()

    @classmethod
    def write(cls, path: Path, documents: Iterable[Document]) -> None:
        """A new file holding the documents, the n-th as row n. One pass, bounded memory."""
        connection = sqlite3.connect(path)
        try:
            connection.execute("PRAGMA journal_mode = OFF")  # the artefact is published whole or not at all
            connection.execute("PRAGMA synchronous = OFF")  # and synced by the store before it is
            connection.execute(_SCHEMA)
            connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?, ?)", _as_rows(documents))
            connection.commit()
        finally:
            connection.close()

    def documents(self, rows: Sequence[int]) -> list[Document]:
        """The documents of these rows, in this order. raises CorruptArtefact when one is not there"""
        found: dict[int, Document] = {}
        wanted = sorted(set(map(int, rows)))
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            sql = f"SELECT row, id, title, text, metadata FROM documents WHERE row IN ({marks})"
            for row, identifier, title, text, metadata in self._connection().execute(sql, part):
                found[row] = Document(identifier, title, text, json.loads(metadata))
        missing = [row for row in wanted if row not in found]
        if missing:
            raise CorruptArtefact(
                f"{self.path}: holds no document for rows {missing[:5]}, which the index returned."
            )
        return [found[int(row)] for row in rows]

    def ids(self) -> Iterator[str]:
        """All ids in row order."""
        for (identifier,) in self._connection().execute("SELECT id FROM documents ORDER BY row"):
            yield identifier

    def __len__(self) -> int:
        return int(self._connection().execute("SELECT COUNT(*) FROM documents").fetchone()[0])

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            del self._local.connection

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "connection"):
            address = f"{self.path.resolve().as_uri()}?mode=ro&immutable=1"
            try:
                self._local.connection = sqlite3.connect(address, uri=True)
            except sqlite3.Error as error:
                raise CorruptArtefact(f"{self.path}: cannot be opened: {error}.") from error
        connection: sqlite3.Connection = self._local.connection
        return connection


def _as_rows(documents: Iterable[Document]) -> Iterator[tuple[int, str, str, str, str]]:
    for row, document in enumerate(documents):
        metadata = json.dumps(dict(document.metadata), ensure_ascii=False)
        yield row, document.id, document.title, document.text, metadata
