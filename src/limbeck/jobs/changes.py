"""From the journal to the next generation: documents left out, replaced and added, with the codewords that there are.

    python -m limbeck.jobs.changes INDEX        # what the server runs in a process of its own

A change is in the journal until a generation that holds it was published, so a process killed at any moment loses none.
"""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.data.records import Document
from limbeck.encoders.saved import ONNX, read_settings
from limbeck.errors import ConfigError, DataError, StorageError
from limbeck.index.changing import changed, distortion, is_changeable
from limbeck.index.document_store import FILE as DOCUMENTS
from limbeck.index.document_store import DocumentStore
from limbeck.index.journal import FOLDER, Change, Journal, New
from limbeck.index.kept import FOLDER as KEPT
from limbeck.index.kept import KeptVectors, keep
from limbeck.index.lexical import LexicalIndex
from limbeck.index.store import current_name, open_current, publish, take_over
from limbeck.lexical_part import LexicalPart
from limbeck.retrieve import QUERY_ENCODER, Searcher
from limbeck.storage.lock import locked
from limbeck.types import Floats, Rows

log = logging.getLogger(__name__)

BLOCK_ROWS = 16_384
AT_ONCE = 10_000  # changes a generation
MOST_BYTES = 64 * 2**20  # of texts and vectors held meanwhile; one change more may lie above it


@dataclass(frozen=True, slots=True)
class Applied:
    """What a new generation holds more, and less, than the one before."""

    added: int
    replaced: int
    deleted: int
    documents: int
    last_change: int


def apply_changes(folder: Path | str) -> Applied | None:
    """Publish the next generation from what the journal holds; None where there is nothing.

    At most 10,000 changes, and 64 MB of texts and vectors, at a time.

    cost    one encoding of the new texts, a copy of codes and documents, and BM25 anew where there is one
    raises  StorageError where another process does it already; ConfigError where the index cannot change
    """
    folder = Path(folder)
    journal = Journal(folder)
    try:
        with locked(folder / FOLDER):
            searcher = Searcher.open(folder)
            seen = int(searcher.manifest.content.get("last_change", 0))
            changes = _some(journal.after(seen))
            if not changes:
                return None
            applied = _publish(folder, searcher, changes)
            journal.forget(applied.last_change)
            return applied
    finally:
        journal.close()


def _some(changes: Iterator[Change]) -> list[Change]:
    """The first of them: as many as may be held in memory, and at least one."""
    taken: list[Change] = []
    size = 0
    for change in itertools.islice(changes, AT_ONCE):
        taken.append(change)
        size += len(change.document.title) + len(change.document.text)
        size += 0 if change.vector is None else change.vector.nbytes
        if size > MOST_BYTES:
            break
    return taken


def _publish(folder: Path, searcher: Searcher, changes: Sequence[Change]) -> Applied:
    store = searcher.documents
    last = {change.document.id: change for change in changes}  # a later change of the same document holds
    rows = store.rows_of(list(last))
    gone = np.zeros(len(searcher), dtype=np.bool_)
    gone[list(rows.values())] = True
    new = [change for change in last.values() if change.kind == "put"]
    vectors = _vectors(searcher, new)
    index = changed(searcher.index, stay=~gone, new=vectors)
    replaced = sum(change.document.id in rows for change in new)
    applied = Applied(
        added=len(new) - replaced,
        replaced=replaced,
        deleted=len(rows) - replaced,
        documents=len(index),
        last_change=changes[-1].sequence,
    )
    content = {
        **searcher.manifest.content,
        "last_change": applied.last_change,
        "bytes_per_document": index.nbytes / max(1, len(index)),
        "drift": _drift(searcher, index, vectors),
    }
    before = store.path.parent
    documents = itertools.chain(_staying(store, gone), (change.document for change in new))

    def write(inside: Path) -> None:
        if current_name(folder) != before.name:
            raise StorageError(
                f"{folder}: another process published meanwhile; the changes are kept for the next try."
            )
        index.save(inside)
        DocumentStore.write(inside / DOCUMENTS, documents)
        take_over(
            before, inside, [name for name in searcher.manifest.files if name.startswith(f"{QUERY_ENCODER}/")]
        )
        if (before / KEPT).is_dir():
            kept = KeptVectors.open(
                before / KEPT,
                metric="ip",  # nothing is scored here
                rows=len(searcher),
                dim=index.dim,
            )
            blocks = _kept_blocks(kept, np.flatnonzero(~gone), vectors)
            keep(inside / KEPT, blocks, rows=len(index), dim=kept.dim, precision=kept.precision)
        if searcher.lexical_part is not None:
            part = _lexical_anew(searcher.lexical_part, DocumentStore(inside / DOCUMENTS))
            if part is not None:
                part.save(inside)

    publish(folder, write, content)
    return applied


