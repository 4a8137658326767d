"""All that is wrong with a data set, a file or vectors, found in one pass instead of one error at a time.

Held in memory: the ids, and about 100 bytes a record.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from limbeck.data.dataset import qrels_files, records_file
from limbeck.data.findings import Finding, Level, Tally
from limbeck.data.ids import Ids
from limbeck.data.labels import Judgement, LabelFormat
from limbeck.data.lines import BOM, is_gzip, raw_lines, shown
from limbeck.data.records import Document, format_of
from limbeck.data.vectors import chunks, ids_beside, open_npy, read_ids
from limbeck.errors import DataError

__all__ = ["Finding", "examine"]

_ORDER: dict[Level, int] = {"error": 0, "warning": 1, "note": 2}
_SEPARATORS = tuple(character.encode() for character in ("\u2028", "\u2029", "\u0085"))
_Grades = dict[str, dict[str, int]]
_Record = TypeVar("_Record")


def examine(path: Path | str) -> list[Finding]:
    """Everything wrong with a BEIR folder, a file of records or labels, or a `.npy` file; errors first.

    An empty list means that nothing was found. Nothing is raised for what the data holds.
    """
    path = Path(path)
    if path.is_dir():
        findings = _folder(path)
    elif not path.exists():
        findings = [Finding("error", str(path), "there is nothing here", "check the path")]
    elif path.suffix == ".npy":
        findings = _vectors(path)
    elif path.parent.name == "qrels" or "qrels" in path.name.lower():
        findings = _labels(path)[1]
    else:
        findings = _records(path, kind="documents")[1]
    return sorted(findings, key=lambda finding: _ORDER[finding.level])


def _folder(folder: Path) -> list[Finding]:
    tally = Tally(folder)
    findings: list[Finding] = []
    ids: dict[str, Ids] = {}
    for stem in ("corpus", "queries"):
        try:
            file = records_file(folder, stem)
        except DataError as error:
            tally.add_error(error, fix=f"add {stem}.jsonl")
            continue
        ids[stem], found = _records(file, kind="documents" if stem == "corpus" else "queries")
        findings += found
    splits: dict[str, _Grades] = {}
    try:
        for split, file in qrels_files(folder).items():
            splits[split], found = _labels(file)
            findings += found
    except DataError as error:
        tally.add_error(error, fix="keep one of them")
    if not splits:
        fix = "add qrels/test.tsv to measure quality; distillation itself needs no labels"
        tally.add("note", "no labels in qrels/*.tsv", fix)
    for file in sorted(folder.glob("*.npy")):
        findings += _vectors(file)
    return [*findings, *tally.findings(), *_joined(folder, ids, splits)]


def _records(path: Path, *, kind: str) -> tuple[Ids, list[Finding]]:
    """The ids of all good records of a file, and what is wrong with it."""
    tally = Tally(path)
    lines, hashes = array("q"), array("q")

    def ids() -> Iterator[str]:
        fix = 'correct the line, or open with on_error="skip"'
        for line, document in _parsed(path, tally, _record_reader, fix=fix):
            _look_at_text(document, tally, line=line, kind=kind)
            lines.append(line)
            hashes.append(hash(document.content) if document.content else line)
            yield document.id

    packed = Ids.from_iterable(ids())
    for first, later in sorted(packed.duplicates(), key=lambda pair: pair[1]):
        fix = 'give each its own `_id`, or open with duplicates="first" or "last"'
        example = f"{shown(packed[later])} on line {lines[later]}, as on line {lines[first]}"
        tally.add("error", "an `_id` given before", fix, place=str(lines[later]), example=example)
    _look_for_equal_texts(hashes, lines, tally, kind=kind)
    if not len(packed):
        tally.add("error", f"no {kind}", "check that this is the right file")
    return packed, list(tally.findings())


def _record_reader(path: Path, first_line: bytes) -> tuple[Callable[[bytes, str], Document], bool]:
    form = format_of(path, first_line)
    return form.parse, form.has_header


def _label_reader(path: Path, first_line: bytes) -> tuple[Callable[[bytes, str], Judgement], bool]:
    form = LabelFormat.of(first_line, where=f"{path}:1")
    return form.parse, form.has_header


def _parsed(
    path: Path,
    tally: Tally,
    reader: Callable[[Path, bytes], tuple[Callable[[bytes, str], _Record], bool]],
    *,
    fix: str,
) -> Iterator[tuple[int, _Record]]:
    """(line, record) of the good lines; the others go into the tally, and so does how the file was written."""
    parse: Callable[[bytes, str], _Record] | None = None
    try:
        for line, raw in _cleaned(path, tally):
            if parse is None:
                parse, has_header = reader(path, raw)
                if has_header:
                    continue
            try:
                record = parse(raw, f"{path}:{line}")
            except DataError as error:
                tally.add_error(error, fix=fix, place=str(line))
            else:
                yield line, record
    except DataError as error:  # the file as a whole cannot be read
        tally.add_error(error, fix="check that this is the right file")


def _cleaned(path: Path, tally: Tally) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, without byte order mark and line end; each oddity is noted."""
    if is_gzip(path) and path.suffix != ".gz":
        tally.add("note", "gzip under another name; it is read all the same", "add .gz to the name")
    for line, raw in raw_lines(path):
        place = str(line)
        clean = raw.removesuffix(b"\n").removesuffix(b"\r")
        if line == 1 and raw.startswith(BOM):
            clean = clean.removeprefix(BOM)
            tally.add(
                "note", "a byte order mark; it is passed over", "save as UTF-8 without BOM", place=place
            )
        if raw.endswith(b"\r\n"):
            tally.add(
                "note", "a line that ends in CRLF; it is read all the same", "run dos2unix", place=place
            )
        if any(separator in raw for separator in _SEPARATORS):
            what = "U+2028, U+2029 or U+0085, which end no line here but do in other tools"
            tally.add("note", what, "replace them by spaces if other tools read this file", place=place)
        if clean.strip():
            yield line, clean


