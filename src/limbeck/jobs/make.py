"""From material to a published artefact: run a recipe, save index, documents and query encoder as one folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from limbeck.cache import cache_root
from limbeck.data.ids import Ids
from limbeck.data.records import Document
from limbeck.index.document_store import FILE as DOCUMENTS
from limbeck.index.document_store import DocumentStore
from limbeck.index.store import publish
from limbeck.jobs.material import CorpusLike, Material, QueriesLike, Similarity, gather
from limbeck.retrieve import QUERY_ENCODER, Searcher

if TYPE_CHECKING:
    from limbeck.encoders.sentence import SentenceEncoder
    from limbeck.index.compressed import CodeIndex
    from limbeck.recipes.compress import OPQ, PQ
    from limbeck.recipes.distill_vq import DistillVQ
    from limbeck.train.fit import History

    Recipe: TypeAlias = PQ | OPQ | DistillVQ


def distil(
    corpus: CorpusLike,
    queries: QueriesLike | None = None,
    *,
    out: Path | str,
    teacher: Path | str | SentenceEncoder | None = None,
    recipe: Recipe | None = None,
    code_bytes: int | None = None,
    similarity: Similarity | None = None,
    checkpoints: Path | str | None = None,
    progress: bool = True,
) -> Searcher:
    """Distil a teacher's ranking of a corpus into a compressed index in the folder `out`, and open it.

    corpus      a BEIR folder, a corpus file, vectors (.npy with ids beside it), or such a value already opened
    queries     of the kind the index will get: a file, texts, or vectors when the corpus is vectors; no labels
                needed. A BEIR folder brings its own train split. Without any, queries are made from documents
    teacher     a sentence-transformers model by folder or hub name; MiniLM when left out
    recipe      `DistillVQ(...)`, `OPQ(...)` or `PQ(...)` with its constants; DistillVQ when left out
    code_bytes  of a document, instead of the recipe's
    similarity  how vectors given as .npy are to be compared; an encoder says it itself
    checkpoints a folder: a run that was stopped continues from there
    cost        one encoding of all texts (cached), one exact search of the training queries, and the training
    """
    from limbeck.recipes.distill_vq import DistillVQ

    recipe = recipe or DistillVQ()
    if code_bytes is not None:
        recipe = replace(recipe, code_bytes=code_bytes)
    material = gather(corpus, queries, teacher=teacher, similarity=similarity, progress=progress)
    return make(material, recipe, Path(out), checkpoints=Path(checkpoints) if checkpoints else None)


def make(material: Material, recipe: Recipe, out: Path, *, checkpoints: Path | None = None) -> Searcher:
    """Run a recipe on gathered material and publish the artefact."""
    from limbeck.recipes.distill_vq import DistillVQ

    started = time.perf_counter()
    histories: list[History] = []
    if isinstance(recipe, DistillVQ):
        system = recipe.run(material.vectors, folder=checkpoints, on_history=histories.append)
    else:
        system = recipe.run(material.vectors)
    index = system.build()
    content = {
        "index": "codes",
        "recipe": {"name": type(recipe).__name__, "constants": asdict(recipe)},
        "training": histories[0].as_json() if histories else None,
        "build_seconds": round(time.perf_counter() - started, 2),
        "data": {"name": material.name, "fingerprint": material.fingerprint, "documents": len(material.ids)},
        "encoder": material.encoder.fingerprint.to_json() if material.encoder else None,
        "metric": material.vectors.metric,
        "tie_rule": "score falling, then document row",
        "bytes_per_document": index.nbytes / len(index),
    }
    save(out, index, material, content)
    return Searcher.open(out)


def save(out: Path, index: CodeIndex, material: Material, content: dict[str, Any]) -> None:
    """Publish an index with its documents and query encoder as one artefact."""
    encoder_folder = exported(material.encoder, material.sample_texts) if material.encoder else None

    def write(folder: Path) -> None:
        index.save(folder)
        DocumentStore.write(folder / DOCUMENTS, material.corpus or bare_documents(material.ids))
        if encoder_folder is not None:
            shutil.copytree(encoder_folder, folder / QUERY_ENCODER)

    publish(out, write, content)


def exported(encoder: SentenceEncoder, sample_texts: Sequence[str]) -> Path:
    """The ONNX form of an encoder, checked against torch on real queries; made once and kept in the cache."""
    from limbeck.encoders.export import export_onnx

    folder = cache_root() / "onnx" / replace(encoder.fingerprint, precision="float32").digest
    if not folder.exists():
        export_onnx(encoder, folder, sample_texts=sample_texts)
    return folder


def bare_documents(ids: Ids) -> Iterator[Document]:
    return (Document(identifier) for identifier in ids)
