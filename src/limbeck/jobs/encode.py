"""Texts to vectors on disk: what `limbeck encode` does, and how its folders are opened again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from limbeck.data.corpus import Corpus
from limbeck.data.dataset import Dataset
from limbeck.data.ids import Ids
from limbeck.data.queries import Queries
from limbeck.data.vectors import Vectors, read_ids
from limbeck.encoders.default_teacher import DEFAULT_TEACHER
from limbeck.errors import ConfigError
from limbeck.storage.durable import write_file
from limbeck.types import Side

if TYPE_CHECKING:
    from limbeck.encoders.precision import Precision
    from limbeck.encoders.sentence import SentenceEncoder

IDS = "ids.jsonl"


def encode(
    corpus: Path | str | Corpus | Queries | Dataset,
    out: Path | str,
    *,
    teacher: Path | str | SentenceEncoder | None = None,
    side: Side = "doc",
    split: str | None = None,
    precision: Precision = "auto",
    batch_size: int = 64,
    progress: bool = True,
) -> Vectors:
    """The vectors of a corpus, or with side="query" of its queries, in `out`; stopped, it goes on where it was.

    out       a folder of shards with manifest and ids, or `NAME.npy` with `NAME.ids.jsonl` beside it
    split     with side="query" and a BEIR folder: the queries of this split alone
    cost      one pass of the encoder; a `.npy` also takes its size in the cache
    raises    EncoderMismatch or DataError where `out` holds other vectors
    """
    from limbeck.encoders.corpus_encoding import encode_corpus
    from limbeck.encoders.sentence import SentenceEncoder

    ids, texts = _texts(corpus, side=side, split=split)
    if isinstance(teacher, SentenceEncoder):
        encoder = teacher
    else:
        encoder = SentenceEncoder.open(teacher or DEFAULT_TEACHER, precision=precision)
    out = Path(out)
    folder = _cached(encoder, texts, side) if out.suffix == ".npy" else out
    stored = encode_corpus(texts, encoder, folder, side=side, batch_size=batch_size, progress=progress)
    vectors = Vectors(ids, stored.array())
    if out.suffix == ".npy":
        vectors.save(out)
    else:
        lines = (json.dumps(identifier) + "\n" for identifier in ids)
        write_file(out / IDS, "".join(lines).encode())
    return vectors


def is_encoded(folder: Path) -> bool:
    """Whether `encode` wrote this folder."""
    return (folder / IDS).is_file() and (folder / "manifest.json").is_file()


def open_vectors(path: Path) -> Vectors:
    """A `.npy` file with its ids, or a folder that `encode` wrote, after every shard passed its sha256."""
    if not path.is_dir():
        return Vectors.open(path)
    from limbeck.encoders.stored import StoredVectors

    return Vectors(read_ids(path / IDS), StoredVectors.open(path).array())


def _texts(
    corpus: Path | str | Corpus | Queries | Dataset, *, side: Side, split: str | None
) -> tuple[Ids, Corpus | Queries]:
    if isinstance(corpus, (str, Path)):
        corpus = _opened(Path(corpus), side)
    if isinstance(corpus, Dataset):
        if split is not None and side == "query":
            corpus = corpus.split(split)[0]
        else:
            corpus = corpus.queries if side == "query" else corpus.corpus
    elif split is not None:
        raise ConfigError(f"`split` is {split!r}, but only a data set folder has splits.")
    return corpus.ids, corpus


def _opened(path: Path, side: Side) -> Corpus | Queries | Dataset:
    if path.is_dir():
        return Dataset.open(path)
    return Queries.open(path) if side == "query" else Corpus.open(path)


def _cached(encoder: SentenceEncoder, texts: Corpus | Queries, side: Side) -> Path:
    from limbeck.encoders.corpus_encoding import cache_folder
    from limbeck.encoders.texts import as_texts, text_fingerprint

    return cache_folder(encoder, text_fingerprint(as_texts(texts)), side)