def _look_at_text(document: Document, tally: Tally, *, line: int, kind: str) -> None:
    place = str(line)
    if not document.content:
        fix = "leave them out: an empty text gets a vector like any other and can be found"
        tally.add("warning", "a record without any text", fix, place=place)
    elif not document.text.strip() and kind == "documents":
        tally.add("note", "a document with a title only", "check that the text was not lost", place=place)
    if any(map(str.isspace, document.id)):
        what = "an `_id` with white space, which TREC runs cannot hold"
        tally.add("warning", what, "rename these ids, or keep results as JSON", place=place)


def _look_for_equal_texts(hashes: array[int], lines: array[int], tally: Tally, *, kind: str) -> None:
    """Texts are compared by a 64-bit hash."""
    if not hashes:
        return
    values = np.array(hashes, np.int64)
    order = np.argsort(values, kind="stable")
    copies = np.sort(order[1:][values[order[1:]] == values[order[:-1]]])
    fix = "leave copies out: they share one vector, so which of them is found is chance"
    if len(copies):
        places = [str(lines[int(row)]) for row in copies[:5]]
        what = f"{kind} whose text stands on an earlier line"
        level: Level = "note" if kind == "queries" else "warning"
        tally.add_all(level, what, fix, places=places, count=len(copies))


def _labels(path: Path) -> tuple[_Grades, list[Finding]]:
    """The good judgements of a file, and what is wrong with it."""
    tally = Tally(path)
    grades: _Grades = {}
    for line, judgement in _parsed(path, tally, _label_reader, fix="correct the line"):
        of_query = grades.setdefault(judgement.query, {})
        before = of_query.setdefault(judgement.document, judgement.grade)
        if before != judgement.grade:
            tally.add("error", "a pair with two grades", "keep one of them", place=str(line))
        if judgement.grade < 0:
            what = "a grade below 0, which means judged and not relevant"
            tally.add("note", what, "nothing, if this is meant", place=str(line))
    if not grades:
        tally.add("warning", "no labels", "check that this is the right file")
    return grades, list(tally.findings())


