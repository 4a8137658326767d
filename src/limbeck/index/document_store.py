"""The documents of an artefact in SQLite: row to id, title, text and metadata, without loading any of them up front."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from limbeck.data.lines import MOST_NESTED, depth, shown
from limbeck.data.records import Document
from limbeck.errors import CorruptArtefact, DataError

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

    def __init__(self, path: Path, *, rows: int | None = None) -> None:
        """Rows: how many documents there must be. raises CorruptArtefact where there are others, or other tables"""
        self.path = path
        address = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        try:
            self._connection = sqlite3.connect(address, uri=True, check_same_thread=False)
        except sqlite3.Error as error:
            raise CorruptArtefact(f"{path}: cannot be opened: {error}.") from error
        tables = dict(self.ask("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        if tables not in ({"documents": _SCHEMA}, {"documents": _SCHEMA, "facts": _FACTS}):
            raise CorruptArtefact(
                f"{path}: its tables {sorted(map(str, tables))} are not those of documents."
            )
        ((first, last),) = self.ask("SELECT MIN(row), MAX(row) FROM documents")
        if rows is not None and (first, last) != ((0, rows - 1) if rows else (None, None)):
            raise CorruptArtefact(
                f"{path}: holds documents {first} to {last}; the index holds 0 to {rows - 1}."
            )
        self._rows = 0 if last is None else int(last) + 1

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
            for row, *fields in self.ask(sql, part):
                found[row] = self._document(*fields)
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
            found.update(self.ask(sql, part))
        if not all(type(row) is int and 0 <= row < self._rows for row in found.values()):
            raise CorruptArtefact(f"{self.path}: names rows that are not below {self._rows}.")
        return found

    def ask(self, sql: str, values: Sequence[Fact] = ()) -> list[Any]:
        """All rows of a query over the tables `documents` and `facts`. raises CorruptArtefact where they are damaged"""
        return list(self._asked(sql, values))

    def _asked(self, sql: str, values: Sequence[Fact] = ()) -> Iterator[Any]:
        try:
            yield from self._connection.execute(sql, values)
        except (OverflowError, UnicodeEncodeError) as error:
            raise DataError(f"SQLite cannot hold one of the values {shown(values)}: {error}.") from error
        except sqlite3.DatabaseError as error:
            raise CorruptArtefact(f"{self.path}: cannot be read: {error}.") from error

    def _document(self, identifier: object, title: object, text: object, metadata: object) -> Document:
        try:
            told = {} if metadata == "{}" else json.loads(metadata)  # type: ignore[arg-type]
        except (ValueError, TypeError, RecursionError) as error:
            raise CorruptArtefact(
                f"{self.path}: metadata of {shown(identifier)} cannot be read: {error}."
            ) from error
        if not (isinstance(identifier, str) and isinstance(title, str) and isinstance(text, str)):
            raise CorruptArtefact(f"{self.path}: id, title and text of {shown(identifier)} must be texts.")
        if not isinstance(told, dict) or depth(told) > MOST_NESTED:
            raise CorruptArtefact(
                f"{self.path}: metadata of {shown(identifier)} must be an object, at most {MOST_NESTED} brackets deep."
            )
        return Document(identifier, title, text, told)

    def all(self) -> Iterator[Document]:
        """Every document in row order, read as they are asked for."""
        sql = "SELECT id, title, text, metadata FROM documents ORDER BY row"
        for fields in self._asked(sql):
            yield self._document(*fields)

    def ids(self) -> Iterator[str]:
        """All ids in row order."""
        for (identifier,) in self._asked("SELECT id FROM documents ORDER BY row"):
            if not isinstance(identifier, str):
                raise CorruptArtefact(f"{self.path}: ids must be texts, found {shown(identifier)}.")
            yield identifier

    def __len__(self) -> int:
        return int(self.ask("SELECT COUNT(*) FROM documents")[0][0])

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
