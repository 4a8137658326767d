"""The documents of an artefact in SQLite: row to id, title, text and metadata, without loading any of them up front."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from limbeck.data.records import Document
from limbeck.errors import CorruptArtefact

FILE = "documents.sqlite"
Fact: TypeAlias = str | int | float
_SCHEMA = """CREATE TABLE documents(
    row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL, text TEXT NOT NULL, metadata TEXT NOT NULL)"""
_FACTS = """CREATE TABLE facts(
    field TEXT NOT NULL, value NOT NULL, row INTEGER NOT NULL, PRIMARY KEY(field, value, row)) WITHOUT ROWID"""
LONGEST_FACT = 200  # characters of a value that searches can be filtered by
_AT_ONCE = 500  # rows a statement; SQLite allows 32,766 parameters


class DocumentStore:
    """Read-only access by row, from many threads.

    The file is opened at once and held: readers go on after the generation that it belongs to was removed. They share
    one connection, which SQLite guards itself (`sqlite3.threadsafety` is 3 in every build of CPython).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        address = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        try:
            self._connection = sqlite3.connect(address, uri=True, check_same_thread=False)
            self._connection.execute("SELECT 1 FROM documents LIMIT 1").fetchall()
        except sqlite3.Error as error:
            raise CorruptArtefact(f"{path}: cannot be opened: {error}.") from error

    @classmethod
    def write(cls, path: Path, documents: Iterable[Document]) -> None:
        """A new file holding the documents, the n-th as row n. One pass, bounded memory."""
        connection = sqlite3.connect(path)
        try:
            connection.execute("PRAGMA journal_mode = OFF")  # the artefact is published whole or not at all
            connection.execute("PRAGMA synchronous = OFF")  # and synced by the store before it is
            connection.execute(_SCHEMA)
            connection.execute(_FACTS)
            for row, document in enumerate(documents):
                connection.execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?)", _as_row(row, document))
                connection.executemany(
                    "INSERT OR IGNORE INTO facts VALUES (?, ?, ?)", facts_of(row, document)
                )
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
            for row, identifier, title, text, metadata in self._connection.execute(sql, part):
                found[row] = Document(
                    identifier, title, text, {} if metadata == "{}" else json.loads(metadata)
                )
        missing = [row for row in wanted if row not in found]
        if missing:
            raise CorruptArtefact(
                f"{self.path}: holds no document for rows {missing[:5]}, which the index returned."
            )
        return [found[int(row)] for row in rows]

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """The row of each id that is there."""
        found: dict[str, int] = {}
        for start in range(0, len(ids), _AT_ONCE):
            part = list(ids[start : start + _AT_ONCE])
            sql = f"SELECT id, row FROM documents WHERE id IN ({','.join('?' * len(part))})"
            found.update(self._connection.execute(sql, part).fetchall())
        return found

    def ask(self, sql: str, values: Sequence[Fact] = ()) -> sqlite3.Cursor:
        """A query over the tables `documents` and `facts`, for `limbeck.index.filters`."""
        return self._connection.execute(sql, values)

    def all(self) -> Iterator[Document]:
        """Every document in row order, read as they are asked for."""
        sql = "SELECT id, title, text, metadata FROM documents ORDER BY row"
        for identifier, title, text, metadata in self._connection.execute(sql):
            yield Document(identifier, title, text, json.loads(metadata))

    def ids(self) -> Iterator[str]:
        """All ids in row order."""
        for (identifier,) in self._connection.execute("SELECT id FROM documents ORDER BY row"):
            yield identifier

    def __len__(self) -> int:
        return int(self._connection.execute("SELECT COUNT(*) FROM documents").fetchone()[0])

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def _as_row(row: int, document: Document) -> tuple[int, str, str, str, str]:
    metadata = json.dumps(dict(document.metadata), ensure_ascii=False)
    return row, document.id, document.title, document.text, metadata


def facts_of(row: int, document: Document) -> Iterator[tuple[str, Fact, int]]:
    """What filters read: each field of the metadata with its value, or with each value of its list.

    True and false are 1 and 0. Left out: objects, nulls, numbers beyond 64 bits, and texts of more than 200 characters.
    """
    for field, value in document.metadata.items():
        for one in value if isinstance(value, list) else [value]:
            is_short = isinstance(one, str) and len(one) <= LONGEST_FACT
            if is_short or isinstance(one, float) or (isinstance(one, int) and -(2**63) <= one < 2**63):
                yield field, one, row
