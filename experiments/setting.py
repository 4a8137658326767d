"""What all experiments share: the collections with their splits, and result files that resume.

Decide on `choose`, report on `report`; neither is seen in training. Run from the repository root.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.data.dataset import Dataset
from limbeck.data.labels import Qrels
from limbeck.encoders.collection import Collection, encode_dataset
from limbeck.storage.durable import write_file
from limbeck.types import Hits, Reps

if TYPE_CHECKING:
    from limbeck.encoders import SentenceEncoder

DATA = Path(os.environ.get("LIMBECK_DATA", "../shared/data"))
RESULTS = Path(__file__).parent / "results"
NAMES = ("python-api", "medquad", "tldr")
MAX_LENGTH = {
    "python-api": 128,
    "python-api-random": 128,
}  # tokens, as in the quickstart: what MiniLM was trained with; else the model's 256
TRAIN = {"ottqa-passages": "train_links"}  # tables as queries: 30,000, against 1,202 questions


@dataclass(frozen=True)
class Setting:
    """A collection and which of its splits is for what."""

    name: str
    collection: Collection
    choose: str
    report: str
    train: str = "train"


def setting(
    name: str,
    *,
    size: int | None = None,
    device: str = "cpu",
    precision: str = "auto",
    encoder: SentenceEncoder | None = None,
) -> Setting:
    """One of the collections, encoded by MiniLM or another encoder (through the cache)."""
    from limbeck.encoders import SentenceEncoder

    dataset, choose, report = _dataset(name, size)
    train = TRAIN.get(name, "train")
    if encoder is None:
        encoder = SentenceEncoder.open(device=device, precision=precision, max_length=MAX_LENGTH.get(name))
    collection = encode_dataset(dataset, encoder, (train, choose, report))
    return Setting(name=name, collection=collection, choose=choose, report=report, train=train)


def _dataset(name: str, size: int | None) -> tuple[Dataset, str, str]:
    if name == "python-api":
        return _python_api(size), "dev", "test"
    if name == "python-api-random":  # near-copies of test queries in training, as a random split has it
        return _split_at_random(_python_api(size)), "dev", "test"
    dataset = Dataset.open(DATA / name)
    if name == "medquad":  # its test has 60 queries: report on dev, choose on a tenth of train, by focus
        return _with_choice_by_focus(dataset, DATA / name / "queries.jsonl.gz"), "choose", "dev"
    return dataset, "dev", "test"


def _python_api(size: int | None) -> Dataset:
    from limbeck.data.python_api import cached

    folder = os.environ.get("LIMBECK_PYTHON_API")  # a harvest made before; else harvested here
    return Dataset.open(folder) if folder else cached(size)


def _split_at_random(dataset: Dataset) -> Dataset:
    """All queries shuffled with seed 13, then 80/10/10."""
    graded = {query: grades for part in dataset.qrels.values() for query, grades in part.as_dict().items()}
    names = np.random.default_rng(13).permutation(sorted(graded)).tolist()
    tenth = len(names) // 10
    parts = {"test": names[:tenth], "dev": names[tenth : 2 * tenth], "train": names[2 * tenth :]}
    return replace(dataset, qrels={name: Qrels({q: graded[q] for q in part}) for name, part in parts.items()})


def _with_choice_by_focus(dataset: Dataset, queries: Path) -> Dataset:
    """Move the queries of every tenth focus (drawn with seed 13) from train to a new split `choose`."""
    import gzip

    with gzip.open(queries, "rt", encoding="utf-8") as lines:
        focus = {record["_id"]: str(record.get("focus")) for record in map(json.loads, lines)}
    train = dataset.qrels["train"].as_dict()
    names = sorted({focus[query] for query in train})
    chosen = set(np.random.default_rng(13).permutation(names)[: len(names) // 10].tolist())
    parts = {
        "choose": {q: grades for q, grades in train.items() if focus[q] in chosen},
        "train": {q: grades for q, grades in train.items() if focus[q] not in chosen},
    }
    return replace(dataset, qrels={**dataset.qrels, **{name: Qrels(part) for name, part in parts.items()}})


class ResultFile:
    """JSON lines, one a finished run, keyed by its settings: started again, an experiment skips what is there.

    Values for each query, some 7 KB a run, lie beside it: an experiment can be finished on any machine. A run without
    them is made again.
    """

    def __init__(self, name: str, *, folder: Path = RESULTS) -> None:
        self.path = folder / f"{name}.jsonl"
        self.path.parent.mkdir(exist_ok=True)
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def find(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The finished run of these settings."""
        return next((row for row in self.rows if row["key"] == key), None)

    def add(self, key: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
        """Append a finished run, in place of its row of before; whole lines only."""
        row = {"key": dict(key), **values, "at": time.strftime("%Y-%m-%d %H:%M")}
        if self.find(key) is not None:
            lines = [line for line in self.path.read_text().splitlines() if json.loads(line)["key"] != key]
            write_file(self.path, "".join(line + "\n" for line in lines).encode())
            self.rows = [known for known in self.rows if known["key"] != key]
        with self.path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        self.rows.append(row)
        return row

    def values(self, key: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
        """Values for each query of a finished run."""
        path = self._values_file(key)
        if self.find(key) is None or not path.exists():
            return None
        with np.load(path) as stored:
            return dict(stored)

    def keep_values(self, key: Mapping[str, Any], values: Mapping[str, Sequence[float]]) -> None:
        """Before `add`, so that a finished run has its values."""
        path = self._values_file(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **{name: np.asarray(column) for name, column in values.items()})

    def _values_file(self, key: Mapping[str, Any]) -> Path:
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self.path.parent / "values" / self.path.stem / f"{digest[:24]}.npz"


def sections(table: Path) -> dict[str, str]:
    """What a table says under each of its titles: kept where another machine has the values that it came from."""
    text = table.read_text() if table.exists() else ""
    return {part.partition("\n")[0]: f"## {part.rstrip()}\n" for part in text.split("\n## ")[1:]}


def search(index: Any, vectors: np.ndarray, depth: int = 100, *, effort: float | None = None) -> Hits:
    """Hits of many queries."""
    return index.search(Reps.single(vectors), depth, effort=effort)  # type: ignore[no-any-return]


def judge(setting: Setting, split: str, hits: Hits, exact: Hits) -> dict[str, list[float]]:
    """RR@10, R@100 and overlap@10 with exact search, for each query of the split."""
    from limbeck.evaluate import overlap, score_hits

    scores = score_hits(hits, setting.collection.splits[split].labels, ("RR@10", "R@100"))
    return {
        "RR@10": scores.of("RR@10").round(6).tolist(),
        "R@100": scores.of("R@100").round(6).tolist(),
        "overlap@10": overlap(hits, exact, k=10)[scores.query_rows].round(6).tolist(),
    }


def means(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The mean of each measure."""
    return {name: round(float(np.mean(column)), 4) for name, column in values.items()}