def _vectors(searcher: Searcher, new: Sequence[Change]) -> Floats:
    """[n, d] of the documents to add: given, or made by the document encoder."""
    vectors = np.zeros((len(new), searcher.index.dim), dtype=np.float32)
    texts = [row for row, change in enumerate(new) if change.vector is None]
    for row, change in enumerate(new):
        if change.vector is not None:
            vectors[row] = change.vector
    if texts:
        if not can_add_texts(searcher):
            raise ConfigError(
                "the journal holds texts without vectors, and this index has no document encoder any more."
            )
        encoder: Any = searcher.encoder
        vectors[texts] = encoder.encode_document([new[row].document.content for row in texts])
    return vectors


def _drift(searcher: Searcher, index: Any, vectors: Floats) -> dict[str, float | None]:
    """How well the codewords fit documents that came after training, as a mean over all of them."""
    before = searcher.manifest.content.get("drift") or {}
    count, mean = int(before.get("documents", 0)), before.get("added")
    found = distortion(index, vectors, slice(len(index) - len(vectors), None)) if len(vectors) else None
    if found is not None:
        total = count + len(vectors)
        mean = found if mean is None else (count * float(mean) + len(vectors) * found) / total
        count = total
    return {"trained": before.get("trained"), "added": mean, "documents": count}


def _lexical_anew(part: LexicalPart, store: DocumentStore) -> LexicalPart | None:
    """BM25 of the documents as they are now; the fusion stays. None where no document holds a word any more."""
    texts = (document.content for document in store.all())
    try:
        analyser = part.index.described.analyser
        return replace(part, index=LexicalIndex.build(texts, analyser=analyser, progress=False))
    except DataError as error:
        log.warning("BM25 is left out of the new generation: %s", error)
        return None
    finally:
        store.close()


def _staying(store: DocumentStore, gone: NDArray[np.bool_]) -> Iterator[Document]:
    return (document for row, document in enumerate(store.all()) if not gone[row])


def _kept_blocks(kept: KeptVectors, stay: Rows, new: Floats) -> Iterator[Floats]:
    for start in range(0, len(stay), BLOCK_ROWS):
        yield kept.vectors(stay[start : start + BLOCK_ROWS])
    if len(new):
        yield new


def can_add_texts(searcher: Searcher) -> bool:
    """Whether the artefact holds an encoder that makes document vectors: a student makes those of queries alone.

    An encoder that the searcher was opened with does not count: whoever applies the change has the artefact.
    """
    folder = searcher.documents.path.parent / QUERY_ENCODER
    if not folder.is_dir():
        return False
    settings = read_settings(folder)
    return settings.get("kind", ONNX) == ONNX and "space" not in settings


def refuse_unchangeable(searcher: Searcher, documents: Sequence[New]) -> None:
    """Raises ConfigError or DataError for documents that no generation could take: before they are accepted."""
    if not is_changeable(searcher.index):
        raise ConfigError(
            f"an index of type {type(searcher.index).__name__} cannot take new documents: build it anew."
            "\n\nHint: codes of Limbeck, PQ, OPQ, Distill-VQ and two stages can change while they are served."
        )
    for one in documents:
        if one.vector is None and not can_add_texts(searcher):
            raise ConfigError(
                f"document {one.id!r} comes without a vector, and this index has no document encoder: its query "
                "encoder makes queries alone.\n\nHint: send `vector`, made by the model that made the index."
            )
        if one.vector is None:
            continue
        if len(one.vector) != searcher.index.dim:
            raise DataError(
                f"the vector of document {one.id!r} has {len(one.vector)} dimensions; must be {searcher.index.dim}."
            )


def main() -> None:
    """Apply all that the journal of the folder in the first argument holds."""
    folder = Path(sys.argv[1])
    open_current(folder, verify=False)
    while (applied := apply_changes(folder)) is not None:
        sys.stdout.write(f"{applied}\n")


if __name__ == "__main__":
    main()
