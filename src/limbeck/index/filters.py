"""Which documents a search may find, by their metadata: exact, from an index over every field.

where = {"language": "en", "year": Between(least=2020)}
mask = allowed_by(store, where)                      # [N] bool, for `Index.search(..., allowed=mask)`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from limbeck.data.lines import shown
from limbeck.errors import ConfigError, CorruptArtefact
from limbeck.index.document_store import DocumentStore, Fact
from limbeck.types import Rows

MOST_LISTED = 100  # values of a field that are named one by one


@dataclass(frozen=True, slots=True)
class Between:
    """Values within bounds of one kind: numbers, or texts in the order of their characters."""

    above: Fact | None = None
    least: Fact | None = None
    below: Fact | None = None
    most: Fact | None = None


@dataclass(frozen=True, slots=True)
class OneOf:
    """Any of these values."""

    values: Sequence[Fact]


Where: TypeAlias = Mapping[str, Fact | OneOf | Between]


@dataclass(frozen=True, slots=True)
class MetadataField:
    """A field of the metadata, and what it holds."""

    name: str
    documents: int  # that have it
    values: (
        Mapping[str, int] | None
    )  # documents of each value, the most frequent first; None where there are many
    least: float | None  # of numbers
    most: float | None


def allowed_by(store: DocumentStore, where: Where, *, size: int) -> NDArray[np.bool_]:
    """[size], True where every condition holds. A field that a document does not have fails its condition.

    cost  reads the matching rows of each condition from an index over (field, value)
    """
    mask = np.ones(size, dtype=np.bool_)
    for field, condition in where.items():
        sql, values = _condition(field, condition)
        found = store.ask(f"SELECT row FROM facts WHERE field = ? AND {sql}", [field, *values])
        holds = np.zeros(size, dtype=np.bool_)
        holds[_rows(found, size=size, path=store.path)] = True
        mask &= holds
    return mask


def metadata_fields(store: DocumentStore) -> list[MetadataField]:
    """All fields by name. Cost: a pass over all facts, so ask once."""
    fields = []
    for name, documents, distinct in store.ask(
        "SELECT field, COUNT(DISTINCT row), COUNT(DISTINCT value) FROM facts GROUP BY field ORDER BY field"
    ):
        if not isinstance(name, str):
            raise CorruptArtefact(f"{store.path}: names of fields must be texts, found {shown(name)}.")
        listed = None
        if distinct <= MOST_LISTED:
            listed = {
                str(value): count
                for value, count in store.ask(
                    "SELECT value, COUNT(*) FROM facts WHERE field = ? GROUP BY value ORDER BY 2 DESC, 1",
                    [name],
                )
            }
        ((least, most),) = store.ask(
            "SELECT MIN(value), MAX(value) FROM facts WHERE field = ? AND typeof(value) != 'text'", [name]
        )
        if not isinstance(least, (int, float, NoneType)) or not isinstance(most, (int, float, NoneType)):
            raise CorruptArtefact(
                f"{store.path}: values of {shown(name)} must be texts and numbers, found {shown(most)}."
            )
        fields.append(MetadataField(name, documents, listed, least, most))
    return fields


def _rows(found: list[tuple[object]], *, size: int, path: Path) -> Rows:
    """[n]. raises CorruptArtefact unless they are rows of documents"""
    try:
        rows = np.array([row for (row,) in found], dtype=np.int64)
    except (ValueError, TypeError):
        raise CorruptArtefact(f"{path}: a fact is of no row.") from None
    if rows.min(initial=0) < 0 or rows.max(initial=-1) >= size:
        raise CorruptArtefact(
            f"{path}: facts are of rows {rows.min()} to {rows.max()}; there are {size} documents."
        )
    return rows


def _condition(field: str, condition: Fact | OneOf | Between) -> tuple[str, list[Fact]]:
    """SQL about `value`, with a mark for each of the values behind it."""
    if isinstance(condition, OneOf):
        return f"value IN ({','.join('?' * len(condition.values))})", list(condition.values)
    if not isinstance(condition, Between):
        return "value = ?", [condition]
    signs = {">": condition.above, ">=": condition.least, "<": condition.below, "<=": condition.most}
    bounds = {sign: bound for sign, bound in signs.items() if bound is not None}
    if not bounds:
        raise ConfigError(
            f"the filter on {field!r} has no bound; give at least one of above, least, below, most."
        )
    kinds = {isinstance(bound, str) for bound in bounds.values()}
    if len(kinds) > 1:
        raise ConfigError(f"the filter on {field!r} has bounds of two kinds; must be numbers, or texts.")
    # SQLite puts every text after every number
    same_kind = f"typeof(value) {'=' if kinds == {True} else '!='} 'text'"
    return " AND ".join([same_kind, *(f"value {sign} ?" for sign in bounds)]), list(bounds.values())
