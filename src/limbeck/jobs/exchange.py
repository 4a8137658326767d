"""Plain faiss files out of artefacts and into them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from limbeck.data.ids import Ids
from limbeck.data.vectors import read_ids
from limbeck.errors import DataError
from limbeck.index.compressed import CodeIndex
from limbeck.index.document_store import FILE as DOCUMENTS
from limbeck.index.document_store import DocumentStore
from limbeck.index.store import publish
from limbeck.quantisers.faiss_io import faiss_bytes, from_faiss, read_faiss
from limbeck.retrieve import Searcher
from limbeck.storage.durable import write_file


def export_faiss(
    folder: Path | str, out: Path | str, *, routing: Literal["keep", "base"] = "keep"
) -> tuple[Path, Path]:
    """`out` as a plain faiss file with the same codes and scores, and its ids, one JSON string a line, beside it.

    Row n of the faiss index is line n of the ids. Codes are copied, never decoded and encoded again.
    routing  "base" drops routing vectors that differ from the base centroids: plain faiss cannot hold both
    raises   ConfigError where there are such vectors and `routing` is "keep"; StorageError where nothing can be written
    """
    searcher, out = Searcher.open(folder), Path(out)
    ids_path = out.with_name(f"{out.stem}.ids.jsonl")
    write_file(out, faiss_bytes(searcher.codes.to_faiss(routing=routing)))
    lines = (json.dumps(identifier) + "\n" for identifier in searcher.documents.ids())
    write_file(ids_path, "".join(lines).encode())
    return out, ids_path


def import_faiss(
    path: Path | str, out: Path | str, *, ids: Path | str | None = None, similarity: str | None = None
) -> Searcher:
    """An artefact from any faiss PQ, OPQ, IVF-PQ or IVF-OPQ file: same codes, same scores, same order.

    ids         one id a line (text or JSON strings), in the order of the index; row numbers when left out
    similarity  how the vectors behind it were meant: "cosine", "dot" or "l2"; refused if the file says otherwise
    """
    quantiser, codes, rows = from_faiss(read_faiss(Path(path)))
    if similarity is not None and (similarity == "l2") != (quantiser.metric == "l2"):
        raise DataError(
            f"{path}: the index compares by {quantiser.metric!r}, but similarity={similarity!r} was asked for."
        )
    names = read_ids(Path(ids)) if ids is not None else Ids.from_iterable(str(row) for row in rows)
    if len(names) != len(codes):
        raise DataError(
            f"{ids}: holds {len(names)} ids, but {path} holds {len(codes)} documents; must be one each."
        )
    index = CodeIndex(quantiser, codes)
    content: dict[str, Any] = {
        "index": "codes",
        "recipe": {"name": "imported", "constants": {"file": Path(path).name}},
        "data": {"name": Path(path).stem, "fingerprint": "", "documents": len(names)},
        "encoder": None,
        "metric": quantiser.metric,
        "tie_rule": "score falling, then document row",
        "bytes_per_document": index.nbytes / len(index),
    }

    def write(folder: Path) -> None:
        from limbeck.jobs.make import bare_documents

        index.save(folder)
        DocumentStore.write(folder / DOCUMENTS, bare_documents(names))

    publish(Path(out), write, content)
    return Searcher.open(out)
