"""Plain faiss files and codebooks out of artefacts and into them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from limbeck.data.ids import Ids
from limbeck.data.vectors import read_ids
from limbeck.errors import ConfigError, DataError
from limbeck.index.compressed import CodeIndex
from limbeck.index.document_store import FILE as DOCUMENTS
from limbeck.index.document_store import DocumentStore
from limbeck.index.opening import kind_of
from limbeck.index.store import publish
from limbeck.index.sums import SumIndex
from limbeck.jobs.material import CorpusLike, Similarity, gather
from limbeck.quantisers.codebook_file import open_codebook, save_codebook
from limbeck.quantisers.faiss_io import faiss_bytes, from_faiss, read_faiss
from limbeck.quantisers.sums import SumQuantiser
from limbeck.retrieve import Searcher
from limbeck.storage.durable import write_file
from limbeck.types import Rows

if TYPE_CHECKING:
    from limbeck.encoders.sentence import SentenceEncoder


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
    names = read_ids(Path(ids)) if ids is not None else _numbered(rows, Path(path))
    if len(names) != len(codes):
        raise DataError(
            f"{ids}: holds {len(names)} ids, but {path} holds {len(codes)} documents; must be one each."
        )
    data = {"name": Path(path).stem, "fingerprint": "", "documents": len(names)}
    return _published(CodeIndex(quantiser, codes), names, Path(out), file=Path(path), data=data)


def _numbered(rows: Rows, path: Path) -> Ids:
    """The numbers in a faiss file as ids. raises DataError where two documents share one"""
    names = Ids.from_iterable(str(row) for row in rows)
    for first, later in names.duplicates():
        raise DataError(
            f"{path}: documents {first} and {later} both have the id {names[first]}; expected each once.\n\n"
            "Hint: give ids of your own, one a line in ascending order of the file's: --ids FILE"
        )
    return names


def export_codebook(folder: Path | str, out: Path | str) -> Path:
    """`out` (codebook.safetensors) with all that the quantiser of an artefact learnt, and no document.

    raises  StorageError where nothing can be written
    """
    searcher = Searcher.open(folder)
    if isinstance(searcher.index, SumIndex):
        save_codebook(Path(out), searcher.index.quantiser)
    else:
        save_codebook(Path(out), searcher.codes.quantiser, query_map=searcher.codes.query_map)
    return Path(out)


def import_codebook(
    path: Path | str,
    out: Path | str,
    corpus: CorpusLike,
    *,
    teacher: Path | str | SentenceEncoder | None = None,
    similarity: Similarity | None = None,
    progress: bool = True,
) -> Searcher:
    """An artefact of a corpus whose documents are coded by a codebook: nothing is learnt.

    path        what `export_codebook` wrote; its parts that assign make the codes, those that score read them
    corpus, teacher, similarity  as `distil` takes them; vectors must be of the width and the metric of the codebook
    cost        one encoding of the texts (cached), N·K·d multiply-adds for the codes
    """
    from limbeck.jobs.make import refuse_other_folder, refuse_unwritable, save

    codebook, out = open_codebook(Path(path)), Path(out)
    refuse_unwritable(out)
    refuse_other_folder(out)
    material = gather(corpus, None, teacher=teacher, similarity=similarity, progress=progress)
    quantiser, documents = codebook.quantiser, material.vectors.documents
    if (quantiser.dim, quantiser.metric) != (documents.shape[1], material.vectors.metric):
        raise ConfigError(
            f"{path}: is for vectors of width {quantiser.dim} compared by {quantiser.metric!r}; found width "
            f"{documents.shape[1]} compared by {material.vectors.metric!r}.\n\n"
            "Hint: encode the corpus with the model that the codebook was learnt for."
        )
    index = (
        SumIndex(quantiser, quantiser.encode(documents))
        if isinstance(quantiser, SumQuantiser)
        else CodeIndex(quantiser, quantiser.encode(documents), query_map=codebook.query_map)
    )
    data = {"name": material.name, "fingerprint": material.fingerprint, "documents": len(material.ids)}
    encoder = material.encoder.fingerprint.to_json() if material.encoder else None
    save(out, index, material, _content(index, file=Path(path), data=data, encoder=encoder))
    return Searcher.open(out)


def _published(index: CodeIndex, names: Ids, out: Path, *, file: Path, data: Mapping[str, Any]) -> Searcher:
    def write(folder: Path) -> None:
        from limbeck.jobs.make import bare_documents

        index.save(folder)
        DocumentStore.write(folder / DOCUMENTS, bare_documents(names))

    publish(out, write, _content(index, file=file, data=data, encoder=None))
    return Searcher.open(out)


def _content(
    index: CodeIndex | SumIndex,
    *,
    file: Path,
    data: Mapping[str, Any],
    encoder: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What the manifest says of an index that was not made by a recipe."""
    return {
        "index": kind_of(index),
        "recipe": {"name": "imported", "constants": {"file": file.name}},
        "data": dict(data),
        "encoder": encoder,
        "metric": index.quantiser.metric,
        "tie_rule": "score falling, then document row",
        "bytes_per_document": index.nbytes / len(index),
    }
