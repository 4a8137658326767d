"""Search engines of other packages behind the `Index` contract: Annoy, hnswlib, ScaNN. Each is an extra.

Letters: B queries, N documents, d dimension, L leaves, k results.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import CorruptArtefact
from limbeck.index.arguments import checked_effort
from limbeck.index.asking import asked
from limbeck.index.leaving_out import only_allowed
from limbeck.index.package_engines import ENGINES
from limbeck.index.ties import best_hits
from limbeck.storage import durable
from limbeck.storage.hashing import sha256_file
from limbeck.types import Floats, Hits, Metric, Reps, Rows

SETTINGS = "package.json"
FOLDER = "package"


class PackageEngine(Protocol):
    """What a package must be able to do: `limbeck.index.package_engines`."""

    @property
    def dim(self) -> int: ...
    @property
    def code_bytes(self) -> int:
        """Bytes of a document's vectors and codes, links and trees not counted."""
        ...

    def __len__(self) -> int: ...

    def rank(self, queries: Floats, depth: int, *, effort: float, threads: int) -> tuple[Floats, Rows]:
        """Scores (higher is better) and rows [B, depth], best first; row -1 past the end."""
        ...

    def write(self, folder: Path) -> None:
        """All that `read` needs, as files in an empty folder."""
        ...


class PackageIndex:
    """An engine of another package, with this project's checks, ties, filters and files.

    Effort means what the package makes of it: nodes inspected (Annoy), candidates in sight (hnswlib), leaves
    searched (ScaNN). 1 is as exhaustive as the package can be: hnswlib misses what its graph cannot reach.
    None of the packages leaves rows out as we need it: with `allowed` they rank deeper, and rows are dropped.
    """

    def __init__(
        self, engine: PackageEngine, *, metric: Metric, default_effort: float, threads: int | None = None
    ) -> None:
        self.engine = engine
        self.metric: Metric = metric
        self.default_effort = checked_effort(default_effort) or 1.0
        self.threads = threads
        self._nbytes: int | None = None

    @property
    def dim(self) -> int:
        """d, the dimension of queries."""
        return self.engine.dim

    @property
    def code_bytes(self) -> int:
        """Bytes of a document's vectors and codes, links and trees not counted."""
        return self.engine.code_bytes

    @property
    def nbytes(self) -> int:
        """The size of the files that the package writes."""
        if self._nbytes is None:
            with tempfile.TemporaryDirectory() as folder:
                self.engine.write(Path(folder))
                self._nbytes = sum(path.stat().st_size for path in Path(folder).iterdir())
        return self._nbytes

    def __len__(self) -> int:
        return len(self.engine)

    def search(
        self, query: Reps, k: int, *, effort: float | None = None, allowed: NDArray[np.bool_] | None = None
    ) -> Hits:
        """The k best rows of each query that the package finds; with `allowed`, of those rows alone."""
        request = asked(self, query, k, effort=effort, allowed=allowed, default_effort=self.default_effort)
        queries, mask = request.queries, request.mask

        def rank(block: Floats, depth: int) -> tuple[Floats, Rows]:
            scores, rows = self.engine.rank(block, depth, effort=request.effort, threads=self.threads or 1)
            return np.where(rows >= 0, scores, np.float32(-np.inf)), rows

        def fetch(numbers: Rows, depth: int) -> tuple[Floats, Rows]:
            if mask is None:
                return rank(queries[numbers], depth)
            return only_allowed(rank, queries[numbers], depth, allowed=mask)

        return best_hits(fetch, queries=len(queries), k=request.k, size=request.size)

    def save(self, folder: Path) -> None:
        """`package/` as the package writes it, and `package.json` with settings and the sha256 of each file."""
        inner = folder / FOLDER
        durable.make_folders(inner)
        self.engine.write(inner)
        for path in sorted(inner.iterdir()):
            durable.sync_file(path)
        name = next(name for name, kind in ENGINES.items() if isinstance(self.engine, kind))
        settings = {
            "package": name,
            "dim": self.dim,
            "metric": self.metric,
            "default_effort": self.default_effort,
            "files": {path.name: sha256_file(path) for path in sorted(inner.iterdir())},
        }
        durable.write_file(folder / SETTINGS, (json.dumps(settings, sort_keys=True) + "\n").encode())

    @classmethod
    def open(cls, folder: Path, *, threads: int | None = None) -> Self:
        """The index saved in the folder; refused unless every file has the hash that was saved."""
        try:
            settings = json.loads((folder / SETTINGS).read_bytes())
            expected, package = dict(settings["files"]), ENGINES[settings["package"]]
            found = {path.name: sha256_file(path) for path in (folder / FOLDER).iterdir()}
            metric, effort, dim = (settings[name] for name in ("metric", "default_effort", "dim"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptArtefact(f"{folder} holds no package's index that can be read: {error}") from error
        if found != expected:
            raise CorruptArtefact(
                f"{folder / FOLDER}: checksum mismatch; it is damaged or from another save."
            )
        engine = package.read(folder / FOLDER, dim=dim, metric=metric)
        return cls(engine, metric=metric, default_effort=effort, threads=threads)
