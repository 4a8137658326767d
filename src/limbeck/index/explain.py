"""Why a document stands where it stands: what each part of its code adds to its score, and where its list lies.

Letters: M parts of a code, L lists, n documents, d dimension.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck.errors import ConfigError
from limbeck.index.compressed import CodeIndex, probed_lists
from limbeck.index.flat import Flat
from limbeck.index.sums import SumIndex
from limbeck.index.two_stage import TwoStageIndex
from limbeck.quantisers.faiss_scan import nearest_rows
from limbeck.quantisers.packing import unpack
from limbeck.quantisers.product import ProductQuantiser
from limbeck.types import Codes, Floats, Rows


@dataclass(frozen=True, slots=True)
class Explained:
    """One document under one query. `rest` and the parts add up to the score."""

    score: float  # of the codes by definition: a fast scan rounds it
    parts: tuple[float, ...]  # [M]; empty where vectors are whole
    rest: float  # what its list's centroid adds; the whole score of whole vectors
    list: int | None  # None without lists
    list_place: int | None  # from 1: how many lists a search visits to reach it
    probed: bool  # whether a search of this effort does


def explained(index: Any, query: Floats, rows: Rows, *, effort: float | None = None) -> list[Explained]:
    """One for each row. query [d], rows [n].

    cost    one table of look-ups, n·M of them, and L·d multiply-adds to order the lists
    raises  ConfigError for graphs and other engines, whose scores have no parts
    """
    if isinstance(index, Flat):
        return [_whole((), score) for score in index.scores(query, rows).tolist()]
    if isinstance(index, SumIndex):
        return _of_sums(index, query, rows)
    if isinstance(index, TwoStageIndex):
        return _of_two_stages(index, query, rows, effort=effort)
    if isinstance(index, CodeIndex):
        return _of_codes(index, query, rows, effort=effort)
    raise ConfigError(
        f"cannot explain scores of an index of type {type(index).__name__}; can explain codes, sums, two stages, flat."
    )


def _whole(parts: tuple[float, ...], rest: float) -> Explained:
    """Of an index without lists: a search looks at everything."""
    return Explained(sum(parts) + rest, parts, rest, list=None, list_place=None, probed=True)


def _of_sums(index: SumIndex, query: Floats, rows: Rows) -> list[Explained]:
    moved = query if index.query_map is None else query @ index.query_map.T
    tables = index.quantiser.tables(index.quantiser.rotate_vectors(moved[None]))[0]  # [M, K]
    parts = tables[np.arange(len(tables)), index.codes.codes[rows]]  # [n, M]
    return [_whole(tuple(line.tolist()), 0.0) for line in parts]


def _of_two_stages(
    index: TwoStageIndex, query: Floats, rows: Rows, *, effort: float | None
) -> list[Explained]:
    first = _of_codes(index.first, query, rows, effort=effort)
    turned = index.first.turned(query[None])
    tables = index.second.lookup_tables(turned)[0]
    second = tables[np.arange(len(tables)), index.second_codes.codes[rows]]  # [n, M]
    return [
        Explained(
            one.score + float(more.sum()),
            (*one.parts, *more.tolist()),
            one.rest,
            one.list,
            one.list_place,
            one.probed,
        )
        for one, more in zip(first, second, strict=True)
    ]


def _of_codes(index: CodeIndex, query: Floats, rows: Rows, *, effort: float | None) -> list[Explained]:
    quantiser: ProductQuantiser = index.quantiser
    mapped = query if index.query_map is None else query @ index.query_map.T
    codes = index.codes
    numbers = unpack(codes.codes[rows], bits=quantiser.bits)  # [n, M]
    if quantiser.base is None or codes.lists is None:
        parts = quantiser.lookup_tables(mapped[None])[0][np.arange(quantiser.sub_vectors), numbers]
        return [_whole(tuple(line.tolist()), 0.0) for line in parts]
    lists = codes.lists[rows]
    tables = quantiser.lookup_tables(np.repeat(mapped[None], len(rows), axis=0), lists=lists)
    parts = tables[np.arange(len(rows))[:, None], np.arange(quantiser.sub_vectors), numbers]
    scores = quantiser.score(mapped[None], Codes(codes.codes[rows], lists))[0]
    share = index.default_effort if effort is None else effort
    probes = probed_lists(share, len(quantiser.base))
    places = list_places(index, query)
    return [
        Explained(
            float(score), tuple(line.tolist()), float(score - line.sum()), int(number), place, place <= probes
        )
        for score, line, number, place in zip(scores, parts, lists, places[lists].tolist(), strict=True)
    ]


def list_places(index: CodeIndex, query: Floats) -> Rows:
    """[L] from 1: the place of each list in the order in which a search visits them. query [d]"""
    quantiser = index.quantiser
    assert quantiser.routing is not None
    turned = np.ascontiguousarray(index.turned(query[None]), dtype=np.float32)
    _, order = nearest_rows(turned, quantiser.routing, len(quantiser.routing), metric=quantiser.metric)
    places = np.empty(len(quantiser.routing), dtype=np.int64)
    places[order[0]] = np.arange(1, len(places) + 1)
    return places
