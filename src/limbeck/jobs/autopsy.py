"""Where a saved index loses what exact search finds, over the user's own data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from limbeck.data.dataset import Dataset
from limbeck.data.vectors import Vectors
from limbeck.errors import ConfigError, DataError
from limbeck.evaluate.autopsy import Autopsy
from limbeck.evaluate.autopsy import autopsy as look_into
from limbeck.jobs.encode import is_encoded, open_vectors
from limbeck.jobs.evaluate import refuse_other_corpus
from limbeck.retrieve import Searcher
from limbeck.storage.durable import make_folders, write_file
from limbeck.types import Floats

if TYPE_CHECKING:
    from limbeck.encoders.sentence import SentenceEncoder

MOST_QUERIES = 1000


@dataclass(frozen=True, kw_only=True)
class Findings:
    """An autopsy with the names of its queries and documents."""

    title: str
    autopsy: Autopsy
    query_ids: Sequence[str]
    document_ids: Sequence[str]

    def to_json(self) -> str:
        """Every lost document by id and row, with the sums."""
        from limbeck.evaluate.autopsy_report import as_json

        return as_json(self.autopsy, query_ids=self.query_ids, document_ids=self.document_ids)

    def save(self, folder: Path) -> tuple[Path, Path]:
        """`autopsy.json` and `autopsy.png` in the folder. raises MissingExtra without matplotlib"""
        from limbeck.evaluate.autopsy_plot import plot_autopsy

        make_folders(folder)
        written = folder / "autopsy.json"
        write_file(written, self.to_json().encode())
        return written, plot_autopsy(self.autopsy, folder / "autopsy.png", title=self.title)


def autopsy(
    folder: Path | str | Searcher,
    data: Path | str | Dataset | Vectors,
    queries: Path | str | Vectors | None = None,
    *,
    split: str = "test",
    k: int = 10,
    effort: float | None = None,
    teacher: SentenceEncoder | Path | str | None = None,
    fast_scan: bool = False,
    most: int = MOST_QUERIES,
    progress: bool = True,
) -> Findings:
    """Open an index, and find the cause of every document of the exact top k that it loses.

    data       the BEIR folder that was indexed, or its vectors (.npy with ids, or what `limbeck encode` wrote)
    queries    vectors, where data is vectors; a BEIR folder brings those of `split`, which need no labels
    teacher    encodes the corpus of a BEIR folder (through the cache); the default teacher when left out
    fast_scan  open the index for fast scan, to see what rounding costs
    most       queries looked at; of more, every n-th
    raises     DataError where the data is not what was indexed, ConfigError for an index without codes
    """
    searcher = folder if isinstance(folder, Searcher) else Searcher.open(folder, fast_scan=fast_scan)
    if isinstance(data, (str, Path)):
        path = Path(data)
        data = open_vectors(path) if path.suffix == ".npy" or is_encoded(path) else Dataset.open(path)
    if isinstance(data, Vectors):
        name, (documents, asked, names) = "vectors", _of_vectors(searcher, data, queries)
    elif queries is not None:
        raise ConfigError(
            "a data set brings its own queries; choose them with `split`, and leave `queries` out."
        )
    else:
        name = f"{data.name}, {split}"
        documents, asked, names = _of_dataset(searcher, data, split, teacher, progress=progress)
    rows = np.arange(len(asked))[:: max(1, -(-len(asked) // most))]
    found = look_into(searcher.index, documents, np.ascontiguousarray(asked[rows]), k=k, effort=effort)
    recipe = searcher.manifest.content.get("recipe", {}).get("name", "index")
    return Findings(
        title=f"{recipe} over {name}",
        autopsy=found,
        query_ids=[names[row] for row in rows],
        document_ids=list(searcher.documents.ids()),
    )


def _of_vectors(
    searcher: Searcher, data: Vectors, queries: Path | str | Vectors | None
) -> tuple[Floats, Floats, Sequence[str]]:
    if queries is None:
        raise ConfigError(
            "the data is vectors, so the queries must be given too: a .npy file.\n\nHint: --queries QUERIES.npy"
        )
    asked = queries if isinstance(queries, Vectors) else open_vectors(Path(queries))
    if len(data) != len(searcher) or any(
        a != b for a, b in zip(data.ids, searcher.documents.ids(), strict=True)
    ):
        raise DataError(
            f"the vectors are {len(data)} with ids of their own, but the index holds {len(searcher)} other ones: rows "
            "would not mean the same documents.\n\nHint: give the vectors that the index was made of."
        )
    return data.values, asked.values, list(asked.ids)


def _of_dataset(
    searcher: Searcher,
    data: Dataset,
    split: str,
    teacher: SentenceEncoder | Path | str | None,
    *,
    progress: bool,
) -> tuple[Floats, Floats, Sequence[str]]:
    from limbeck.encoders.collection import encode_texts
    from limbeck.encoders.fingerprint import check_pair
    from limbeck.jobs.material import opened_encoder

    if searcher.encoder is None:
        raise ConfigError(
            "this index was made from vectors.\n\nHint: give the vectors (.npy) as data, and --queries QUERIES.npy."
        )
    refuse_other_corpus(searcher, data)
    queries, _ = data.split(split)
    encoder = opened_encoder(teacher)
    check_pair(searcher.encoder.fingerprint, encoder.fingerprint)
    documents = encode_texts(data.corpus, encoder, "doc", progress=progress)
    return documents, searcher.encoder.encode(queries.texts, side="query").flat, list(queries.ids)
