"""One pass over a file of records: lines are checked, their places kept, faults refused or set aside."""

from __future__ import annotations

import json
import logging
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO, TypeAlias

import numpy as np
from tqdm import tqdm

from limbeck.data.ids import Ids
from limbeck.data.lines import placed_lines, shown
from limbeck.data.records import Document, format_of
from limbeck.errors import DataError
from limbeck.types import Rows

OnError: TypeAlias = Literal["raise", "skip"]
Duplicates: TypeAlias = Literal["error", "first", "last"]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scanned:
    """Where each record of a file lies. Row i is the i-th record that was kept, in file order."""

    ids: Ids
    starts: Rows  # [N] byte offset in the uncompressed file
    ends: Rows  # [N]
    lines: Rows  # [N] line numbers from 1
    parse: Callable[[bytes, str], Document]
    rows: Rows  # [N] the place of each record among all good records, duplicates counted


@dataclass(slots=True)
class _Rejects:
    """Lines that could not be used: counted, five kept for the log, all written where a folder was given."""

    path: Path
    on_error: OnError
    stream: TextIO | None
    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, line: int, raw: bytes, error: DataError) -> None:
        if self.on_error == "raise":
            raise error
        self.count += 1
        if len(self.first) < 5:
            self.first.append(str(error).split("\n", 1)[0])
        if self.stream:
            record = {"line": line, "reason": str(error), "bytes": raw.decode("utf-8", "backslashreplace")}
            self.stream.write(json.dumps(record) + "\n")


def scan_records(
    path: Path,
    *,
    on_error: OnError = "raise",
    duplicates: Duplicates = "error",
    rejects: Path | None = None,
    keep: Callable[[Document], None] | None = None,
) -> Scanned:
    """Check every record and note where it lies: 32 bytes a record, and its id. Blank lines are passed over.

    keep      called with each good line, before duplicates are dropped
    rejects   folder for `<name>.rejects.jsonl`, written when on_error is "skip"
    raises    DataError at the first bad line, or at the first pair of lines with the same `_id`
    """
    starts, ends, lines = array("q"), array("q"), array("q")
    parse: Callable[[bytes, str], Document] | None = None
    empty = 0

    def good_records() -> Iterator[str]:
        nonlocal parse, empty
        with _rejects(path, on_error=on_error, folder=rejects) as rejected:
            for line, start, raw in tqdm(
                placed_lines(path), desc=path.name, unit=" lines", delay=2, leave=False
            ):
                if not raw.strip():
                    continue
                if parse is None:
                    form = format_of(path, raw)
                    parse = form.parse
                    if form.has_header:
                        continue
                try:
                    document = parse(raw, f"{path}:{line}")
                except DataError as error:
                    rejected.add(line, raw, error)
                    continue
                starts.append(start)
                ends.append(start + len(raw))
                lines.append(line)
                empty += not document.content
                if keep:
                    keep(document)
                yield document.id

    ids = Ids.from_iterable(good_records())
    if empty:
        _log.warning("%s: %d of %d records have no text; they are kept as empty texts", path, empty, len(ids))
    scanned = Scanned(
        ids,
        starts=_column(starts),
        ends=_column(ends),
        lines=_column(lines),
        parse=parse or format_of(path, b"").parse,
        rows=np.arange(len(ids), dtype=np.int64),
    )
    return _without_duplicates(scanned, path=path, duplicates=duplicates)


def kept_rows(count: int, pairs: list[tuple[int, int]], duplicates: Duplicates) -> Rows:
    """The rows that stay when of rows with one id only the first, or only the last, is kept."""
    dropped = {later for _, later in pairs}
    if duplicates == "last":
        last = dict(sorted(pairs))  # first row -> its last copy
        dropped = (dropped | set(last)) - set(last.values())
    return np.setdiff1d(np.arange(count, dtype=np.int64), np.fromiter(dropped, np.int64, len(dropped)))


def _column(values: array[int]) -> Rows:
    return np.array(values, np.int64) if values else np.zeros(0, np.int64)


def _without_duplicates(scanned: Scanned, *, path: Path, duplicates: Duplicates) -> Scanned:
    pairs = sorted(scanned.ids.duplicates(), key=lambda pair: pair[1])
    if not pairs:
        return scanned
    if duplicates == "error":
        first, later = pairs[0]
        raise DataError(
            f"{path}:{scanned.lines[later]}: expected each `_id` once, found {shown(scanned.ids[later])} "
            f"again; it stands on line {scanned.lines[first]} already ({len(pairs)} such lines).\n\n"
            'Hint: pass duplicates="first" or duplicates="last" to keep one of them.'
        )
    rows = kept_rows(len(scanned.ids), pairs, duplicates)
    _log.warning("%s: kept the %s of records with the same _id, left out %d", path, duplicates, len(pairs))
    return Scanned(
        scanned.ids.take(rows),
        scanned.starts[rows],
        scanned.ends[rows],
        scanned.lines[rows],
        scanned.parse,
        rows,
    )


@contextmanager
def _rejects(path: Path, *, on_error: OnError, folder: Path | None) -> Iterator[_Rejects]:
    if on_error == "skip" and folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{path.name}.rejects.jsonl").open("w", encoding="utf-8") as stream:
            rejected = _Rejects(path, on_error, stream)
            yield rejected
    else:
        rejected = _Rejects(path, on_error, None)
        yield rejected
    if rejected.count:
        _log.warning(
            "%s: left out %d bad lines, such as: %s", path, rejected.count, "; ".join(rejected.first)
        )
