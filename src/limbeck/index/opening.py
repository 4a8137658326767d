"""Which class opens which kind of saved index: the one table that artefacts are read and written by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

from limbeck.contracts import Index
from limbeck.errors import ConfigError, VersionMismatch
from limbeck.index.compressed import CodeIndex
from limbeck.index.engine import EngineIndex
from limbeck.index.flat import Flat
from limbeck.index.packages import PackageIndex
from limbeck.index.sums import SumIndex
from limbeck.index.two_stage import TwoStageIndex


class SavedIndex(Index, Protocol):
    """An index of one of the kinds below."""

    threads: int | None  # of one search

    @property
    def code_bytes(self) -> int:
        """Bytes of a document's codes and vectors; ids, links and what documents share not counted."""
        ...


IndexKind: TypeAlias = (
    type[TwoStageIndex]
    | type[CodeIndex]
    | type[EngineIndex]
    | type[PackageIndex]
    | type[SumIndex]
    | type[Flat]
)
KINDS: Mapping[str, IndexKind] = {  # `content["index"]` of a manifest; the first that an index is one of
    "stages": TwoStageIndex,
    "codes": CodeIndex,
    "engine": EngineIndex,
    "package": PackageIndex,
    "sums": SumIndex,
    "flat": Flat,
}


def open_index(
    folder: Path, *, kind: object, threads: int | None = None, fast_scan: bool = False
) -> SavedIndex:
    """The index of this kind saved in the folder. raises VersionMismatch for kinds that this build does not know"""
    if not isinstance(kind, str) or kind not in KINDS:
        raise VersionMismatch(f"{folder}: holds an index of kind {kind!r}; this build reads {sorted(KINDS)}.")
    if not fast_scan:
        return KINDS[kind].open(folder, threads=threads)
    if KINDS[kind] is not CodeIndex:
        raise ConfigError(f"{folder}: holds an index of kind {kind!r}; fast scan needs codes of 4 bits.")
    from limbeck.index.fast_scan import RESCORED, FastScanIndex

    return FastScanIndex.open(folder, rescore=RESCORED, threads=threads)


def kind_of(index: Index) -> str:
    """What a manifest calls an index. raises ConfigError for one that cannot be opened again"""
    for kind, opens in KINDS.items():
        if isinstance(index, opens):
            return kind
    raise ConfigError(f"cannot save an index of type {type(index).__name__}; can save {sorted(KINDS)}.")
