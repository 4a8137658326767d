"""Documents by row, read from disk when asked for: a corpus may be larger than memory."""

from __future__ import annotations

import hashlib
import json
import mmap
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO

from limbeck.data.ids import Ids
from limbeck.data.lines import is_gzip, opened
from limbeck.data.records import Document
from limbeck.data.scan import Duplicates, OnError, Scanned, scan_records
from limbeck.errors import DataError

__all__ = ["Corpus", "Document"]


class Corpus:
    """N documents in file order, with random access by row.

    Held in memory: the ids and 32 bytes a document. The texts stay in the file, which is memory-mapped and
    must not be changed while the corpus is in use; gzipped files and iterables are first written to a
    temporary file without a name.
    """

    def __init__(self, scanned: Scanned, mapped: mmap.mmap | bytes, *, name: str) -> None:
        """Use `open` or `from_documents`."""
        self._scanned = scanned
        self._mapped = mapped
        self.name = name

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        on_error: OnError = "raise",
        duplicates: Duplicates = "error",
        rejects: Path | None = None,
    ) -> Corpus:
        r"""Check and index a file of documents, plain or gzipped. One pass, about 10 MB a second.

        .jsonl       {"_id": str, "title": str, "text": str, ...} a line; other fields are metadata
        .tsv         `id \t text` or `id \t title \t text`, no quoting
        on_error     "skip" leaves bad lines out, counts them in the log and, where the folder `rejects` is
                     given, writes them to `<name>.rejects.jsonl` there
        duplicates   what to do with an `_id` that comes again
        raises       DataError that names file and line
        """
        path = Path(path)
        scanned = scan_records(path, on_error=on_error, duplicates=duplicates, rejects=rejects)
        if not is_gzip(path):
            with path.open("rb") as stream:
                return cls(scanned, _mapped(stream), name=str(path))
        with tempfile.TemporaryFile() as spool, opened(path) as unzipped:
            shutil.copyfileobj(unzipped, spool, 1 << 20)
            return cls(scanned, _mapped(spool), name=str(path))

    @classmethod
    def from_documents(cls, documents: Iterable[Document], *, duplicates: Duplicates = "error") -> Corpus:
        """A corpus of documents that are made, not read; spooled to a temporary file, not held."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "documents.jsonl"
            with path.open("wb") as stream:
                for document in documents:
                    stream.write(json_line(document))
            return cls.open(path, duplicates=duplicates)

    @property
    def ids(self) -> Ids:
        """The string id of each row."""
        return self._scanned.ids

    def __len__(self) -> int:
        return len(self._scanned.ids)

    def __getitem__(self, row: int) -> Document:
        if not 0 <= row < len(self):  # no counting from the end: -1 is what hits hold where there is nothing
            raise IndexError(f"row {row} of {len(self)} documents; rows count from 0.")
        raw = self._mapped[self._scanned.starts[row] : self._scanned.ends[row]]
        return self._scanned.parse(raw, f"{self.name}:{self._scanned.lines[row]}")

    def __iter__(self) -> Iterator[Document]:
        for row in range(len(self)):
            yield self[row]

    def __repr__(self) -> str:
        return f"Corpus({self.name!r}, {len(self)} documents)"

    def texts(self, start: int = 0, stop: int | None = None) -> list[str]:
        """The contents (title and text) of rows start to stop, as encoders read them."""
        stop = len(self) if stop is None else min(stop, len(self))
        return [self[row].content for row in range(start, stop)]

    def texts_of(self, rows: Iterable[int]) -> list[str]:
        """The contents of these rows, in their order."""
        return [self[int(row)].content for row in rows]

    @cached_property
    def fingerprint(self) -> str:
        """sha256 in hex over all ids and contents in order, however the file was written."""
        return content_hash((document.id, document.content) for document in self)


def content_hash(records: Iterable[Sequence[str]]) -> str:
    """sha256 in hex over records of strings; lengths are hashed too, so that no two lists run together."""
    digest = hashlib.sha256()
    for record in records:
        for part in record:
            encoded = part.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "little"))
            digest.update(encoded)
    return digest.hexdigest()


def json_line(document: Document) -> bytes:
    """The document as a line of corpus.jsonl, with its line end."""
    record: dict[str, object] = {"_id": document.id, "title": document.title, "text": document.text}
    if document.metadata:
        record["metadata"] = dict(document.metadata)
    try:
        return (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
    except (TypeError, ValueError) as error:
        raise DataError(f"document {document.id!r}: expected what JSON can hold, found: {error}.") from error


def _mapped(stream: IO[bytes]) -> mmap.mmap | bytes:
    stream.flush()
    stream.seek(0, 2)
    if stream.tell() == 0:  # an empty file cannot be mapped
        return b""
    return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
