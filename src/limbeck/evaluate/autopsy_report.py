"""An autopsy for people and for machines: a summary for the terminal, JSON with every lost document."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.evaluate.autopsy import CAUSES, Autopsy, Cause, Lost
from limbeck.evaluate.compare import interval
from limbeck.evaluate.tables import rounded

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

FORMAT, VERSION = "limbeck-autopsy", 1
MEANINGS: Mapping[Cause, tuple[str, str]] = {
    "list": ("its list was not visited", "more effort, or fewer lists"),
    "tie": ("an equal score came first, by row", "more bytes, or rescoring"),
    "refinement": ("the codes keep it, a later step does not", "more candidates (rescore, factor)"),
    "rotation": ("lost before it was coded", "an orthonormal rotation, no learnt query map"),
    "codes": ("distortion of its code", "more bytes, distillation, or a second look"),
}
EXAMPLES = 5


def as_json(
    found: Autopsy, *, query_ids: Sequence[str] | None = None, document_ids: Sequence[str] | None = None
) -> str:
    """Every lost document, the sums, distortion and usage; ids where they are given, rows everywhere."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "k": found.k,
        "queries": found.queries,
        "documents": found.documents,
        "lists": found.lists,
        "probes": found.probes,
        "overlap": float(found.overlap.mean()),
        "lost_by_cause": found.counts,
        "lost_by_rank": {cause: found.by_rank()[:, place].tolist() for place, cause in enumerate(CAUSES)},
        "overlap_by_query": found.overlap.round(6).tolist(),
        "lost": [_named(lost, query_ids, document_ids) for lost in found.lost],
        "distortion": {
            name: getattr(found.distortion, name).tolist() for name in ("squared", "variance", "score")
        },
        "distortion_share": found.distortion.share,
        "usage": _usage(found),
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)


def summary(
    found: Autopsy, *, query_ids: Sequence[str] | None = None, document_ids: Sequence[str] | None = None
) -> Group:
    """Causes, the worst losses, distortion by sub-space, and the state of codewords and lists."""
    from rich.console import Group
    from rich.text import Text

    kept = interval(found.overlap)
    head = (
        f"{found.queries:,} queries, {found.documents:,} documents: overlap@{found.k} {rounded(kept.mean)} "
        f"±{rounded(kept.half_width)}; {len(found.lost):,} of {found.queries * found.k:,} documents fell out"
    )
    visited = "" if found.lists is None else f"; {found.probes} of {found.lists} lists visited"
    parts: list[Any] = [Text(head + visited, style="bold"), _causes(found)]
    if found.lost:
        parts += [Text("Nearest the top and gone", style="bold"), _worst(found, query_ids, document_ids)]
    return Group(*parts, *(Text(line) for line in state(found)))


def state(found: Autopsy) -> list[str]:
    """Lines about distortion, codewords and lists."""
    distortion, usage = found.distortion, found.usage
    shares = distortion.squared / np.maximum(distortion.variance, 1e-30)
    score = distortion.score / max(float(distortion.score.sum()), 1e-30)
    worst = np.argsort(-score)[:3]
    of_worst = ", ".join(f"{space} ({100 * score[space]:.0f} %)" for space in worst)
    lines = [
        f"Distortion: {100 * distortion.share:.1f} % of the variance; by sub-space {100 * shares.min():.0f} to "
        f"{100 * shares.max():.0f} %. Of the squared error of scores most comes from sub-spaces {of_worst}; "
        f"level would be {100 / len(score):.0f} % each.",
        f"Codewords: {usage.dead_codewords:,} of {usage.codewords.size:,} dead, {usage.overfull_codewords:,} over-full "
        f"(4 times the mean); {usage.effective_codewords.min():.0f} to {usage.effective_codewords.max():.0f} of "
        f"{usage.codewords.shape[1]} in effective use a part.",
    ]
    if usage.lists is not None:
        lines.append(
            f"Lists: {usage.dead_lists:,} of {len(usage.lists):,} empty, {usage.overfull_lists:,} over-full; "
            f"{usage.lists.min():,} to {usage.lists.max():,} documents, {usage.lists.mean():,.0f} on average."
        )
    return lines


def _causes(found: Autopsy) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, side in (("lost to", "left"), ("documents", "right"), ("of the top", "right")):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    for heading in ("queries", "what happened", "what helps"):
        table.add_column(heading, justify="right" if heading == "queries" else "left")
    places, by_query = found.queries * found.k, found.by_query()
    for place, (cause, count) in enumerate(found.counts.items()):
        touched = int((by_query[:, place] > 0).sum())
        row = (cause, f"{count:,}", f"{100 * count / places:.1f} %", f"{touched:,}", *MEANINGS[cause])
        table.add_row(*row, style=None if count else "dim")
    total = (f"{len(found.lost):,}", f"{100 * len(found.lost) / places:.1f} %")
    table.add_row("all", *total, f"{int((by_query.sum(axis=1) > 0).sum()):,}", "", "", style="bold")
    return table


def _worst(found: Autopsy, query_ids: Sequence[str] | None, document_ids: Sequence[str] | None) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("query", "document", "cause"):
        table.add_column(heading)
    headings = ["exact rank", "exact score", "decoded score", "rank now"]
    for heading in headings if found.lists is None else [*headings, "list"]:
        table.add_column(heading, justify="right")
    for lost in worst(found, EXAMPLES):
        named = _named(lost, query_ids, document_ids)
        cells = [
            str(named.get("query_id", lost.query)),
            str(named.get("document_id", lost.document)),
            lost.cause,
        ]
        cells += [
            f"{lost.exact_rank}",
            f"{lost.exact_score:.4f}",
            f"{lost.decoded_score:.4f}",
            f"{lost.rank:,}",
        ]
        table.add_row(*cells, *([] if lost.list_rank is None else [f"{lost.list_rank:,}"]))
    return table


def worst(found: Autopsy, count: int) -> list[Lost]:
    """The lost documents that stood highest and fell deepest."""
    return sorted(found.lost, key=lambda lost: (lost.exact_rank, -lost.rank))[:count]


def _named(lost: Lost, query_ids: Sequence[str] | None, document_ids: Sequence[str] | None) -> dict[str, Any]:
    names = {} if query_ids is None else {"query_id": query_ids[lost.query]}
    names |= {} if document_ids is None else {"document_id": document_ids[lost.document]}
    return {**names, **asdict(lost)}


def _usage(found: Autopsy) -> dict[str, Any]:
    usage = found.usage
    counts = {
        name: getattr(usage, name)
        for name in ("dead_codewords", "overfull_codewords", "dead_lists", "overfull_lists")
    }
    return {
        **counts,
        "effective_codewords": usage.effective_codewords.tolist(),
        "codewords": usage.codewords.tolist(),
        "lists": None if usage.lists is None else usage.lists.tolist(),
    }
