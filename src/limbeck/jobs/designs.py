"""The designs that `limbeck plan` tries: a table, one line a family. A new recipe joins by one more line.

A design is a recipe, what its codes are started from, the efforts to search with, and how the index is opened.
Everything else about it is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from limbeck.errors import ConfigError

if TYPE_CHECKING:
    from limbeck.contracts import Index

CODE_BYTES = (8, 16, 32)
EFFORTS = (0.05, 0.1, 0.25)  # shares of the lists
VERBS = {
    "OPQ": "build",
    "DistillVQ": "distil",
    "Limbeck": "distil --method limbeck",
    "LimbeckLists": "distil --method limbecklists",
}
# others are built by `limbeck build --method`
FLAGS = {"code_bytes": "bytes"}


@dataclass(frozen=True, kw_only=True)
class Design:
    """One way to build an index, to be searched in one or several ways."""

    method: str
    recipe: Any  # None = exact search
    start: Any = None  # a recipe whose system this one starts from: run once, shared
    efforts: tuple[float | None, ...] = (None,)
    refinement: str = "none"
    opened: Callable[[Index], Index] | None = None  # another index over what the recipe built
    opened_by: str = ""  # how a user opens it so
    shared_bytes: Callable[[int], int] | None = (
        None  # at a width, besides lists; None = the index itself tells
    )
    is_graph: bool = False  # the time of a search grows with the logarithm of the documents

    @property
    def lists(self) -> int | None:
        """Coarse lists, where there are any."""
        return getattr(self.recipe, "lists", None)


@dataclass(frozen=True, slots=True)
class Family:
    """A line of the table: designs at each size, or one design where the width of the vectors sets the size."""

    name: str
    make: Callable[[int, int], Design]  # code bytes (0 where they are not free), lists
    sizes: Literal["free", "fixed"] = "free"
    by_default: bool = True


def families() -> dict[str, Family]:
    """All lines, by name."""
    from limbeck.recipes.compress import OPQ, PQ
    from limbeck.recipes.engines import HNSW
    from limbeck.recipes.limbeck import Limbeck
    from limbeck.recipes.rivals import SQ8, ResidualVQ

    def additive(size: int, _: int) -> Design:
        recipe = ResidualVQ(code_bytes=size)
        return Design(method="residual codes", recipe=recipe, shared_bytes=lambda dim: size * 256 * dim * 4)

    def graph(_: int, __: int) -> Design:
        return Design(method="HNSW", recipe=HNSW(), is_graph=True, shared_bytes=lambda _: 0)

    lines = (
        Family("exact", lambda _, __: Design(method="exact", recipe=None), "fixed"),
        Family("pq", lambda size, _: Design(method="PQ", recipe=PQ(code_bytes=size))),
        Family("opq", lambda size, _: Design(method="OPQ", recipe=OPQ(code_bytes=size))),
        Family("distil", _distilled),
        Family("fast-scan", _fast_scanned),
        Family("ivf-distil", _distilled_lists),
        Family("limbeck", lambda size, _: Design(method="Limbeck", recipe=Limbeck(code_bytes=size))),
        Family("residual", additive, by_default=False),
        Family("lists", _two_stages, "fixed"),
        Family("rabitq", _rabitq, "fixed"),
        Family(
            "sq8", lambda _, __: Design(method="SQ8", recipe=SQ8(), shared_bytes=lambda dim: 8 * dim), "fixed"
        ),
        Family("hnsw", graph, "fixed", by_default=False),
    )
    return {line.name: line for line in lines}


def designs(names: Sequence[str] | None, *, code_bytes: Sequence[int], lists: int) -> Iterator[Design]:
    """The designs of the named families (None = those tried by default) at every size."""
    known = families()
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise ConfigError(f"there are no designs {', '.join(unknown)}; there are {', '.join(known)}.")
    chosen = [known[name] for name in names] if names else [f for f in known.values() if f.by_default]
    for family in chosen:
        for size in code_bytes if family.sizes == "free" else (0,):
            yield family.make(size, lists)


def at_lists(design: Design, lists: int) -> Design:
    """The same design with another number of lists, where it has lists."""
    return (
        design
        if design.lists is None or lists is None
        else replace(design, recipe=replace(design.recipe, lists=lists))
    )


def command(design: Design, *, effort: float | None, source: str, queries: str = "") -> str:
    """What a user types, or writes in Python, to build it and to search it so."""
    if design.recipe is None:
        return "limbeck.index.Flat(vectors)"
    name = type(design.recipe).__name__
    given = {f.name: getattr(design.recipe, f.name) for f in fields(design.recipe)}
    changed = {f.name: given[f.name] for f in fields(design.recipe) if _is_said(f, given[f.name])}
    flags = " ".join(f"--{FLAGS.get(key, key).replace('_', '-')} {value}" for key, value in changed.items())
    asked = f" --queries {queries}" if queries and name in ("DistillVQ", "Limbeck", "LimbeckLists") else ""
    verb = VERBS.get(name, f"build --method {name.lower()}")
    built = f"limbeck {verb} --corpus {source}{asked} --out INDEX {flags}".rstrip()
    if effort is not None:
        return f"{built}; limbeck search INDEX --effort {effort:g}"
    return f"{built}; {design.opened_by}" if design.opened_by else built


def _is_said(constant: Any, value: Any) -> bool:
    """Constants that differ from their default, and the size always."""
    return constant.name == "code_bytes" or constant.default is MISSING or value != constant.default


def _distilled(size: int, _: int) -> Design:
    from limbeck.recipes.compress import OPQ
    from limbeck.recipes.distill_vq import DistillVQ

    recipe, start = DistillVQ(code_bytes=size), OPQ(code_bytes=size)
    return Design(method="DistillVQ", recipe=recipe, start=start)


def _distilled_lists(size: int, lists: int) -> Design:
    from limbeck.recipes.compress import OPQ
    from limbeck.recipes.distill_vq import DistillVQ

    recipe, start = DistillVQ(code_bytes=size, lists=lists), OPQ(code_bytes=size, lists=lists)
    return Design(method="IVF DistillVQ", recipe=recipe, start=start, efforts=EFFORTS)


def _fast_scanned(size: int, _: int) -> Design:
    from limbeck.index.fast_scan import RESCORED
    from limbeck.recipes.compress import OPQ
    from limbeck.recipes.distill_vq import DistillVQ

    return Design(
        method="DistillVQ, 4-bit fast scan",
        recipe=DistillVQ(code_bytes=size, bits=4),
        start=OPQ(code_bytes=size, bits=4),
        refinement=f"{RESCORED} re-scored",
        opened=partial(_fast_scan, rescore=RESCORED),
        opened_by="limbeck.open('INDEX', fast_scan=True)",
    )


def _two_stages(_: int, lists: int) -> Design:
    from limbeck.recipes.routed import LimbeckLists

    return Design(
        method="LimbeckLists",
        recipe=LimbeckLists(lists=lists),
        efforts=EFFORTS,
        refinement="finer codes, 4 a hit",
    )


def _rabitq(_: int, lists: int) -> Design:
    from limbeck.recipes.bit_codes import RaBitQ

    return Design(
        method="IVF RaBitQ",
        recipe=RaBitQ(lists=lists, refine="sq8", query_bits=8),
        efforts=EFFORTS,
        refinement="sq8, 4 a hit",
        shared_bytes=lambda dim: 4 * dim * dim,
    )


def _fast_scan(index: Index, *, rescore: int) -> Index:
    from limbeck.index.compressed import CodeIndex
    from limbeck.index.fast_scan import FastScanIndex

    assert isinstance(index, CodeIndex)
    return FastScanIndex(index.quantiser, index.codes, query_map=index.query_map, rescore=rescore)
