"""Numbered lines of text files, and the JSON in them: all that is wrong is a `DataError` with file and line.

Files are read as bytes and split at line feeds alone: `str.splitlines` would also split at U+2028 and U+0085,
which occur inside real texts. A byte order mark on line 1, CRLF and a missing final newline are accepted;
gzip is recognised by its first two bytes.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

from limbeck.errors import DataError

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

MOST_NESTED = 100  # brackets; writing a value needs a level of Python's stack for each, as reading it does
BOM = b"\xef\xbb\xbf"
_GZIP_MAGIC = b"\x1f\x8b"


def numbered_lines(path: Path | str) -> Iterator[tuple[int, bytes]]:
    """Each line of a plain or gzipped file with its number from 1, without its line end; held one at a time.

    raises  DataError if the file is missing, cannot be read, or is a truncated or damaged gzip file
    """
    for line, _, raw in placed_lines(path):
        yield line, raw


def placed_lines(path: Path | str) -> Iterator[tuple[int, int, bytes]]:
    """(number from 1, byte offset in the uncompressed file, line without byte order mark and line end)."""
    offset = 0
    for line, raw in raw_lines(path):
        skipped = len(BOM) if line == 1 and raw.startswith(BOM) else 0
        yield line, offset + skipped, raw[skipped:].removesuffix(b"\n").removesuffix(b"\r")
        offset += len(raw)


def raw_lines(path: Path | str) -> Iterator[tuple[int, bytes]]:
    """Each line with its number from 1, just as it stands in the (uncompressed) file."""
    line = 0
    with opened(path) as stream:
        try:
            for line, raw in enumerate(stream, start=1):
                yield line, raw
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"{path}:{line + 1}: expected a complete gzip file, found damage ({error}).\n\n"
                "Hint: it was probably cut while being copied; fetch it again."
            ) from error


@contextmanager
def opened(path: Path | str) -> Iterator[BinaryIO]:
    """The bytes of a file, unzipped where it is gzip."""
    path = Path(path)
    if is_gzip(path) or path.suffix == ".gz":
        with gzip.open(path, "rb") as unzipped:
            yield cast("BinaryIO", unzipped)
    else:
        with path.open("rb") as stream:
            yield stream


def is_gzip(path: Path | str) -> bool:
    """True when the file begins like a gzip file, whatever its name."""
    try:
        with Path(path).open("rb") as stream:
            return stream.read(2) == _GZIP_MAGIC
    except OSError as error:
        raise DataError(f"{path}: expected a readable file, found: {error.strerror or error}.") from error


def decoded(raw: bytes, *, where: str) -> str:
    """The line as text. raises DataError that names the first byte that is not UTF-8, or the first NUL."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: expected UTF-8, found byte 0x{raw[error.start]:02x} at byte {error.start} of the line "
            f"({error.reason}).\n\nHint: convert it with `iconv -f LATIN1 -t UTF-8`, if that is its encoding."
        ) from error
    if "\0" in text:
        raise DataError(f"{where}: expected text, found a NUL byte at byte {raw.index(0)} of the line.")
    return text


def parsed_json(raw: bytes, *, where: str) -> Json:
    """The JSON value of a line; stricter than the `json` module.

    raises  DataError on bad UTF-8, NUL, bad JSON, a key given twice, NaN, infinity, numbers that do not fit,
            nesting too deep to parse, and surrogates without their partner (they cannot be written as UTF-8)
    """
    text = decoded(raw, where=where)
    try:
        value = cast("Json", _DECODER.decode(text))
    except RecursionError:
        raise DataError(f"{where}: expected a JSON record, found brackets nested too deep.") from None
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: expected a JSON record, found {shown(text)}: {error.msg} at character {error.pos + 1}."
        ) from None
    except ValueError as error:
        raise DataError(f"{where}: expected a JSON record, found {error}.") from None
    if text.count("[") + text.count("{") > MOST_NESTED and depth(value) > MOST_NESTED:
        raise DataError(
            f"{where}: expected a JSON record, found brackets nested more than {MOST_NESTED} deep."
        )
    if b"\\u" in raw:
        _check_escapes(value, where=where)
    return value


def depth(value: Json) -> int:
    """How many brackets deep a JSON value is nested; 0 without any. Level by level: nothing is too deep for it."""
    levels, inside = 0, [value]
    while inside := [one for one in inside if isinstance(one, (dict, list))]:
        inside = [item for one in inside for item in (one.values() if isinstance(one, dict) else one)]
        levels += 1
    return levels


def shown(text: object) -> str:
    """A value as it appears in error messages: quoted, at most 80 characters."""
    quoted = repr(text)
    return quoted if len(quoted) <= 80 else f"{quoted[:77]}..."


def _check_escapes(value: Json, *, where: str) -> None:
    r"""Refuse what escapes can smuggle in: half surrogate pairs and \u0000."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_escapes(key, where=where)
            _check_escapes(item, where=where)
    elif isinstance(value, list):
        for item in value:
            _check_escapes(item, where=where)
    elif isinstance(value, str):
        if "\0" in value:
            raise DataError(f"{where}: expected text, found a NUL written as \\u0000.")
        half = next((c for c in value if "\ud800" <= c <= "\udfff"), None)
        if half is not None:
            raise DataError(f"{where}: expected text, found half a surrogate pair, \\u{ord(half):04x}.")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {shown(twice)} twice")
    return record


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]}, which is too large")
    return number


def _no_constant(name: str) -> float:
    raise ValueError(f"{name}, which JSON does not have")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_keys, parse_float=_finite, parse_constant=_no_constant, strict=True
)
