"""Limbeck distils an embedding model into an index and a query encoder that you can afford to serve.

    searcher = limbeck.distil("corpus folder", out="index", code_bytes=32)
    searcher = limbeck.open("index")
    for answer in searcher.answers(["a question"], k=3)[0]:
        print(answer.score, answer.id)

Names load when they are first used: importing this needs neither torch nor faiss.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from limbeck import errors
from limbeck.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from limbeck.data.corpus import Corpus
    from limbeck.data.dataset import Dataset
    from limbeck.data.labels import Qrels
    from limbeck.data.queries import Queries
    from limbeck.data.run import Run
    from limbeck.data.vectors import Vectors
    from limbeck.encoders.corpus_encoding import KnownEncoder
    from limbeck.encoders.sentence import SentenceEncoder
    from limbeck.jobs.distil_encoder import distil_encoder
    from limbeck.jobs.encode import encode
    from limbeck.jobs.exchange import export_codebook, export_faiss, import_codebook, import_faiss
    from limbeck.jobs.exchange_lance import export_lance
    from limbeck.jobs.exchange_pyserini import export_pyserini
    from limbeck.jobs.hybrid import hybrid
    from limbeck.jobs.make import distil
    from limbeck.jobs.make_queries import make_queries
    from limbeck.recipes.compress import OPQ, PQ
    from limbeck.recipes.distill_vq import DistillVQ
    from limbeck.retrieve import Answer, Searcher

_HOME = {
    "Answer": "retrieve",
    "Corpus": "data.corpus",
    "Dataset": "data.dataset",
    "DistillVQ": "recipes.distill_vq",
    "OPQ": "recipes.compress",
    "PQ": "recipes.compress",
    "Qrels": "data.labels",
    "Queries": "data.queries",
    "Run": "data.run",
    "Searcher": "retrieve",
    "SentenceEncoder": "encoders.sentence",
    "Vectors": "data.vectors",
    "distil": "jobs.make",
    "distil_encoder": "jobs.distil_encoder",
    "encode": "jobs.encode",
    "export_codebook": "jobs.exchange",
    "export_faiss": "jobs.exchange",
    "export_lance": "jobs.exchange_lance",
    "export_pyserini": "jobs.exchange_pyserini",
    "hybrid": "jobs.hybrid",
    "import_codebook": "jobs.exchange",
    "import_faiss": "jobs.exchange",
    "make_queries": "jobs.make_queries",
}

__all__ = [
    "OPQ",
    "PQ",
    "Answer",
    "Corpus",
    "Dataset",
    "DistillVQ",
    "Qrels",
    "Queries",
    "Run",
    "Searcher",
    "SentenceEncoder",
    "Vectors",
    "__version__",
    "distil",
    "distil_encoder",
    "encode",
    "errors",
    "export_codebook",
    "export_faiss",
    "export_lance",
    "export_pyserini",
    "hybrid",
    "import_codebook",
    "import_faiss",
    "make_queries",
    "open",
]


def open(
    folder: Path | str,
    *,
    encoder: KnownEncoder | Path | str | None = None,
    verify: bool = True,
    threads: int | None = None,
    fast_scan: bool = False,
) -> Searcher:
    """A searcher over the artefact in `folder`: `Searcher.open`, which says what is checked and raised."""
    from limbeck.retrieve import Searcher

    return Searcher.open(folder, encoder=encoder, verify=verify, threads=threads, fast_scan=fast_scan)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
