"""Damage to files, and malice by someone who knows the formats: each mutation is drawn from a generator.

`damaged` is what disks and copies do, to any file. `hostile` also rewrites headers, settings, arrays and tables, by the
kind of file. `mended` then makes all hashes inside and outside of the files match, as whoever publishes a file could.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sqlite3
import struct
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

PAGE, SECTOR, HEADER = 4096, 512, 256
DEEP = 100_000  # brackets
EVIL_INTEGERS = [0, 1, -1, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**60, 2**63 - 1]
EVIL_FLOATS = [math.nan, math.inf, -math.inf, 3e38, -3e38, 1e-45]
EVIL_TEXTS = ["", "x", "\0", "\ud800", "../x"]
EVIL_VALUES = [
    None,
    True,
    False,
    *EVIL_TEXTS,
    [],
    {},
    [[]],
    {"": 0},
    0.5,
    -0.0,
    1e308,
    *EVIL_INTEGERS,
    *EVIL_FLOATS,
]
EVIL_TYPES = [
    "'|O'",
    "'>f4'",
    "'<f8'",
    "'<U9'",
    "'|V3'",
    "'<c16'",
    "'<M8[s]'",
    "'|b1'",
    "'<f2'",
    "'|i1'",
    "[]",
    "1",
]
EVIL_SHAPES = [
    *["()", "(-1,)", "(0, 0)", "(0, 16)", "(3, 3, 3)", "(1,)", "(2.5, 4)", "('x',)", "(True, 1)"],
    *(f"({2**40}, 0)", f"({2**40}, {2**40})", f"({2**62}, 4)", f"({2**31}, 1)", f"(1, {2**63})"),
    "(" * 300 + ")" * 300,
]
NESTED = "@nested@"


# Damage


def truncated(data, rng):
    return data[: rng.choice([0, 1, len(data) // 2, rng.randrange(len(data))])]


def truncated_at_the_tail(data, rng):
    return data[: -rng.choice([1, 2, 8, 100, SECTOR, PAGE])]


def bit_flipped(data, rng):
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]


def bit_flipped_in_the_header(data, rng):
    return bit_flipped(data[:HEADER], rng) + data[HEADER:]


def sector_zeroed(data, rng):
    start = SECTOR * rng.randrange(-(-len(data) // SECTOR))
    return data[:start] + bytes(len(data[start : start + SECTOR])) + data[start + SECTOR :]


def pages_swapped(data, rng):
    pages = [data[start : start + PAGE] for start in range(0, len(data), PAGE)]
    first, second = rng.randrange(len(pages)), rng.randrange(len(pages))
    pages[first], pages[second] = pages[second], pages[first]
    return b"".join(pages)


def lengthened(data, rng):
    return data + rng.randbytes(rng.choice([1, 8, SECTOR]))


def integer_overwritten(data, rng):
    width = rng.choice([4, 8])
    end = rng.choice([HEADER, HEADER, len(data)])
    value = rng.choice(EVIL_INTEGERS) % 2 ** (8 * width)
    place = rng.randrange(max(1, min(end, len(data)) - width))
    return data[:place] + value.to_bytes(width, "little") + data[place + width :]


def float_overwritten(data, rng):
    place = 4 * rng.randrange(max(1, len(data) // 4)) + rng.randrange(4)
    return data[:place] + struct.pack("<f", rng.choice(EVIL_FLOATS)) + data[place + 4 :]


DAMAGE = [
    truncated,
    truncated_at_the_tail,
    bit_flipped,
    bit_flipped_in_the_header,
    sector_zeroed,
    pages_swapped,
    lengthened,
    integer_overwritten,
    float_overwritten,
]


# Malice


def json_changed(data, rng):
    """A value somewhere in the JSON becomes another, goes, or becomes brackets nested 100,000 deep."""
    return _dumped(_value_changed(json.loads(data), rng))


def safetensors_header_changed(data, rng):
    """The same in the header, or in the JSON that Limbeck keeps in it as a string."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    inner = header.get("__metadata__", {}).get("limbeck")
    if inner is not None and rng.random() < 0.6:
        header["__metadata__"]["limbeck"] = json_changed(inner, rng).decode("utf-8", "replace")
        raw = json.dumps(header).encode()
    else:
        raw = _dumped(_value_changed(header, rng))
    return len(raw).to_bytes(8, "little") + raw + data[8 + length :]


