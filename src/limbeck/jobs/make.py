"""From material to a published artefact: run a recipe, save index, documents and query encoder as one folder."""

from __future__ import annotations

import inspect
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import numpy as np

from limbeck.data.dataset import Dataset
from limbeck.data.ids import Ids
from limbeck.data.records import Document
from limbeck.data.vectors import Vectors
from limbeck.errors import ArtefactError, ConfigError, StorageError
from limbeck.index.changing import distortion
from limbeck.index.document_store import FILE as DOCUMENTS
from limbeck.index.document_store import DocumentStore
from limbeck.index.kept import BLOCK_ROWS, Precision, keep
from limbeck.index.kept import FOLDER as KEPT
from limbeck.index.opening import SavedIndex, kind_of
from limbeck.index.store import CURRENT, GENERATION, open_current, publish
from limbeck.jobs.material import (
    CorpusLike,
    Material,
    QueriesLike,
    Similarity,
    gather,
    opened_corpus,
    opened_encoder,
)
from limbeck.retrieve import QUERY_ENCODER, Searcher
from limbeck.storage.cache import cache_root
from limbeck.types import Floats

if TYPE_CHECKING:
    from limbeck.data.vector_data import VectorData
    from limbeck.encoders.sentence import SentenceEncoder
    from limbeck.train.history import History
    from limbeck.train.system import System

DISTORTION_ROWS = 4096


