"""One record a line: a document or a query, from JSON or from tab-separated columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limbeck.data.lines import decoded, parsed_json, shown
from limbeck.errors import DataError

_HEADERS = (["id", "text"], ["_id", "text"], ["id", "title", "text"], ["_id", "title", "text"])


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it stands in the corpus."""

    id: str
    title: str = ""
    text: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """What encoders read: title, space, text, without outer white space, as BEIR does it."""
        return f"{self.title} {self.text}".strip()


@dataclass(frozen=True, slots=True)
class Format:
    """How to read the records of one file. `has_header` is True when line 1 names the columns."""

    parse: Callable[[bytes, str], Document]
    has_header: bool = False


def format_of(path: Path, first_line: bytes) -> Format:
    """JSON lines or TSV, by the name; the columns of a TSV by its first line."""
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    suffix = suffixes[-1] if suffixes else ""
    if suffix in {".jsonl", ".json", ".ndjson"}:
        return Format(parse_json_record)
    if suffix in {".tsv", ".txt"}:
        return _tsv_format(path, first_line)
    raise DataError(
        f"{path}: expected a name that ends in .jsonl, .jsonl.gz, .tsv or .tsv.gz, found {path.name!r}.\n\n"
        'Hint: one record a line, such as {"_id": "d1", "title": "", "text": "..."}.'
    )


def _tsv_format(path: Path, first_line: bytes) -> Format:
    columns = decoded(first_line, where=f"{path}:1").split("\t") if first_line else ["", ""]
    if len(columns) not in (2, 3):
        raise DataError(
            f"{path}:1: expected 2 columns `id, text` or 3 columns `id, title, text` separated by tabs, "
            f"found {len(columns)}: {shown(columns)}."
        )
    header = [column.strip().lower() for column in columns] in _HEADERS
    width = len(columns)
    return Format(lambda raw, where: parse_tsv_record(raw, where, width=width), has_header=header)


def parse_tsv_record(raw: bytes, where: str, *, width: int) -> Document:
    r"""`id \t text` (width 2) or `id \t title \t text` (width 3); no quoting, as in MS MARCO."""
    columns = decoded(raw, where=where).split("\t")
    if len(columns) != width:
        raise DataError(
            f"{where}: expected {width} columns separated by tabs as on line 1, found {len(columns)}: "
            f"{shown(columns)}.\n\nHint: texts that hold tabs need JSON lines."
        )
    identifier = _checked_id(columns[0], where)
    return Document(identifier, "" if width == 2 else columns[1], columns[-1])


def parse_json_record(raw: bytes, where: str) -> Document:
    """`{"_id": str, "title": str, "text": str, ...}`; other fields, and those of "metadata", are metadata."""
    record = parsed_json(raw, where=where)
    if not isinstance(record, dict):
        raise DataError(f'{where}: expected a record {{"_id": ..., "text": ...}}, found {_kind(record)}.')
    identifier = _checked_id(_id_field(record, where), where)
    title = record.get("title")
    if title is not None and not isinstance(title, str):
        raise DataError(f"{where}: expected `title` to be a string, found {_kind(title)}: {shown(title)}.")
    text = record.get("text")
    if not isinstance(text, str):
        came = "none" if "text" not in record else f"{_kind(text)}: {shown(text)}"
        raise DataError(f"{where}: expected a string in the field `text`, found {came}.")
    return Document(identifier, title or "", text, _metadata(record))


def _id_field(record: Mapping[str, Any], where: str) -> object:
    if "_id" not in record:
        near = next(
            (name for name in ("id", "docid", "doc_id", "query_id", "qid", "pid") if name in record), None
        )
        hint = f"\n\nHint: rename the field `{near}` to `_id`." if near else ""
        raise DataError(f"{where}: expected a field `_id`, found only {shown(list(record))}.{hint}")
    return record["_id"]


def _checked_id(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(
            f"{where}: expected `_id` to be a string, found {_kind(value)}: {shown(value)}.\n\n"
            'Hint: write "7", not 7; ids are never cast, since 7, 7.0 and "07" would meet.'
        )
    if not value.strip():
        raise DataError(f"{where}: expected `_id` to name the record, found {shown(value)}.")
    return value


def _metadata(record: Mapping[str, Any]) -> dict[str, Any]:
    extra = {
        name: value for name, value in record.items() if name not in {"_id", "title", "text", "metadata"}
    }
    nested = record.get("metadata")
    if isinstance(nested, dict):
        return {**nested, **extra}
    return extra if nested is None else {**extra, "metadata": nested}


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