def safetensors_array_changed(data, rng):
    """An array with other values, of another shape or type, under another name, or not there."""
    arrays = dict(load(data))
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__")
    name = rng.choice(sorted(arrays))
    array = arrays.pop(name)
    kind = rng.randrange(5)
    if kind == 0:
        arrays[name] = _values_changed(array, rng)
    elif kind == 1:
        shapes = [array.shape[::-1], (array.size,), (1, array.size), array[:0].shape, (*array.shape, 0), ()]
        arrays[name] = np.resize(array, rng.choice(shapes))
    elif kind == 2:
        arrays[name] = array.astype(rng.choice(["f8", "f2", "i8", "u1", "?", "c8"]))
    elif kind == 3:
        arrays[rng.choice(["x", "base", "rotation", "query_map", "routing"])] = array
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata=metadata)


def npy_header_changed(data, rng):
    """Another shape, type or order in the header of an .npy file, whose length stays right."""
    wide = data[6] > 1
    start = 12 if wide else 10
    length = int.from_bytes(data[8:start], "little")
    text = data[start : start + length].decode("latin1").rstrip()
    kind = rng.randrange(4)
    if kind == 0:
        text = re.sub(r"'shape': \([^)]*\)", f"'shape': {rng.choice(EVIL_SHAPES)}", text)
    elif kind == 1:
        text = re.sub(r"'descr': '[^']*'", f"'descr': {rng.choice(EVIL_TYPES)}", text)
    elif kind == 2:
        text = text.replace("'fortran_order': False", f"'fortran_order': {rng.choice(['True', 'None', '7'])}")
    else:
        text = rng.choice(["{}", "", "{'shape': (1,)}", "[" * 5000, "print(1)", text[:-3], "{**{}}"])
    raw = (text + "\n").encode("latin1")
    if len(raw) < length:
        raw = raw[:-1] + b" " * (length - len(raw)) + b"\n"
    return data[:8] + len(raw).to_bytes(start - 8, "little") + raw + data[start + length :]


def sqlite_changed(data, rng):
    """Rows that go or get other numbers, columns of other types, tables that go or become a view without end."""
    row, other = rng.randrange(200), rng.choice(EVIL_INTEGERS[2:])
    texts = ["", "1", "[1]", '{"a":', "[" * DEEP]
    bad = rng.choice(["x'00ff'", "CAST(x'ff80' AS TEXT)", "7", *(f"'{text}'" for text in texts)])
    column = rng.choice(["id", "title", "text", "metadata"])
    endless = "WITH RECURSIVE r(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM r)"
    scripts = [
        f"UPDATE documents SET {column} = {bad} WHERE row = {row}",
        f"UPDATE documents SET {column} = {bad} || row",
        f"UPDATE documents SET metadata = {bad}",
        f"DELETE FROM documents WHERE row >= {row}",
        f"DELETE FROM documents WHERE row = {row}",
        "DELETE FROM documents",
        f"UPDATE documents SET row = {other} WHERE row = {row}",
        f"INSERT INTO documents VALUES ({other}, 'more', '', '', '{{}}')",
        f"UPDATE facts SET row = {other} WHERE row = {row}",
        f"UPDATE facts SET row = 'x' || row WHERE row = {row}",
        f"UPDATE facts SET value = {bad} WHERE row = {row}",
        f"UPDATE OR IGNORE facts SET field = {bad}",
        f"INSERT INTO facts VALUES (x'00', x'00', {other})",
        "DROP TABLE facts",
        "DROP TABLE documents",
        "ALTER TABLE documents RENAME COLUMN text TO body",
        f"DROP TABLE documents; CREATE VIEW documents AS {endless} SELECT n AS row, n AS id, '' AS title, '' AS text, "
        "'{}' AS metadata FROM r",
        f"DROP TABLE facts; CREATE VIEW facts AS {endless} SELECT 'kind' AS field, n AS value, n AS row FROM r",
        "PRAGMA user_version = 7; PRAGMA application_id = 7; VACUUM",
        "PRAGMA encoding = 'UTF-16le'; PRAGMA page_size = 512; VACUUM",
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 1 + abs(random() % 9)",
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'TEXT', 'BLOB')",
    ]
    return after_sql(data, rng.choice(scripts))