class Recipe(Protocol):
    """A frozen dataclass of `limbeck.recipes`: constants, and `run`, which composes and fits."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def run(self, data: VectorData, start: System | None = None) -> System: ...


class TrainedRecipe(Recipe, Protocol):
    """A recipe that trains on queries: it keeps checkpoints and tells its history."""

    def run(
        self,
        data: VectorData,
        start: System | None = None,
        *,
        folder: Path | None = None,
        on_history: Callable[[History], None] | None = None,
        progress: bool = True,
    ) -> System: ...


def distil(
    corpus: CorpusLike,
    queries: QueriesLike | None = None,
    *,
    out: Path | str,
    teacher: Path | str | SentenceEncoder | None = None,
    recipe: Recipe | None = None,
    code_bytes: int | None = None,
    similarity: Similarity | None = None,
    keep_vectors: Precision | None = None,
    checkpoints: Path | str | None = None,
    progress: bool = True,
) -> Searcher:
    """Distil a teacher's ranking of a corpus into a compressed index in the folder `out`, and open it.

    corpus      a BEIR folder, a corpus file, vectors (.npy with ids beside it), or such a value already opened
    queries     of the kind the index will get: a file, texts, or vectors when the corpus is vectors; no labels
                needed. A BEIR folder brings its own train split. Without any, queries are made from documents
    teacher     a sentence-transformers model by folder or hub name; MiniLM when left out
    recipe      any of `limbeck systems`, such as `DistillVQ(...)`, `OPQ(...)` or `HNSW(...)`; DistillVQ when left out
    code_bytes  of a document, instead of the recipe's
    similarity  how vectors given as .npy are to be compared; an encoder says it itself
    keep_vectors  "float16" (2·d bytes a document) or "int8" (d): on disk beside the codes, for exact answers and for a
                second look at the best candidates
    checkpoints a folder: a run that was stopped continues from there
    cost        one encoding of all texts (cached), one exact search of the training queries, and the training
    """
    from limbeck.recipes.distill_vq import DistillVQ

    out = Path(out)
    refuse_unwritable(out)
    refuse_other_folder(out)
    recipe = recipe or DistillVQ()
    if code_bytes is not None:
        recipe = with_code_bytes(recipe, code_bytes)
    opened = opened_corpus(corpus)
    if isinstance(opened, Vectors):
        width, documents = opened.dim, len(opened)
    else:
        teacher = opened_encoder(teacher)
        width = teacher.dim
        documents = len(opened.corpus if isinstance(opened, Dataset) else opened)
    refuse_unfitting(recipe, documents=documents, width=width)
    material = gather(opened, queries, teacher=teacher, similarity=similarity, progress=progress)
    return make(
        material,
        recipe,
        out,
        keep_vectors=keep_vectors,
        checkpoints=Path(checkpoints) if checkpoints else None,
        progress=progress,
    )


def refuse_unwritable(out: Path) -> None:
    """Raises StorageError where `out` cannot become a folder that we write to: now, not after hours of work."""
    nearest = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        raise StorageError(f"cannot write {out}: {nearest} is a file; expected a folder, or nothing there.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise StorageError(f"cannot write {out} as uid {os.getuid()}: {nearest} is not writable.")


def refuse_other_folder(out: Path) -> None:
    """Raises ConfigError where `out` holds other things than an artefact, among which a new one would be lost."""
    if not out.is_dir() or (out / CURRENT).exists() or any(out.glob(f"{GENERATION}*")):
        return
    others = sorted(entry.name for entry in out.iterdir() if not entry.name.startswith("."))
    if others:
        raise ConfigError(
            f"{out}: holds other files ({', '.join(others[:3])}); expected an empty folder, an index, or nothing there."
            f"\n\nHint: give a folder of its own, such as {out / 'index'}."
        )


def with_code_bytes(recipe: Recipe, code_bytes: int) -> Recipe:
    """The recipe at another size. raises ConfigError where it has a size of its own"""
    if "code_bytes" not in recipe.__dataclass_fields__:
        raise ConfigError(
            f"{type(recipe).__name__} has no `code_bytes`: its size follows from {sorted(recipe.__dataclass_fields__)}."
        )
    return cast("Recipe", replace(cast("Any", recipe), code_bytes=code_bytes))


def refuse_unfitting(recipe: Recipe, *, documents: int, width: int) -> None:
    """Raises ConfigError where the constants cannot work with these vectors: before they are encoded."""
    constants = asdict(recipe)
    check = getattr(recipe, "check_fits", None)
    if check is not None:
        check(documents, width)
    elif {"code_bytes", "bits", "lists"} <= set(constants):
        _refuse_unfitting_codes(constants, documents=documents, width=width)


def _refuse_unfitting_codes(constants: dict[str, Any], *, documents: int, width: int) -> None:
    from limbeck.quantisers.product import ProductQuantiser

    lists = constants["lists"]
    quantiser = ProductQuantiser(code_bytes=constants["code_bytes"], bits=constants["bits"], lists=lists)
    quantiser.check_fits(documents, width)
    if lists is not None and lists > documents:
        raise ConfigError(
            f"`lists` is {lists}, but there are {documents} documents; each list needs one.\n\n"
            f"Hint: about the square root of their number is usual: {round(documents**0.5)}."
        )


def make(
    material: Material,
    recipe: Recipe,
    out: Path,
    *,
    keep_vectors: Precision | None = None,
    checkpoints: Path | None = None,
    progress: bool = True,
) -> Searcher:
    """Run a recipe on gathered material and publish the artefact."""
    started = time.perf_counter()
    histories: list[History] = []
    if "on_history" in inspect.signature(recipe.run).parameters:
        system = cast("TrainedRecipe", recipe).run(
            material.vectors, folder=checkpoints, on_history=histories.append, progress=progress
        )
    else:
        system = recipe.run(material.vectors)
    index = built(system)
    seconds = time.perf_counter() - started
    return publish_index(
        index,
        material,
        recipe,
        out,
        history=histories[0] if histories else None,
        seconds=seconds,
        keep_vectors=keep_vectors,
    )


def built(system: System) -> SavedIndex:
    """The index over what a recipe left. raises ConfigError where it is of a kind that cannot be opened again"""
    index = system.build()
    kind_of(index)
    return cast("SavedIndex", index)


def publish_index(
    index: SavedIndex,
    material: Material,
    recipe: Recipe,
    out: Path,
    *,
    history: History | None,
    seconds: float,
    keep_vectors: Precision | None = None,
) -> Searcher:
    """The artefact of an index that a recipe made in so many seconds, opened as a user would open it."""
    content = {
        "index": kind_of(index),
        "recipe": {"name": type(recipe).__name__, "constants": asdict(recipe)},
        "training": history.as_json() if history else None,
        "build_seconds": round(seconds, 2),
        "data": {"name": material.name, "fingerprint": material.fingerprint, "documents": len(material.ids)},
        "encoder": material.encoder.fingerprint.to_json() if material.encoder else None,
        "metric": material.vectors.metric,
        "tie_rule": "score falling, then document row",
        "bytes_per_document": index.nbytes / len(index),
        "drift": {"trained": _distortion(index, material.vectors.documents)},
    }
    save(out, index, material, content, keep_vectors=keep_vectors)
    return Searcher.open(out)


def _distortion(index: SavedIndex, documents: Floats) -> float | None:
    """Of the first documents, which is how well codewords fit what they were learnt from."""
    some = slice(0, min(len(documents), DISTORTION_ROWS))
    return distortion(index, np.asarray(documents[some]), some)


def save(
    out: Path,
    index: SavedIndex,
    material: Material,
    content: dict[str, Any],
    *,
    keep_vectors: Precision | None = None,
) -> None:
    """Publish an index with its documents, its query encoder, and vectors where they are kept, as one artefact."""
    encoder_folder = exported(material.encoder, material.sample_texts) if material.encoder else None

    def write(folder: Path) -> None:
        index.save(folder)
        DocumentStore.write(folder / DOCUMENTS, material.corpus or bare_documents(material.ids))
        if encoder_folder is not None:
            shutil.copytree(encoder_folder, folder / QUERY_ENCODER)
        if keep_vectors is not None:
            documents = material.vectors.documents
            blocks = (
                np.asarray(documents[at : at + BLOCK_ROWS]) for at in range(0, len(documents), BLOCK_ROWS)
            )
            keep(folder / KEPT, blocks, rows=len(documents), dim=documents.shape[1], precision=keep_vectors)

    publish(out, write, {**content, **changes_so_far(out)})


def changes_so_far(out: Path) -> dict[str, int]:
    """The number of the last change that the artefact in `out` held: those up to it are gone from its journal."""
    try:
        return {"last_change": int(open_current(out, verify=False)[1].content["last_change"])}
    except (ArtefactError, KeyError):
        return {}


def exported(encoder: SentenceEncoder, sample_texts: Sequence[str]) -> Path:
    """The ONNX form of an encoder, checked against torch on real queries; made once and kept in the cache."""
    from limbeck.encoders.export import export_onnx

    folder = cache_root() / "onnx" / replace(encoder.fingerprint, precision="float32").digest
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as own:
        export_onnx(encoder, Path(own) / "encoder", sample_texts=sample_texts)
        try:
            (Path(own) / "encoder").rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, and may be copying its own
                raise
    return folder


def bare_documents(ids: Ids) -> Iterator[Document]:
    """Documents without text, for indexes that were made from vectors."""
    return (Document(identifier) for identifier in ids)