def _joined(folder: Path, ids: Mapping[str, Ids], splits: Mapping[str, _Grades]) -> Iterator[Finding]:
    """What fits in no single file: labels that point nowhere, queries without labels or in several splits."""
    tally = Tally(folder)
    for split, grades in splits.items():
        if "corpus" in ids:
            wanted = list(dict.fromkeys(document for of_query in grades.values() for document in of_query))
            missing = _missing(wanted, ids["corpus"])
            what = f"qrels/{split}: documents with labels that are not in the corpus"
            _add_all(tally, "warning", what, "check that qrels and corpus are of one version", missing)
        if "queries" in ids:
            missing = _missing(list(grades), ids["queries"])
            what = f"qrels/{split}: queries with labels that have no text"
            _add_all(
                tally, "warning", what, "add them to queries.jsonl; they are left out of all means", missing
            )
        irrelevant = [query for query, of_query in grades.items() if max(of_query.values()) <= 0]
        what = f"qrels/{split}: queries without any relevant document"
        _add_all(tally, "note", what, "nothing, if this is meant; measures give them 0", irrelevant)
    labelled = [query for grades in splits.values() for query in grades]
    several = [
        query for query in dict.fromkeys(labelled) if sum(query in grades for grades in splits.values()) > 1
    ]
    fix = "keep each query in one split, or results on one tell nothing about the other"
    _add_all(tally, "warning", "queries in several splits", fix, several)
    if splits and "queries" in ids:
        known = set(labelled)
        without = [query for query in ids["queries"] if query not in known]
        _add_all(tally, "note", "queries without labels", "nothing; they still serve to distil", without)
    return tally.findings()


def _missing(wanted: list[str], ids: Ids) -> list[str]:
    return [name for name, row in zip(wanted, ids.rows_of(wanted), strict=True) if row < 0]


def _add_all(tally: Tally, level: Level, what: str, fix: str, names: list[str]) -> None:
    if names:
        tally.add_all(level, what, fix, count=len(names), example=", ".join(map(shown, names[:5])))


def _vectors(path: Path) -> list[Finding]:
    tally = Tally(path)
    try:
        stored = open_npy(path)
    except DataError as error:
        tally.add_error(error, fix="write it with np.save(path, vectors.astype(np.float32))")
        return list(tally.findings())
    if not len(stored):
        tally.add("error", "no vectors", "check that this is the right file")
    _look_at_ids(path, tally, count=len(stored))
    shortest, longest = np.inf, 0.0
    for start, chunk in chunks(stored):
        values = chunk.astype(np.float32)
        finite = np.isfinite(values).all(axis=1)
        norms = np.linalg.norm(values.astype(np.float64), axis=1)
        for row in np.flatnonzero(~finite):
            tally.add("error", "a vector with NaN or infinity", "encode it again", place=f"row {start + row}")
        for row in np.flatnonzero(finite & (norms == 0)):
            fix = "encode it again; a zero vector scores 0 with every query"
            tally.add("warning", "a zero vector", fix, place=f"row {start + row}")
        good = norms[finite & (norms > 0)]
        if len(good):
            shortest, longest = min(shortest, float(good.min())), max(longest, float(good.max()))
    if longest - shortest > 1e-3 * longest:
        what = (
            f"lengths from {shortest:.4g} to {longest:.4g}: inner product and cosine rank these differently"
        )
        tally.add("note", what, "divide by the length if the model was trained for cosine")
    return list(tally.findings())


def _look_at_ids(path: Path, tally: Tally, *, count: int) -> None:
    try:
        file = ids_beside(path)
        ids = None if file is None else read_ids(file)
    except DataError as error:
        tally.add_error(error, fix="write one id a line")
        return
    if ids is None:
        tally.add("note", "no file of ids; rows are called 0, 1, ...", f"add {path.stem}.ids.jsonl")
    elif len(ids) != count:
        tally.add("error", f"{count} vectors, but {len(ids)} ids in {file}", "write one id for each row")