def after_sql(data, script):
    """The bytes of a database after some statements; those that fail change nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "documents.sqlite"
        path.write_bytes(data)
        connection = sqlite3.connect(path)
        try:
            connection.executescript(script)
            connection.commit()
        except sqlite3.Error:
            connection.rollback()
        finally:
            connection.close()
        return path.read_bytes()


MALICE = {
    ".json": [json_changed],
    "CURRENT": [json_changed],
    ".safetensors": [safetensors_header_changed, safetensors_array_changed],
    ".npy": [npy_header_changed],
    ".sqlite": [sqlite_changed],
    ".faiss": [integer_overwritten, integer_overwritten, float_overwritten],
}


def damaged(name, data, rng):
    """(which damage, other bytes) of a file."""
    return _other(data, rng, DAMAGE)


def hostile(name, data, rng):
    """(which mutation, other bytes) of a file, by its name: as often malice as damage."""
    known = MALICE.get(Path(name).suffix or Path(name).name, [])
    return _other(data, rng, known if known and rng.random() < 0.6 else DAMAGE)


def mended(files, name, data):
    """The files that change, by name, when `name` holds `data` and every hash and size of it is made right.

    files  name inside the artefact to bytes: CURRENT, and all of one generation
    """
    changed = {name: data}
    while True:
        again = {name: data}
        for other, held in files.items():
            now = held
            for which, new in changed.items():
                if other not in {which, name}:
                    now = _renamed(now, files[which], new)
            if now != held:
                again[other] = now
        if again == changed:
            return changed
        changed = again


def _renamed(text, old, new):
    """The text with the hash of new bytes where that of old ones stood, and their size beside it as in a manifest."""
    before, after = (hashlib.sha256(raw).hexdigest().encode() for raw in (old, new))
    if before not in text:
        return text
    sizes = (b'"size": %d,\n   "sha256": "%b"' % (len(raw), after) for raw in (old, new))
    return text.replace(before, after).replace(*sizes)


def drawn(names, rng):
    """The name of a file: each part of an artefact as often as each other, however many files it has."""
    parts = {}
    for name in sorted(names):
        parts.setdefault("/".join(name.split("/")[:2]), []).append(name)
    return rng.choice(parts[rng.choice(sorted(parts))])


def _other(data, rng, kinds):
    while True:
        kind = rng.choice(kinds if data else [lengthened])
        new = kind(data, rng)
        if new != data:
            return kind.__name__, new


def _value_changed(value, rng):
    """A copy of JSON in which one value, at any depth, is another one or is missing."""
    inside = isinstance(value, (dict, list)) and value and rng.random() < 0.85
    if not inside:
        return NESTED if rng.random() < 0.1 else rng.choice([*EVIL_VALUES, [value], str(value), {"x": value}])
    copied = dict(value) if isinstance(value, dict) else list(value)
    place = rng.choice(list(copied)) if isinstance(value, dict) else rng.randrange(len(copied))
    kind = rng.random()
    if kind < 0.15:
        del copied[place]
    elif kind < 0.2 and isinstance(copied, dict):
        copied["more"] = copied[place]
    else:
        copied[place] = _value_changed(copied[place], rng)
    return copied


def _values_changed(array, rng):
    flat = array.copy().ravel()
    count = rng.choice([1, 1, max(1, flat.size // 10), flat.size])
    places = [rng.randrange(flat.size) for _ in range(count)] if flat.size else []
    with np.errstate(all="ignore"):
        evil = rng.choice(EVIL_FLOATS if array.dtype.kind == "f" else [0, 127, -128])
        flat[places] = np.array(evil).astype(array.dtype)
    return flat.reshape(array.shape)


def _dumped(value):
    nested = "[" * DEEP + "]" * DEEP
    return json.dumps(value).replace(json.dumps(NESTED), nested).encode()
