"""What an index costs: bytes, seconds, queries a second, waiting time, memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limbeck.contracts import Index
from limbeck.errors import ConfigError, DataError, ShapeError
from limbeck.quantisers.faiss_scan import faiss_threads
from limbeck.types import Floats, Reps


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast an index answers with a number of threads."""

    threads: int
    queries_per_second: float  # in batches
    p50_ms: float  # one query at a time
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What one system costs to hold, to build and to ask."""

    code_bytes: int | None = None  # of the code alone, a document
    bytes_per_document: float | None = None  # everything that search holds, shared out
    build_seconds: float | None = None
    speeds: tuple[Speed, ...] = ()


def measure_search(
    index: Index,
    queries: Floats,
    *,
    k: int = 10,
    threads: Sequence[int] = (1, 2),
    seconds: float = 1.0,
    effort: float | None = None,
    batch_size: int = 256,
) -> list[Speed]:
    """Times the search with each number of faiss threads, and puts the number back that was set before.

    A warm-up batch first, uncounted; then batches for `seconds` (queries a second), then single queries for
    `seconds` (p50 and p99 in milliseconds). At least 3 batches and 20 single queries are timed, however slow
    they are.

    index    one that sets its own number of threads keeps it: leave its `threads` None to measure here
    queries  [Q, d] float32, gone through in turn and again
    cost     about 2 * seconds for each number of threads
    """
    vectors = np.ascontiguousarray(queries, dtype=np.float32)
    if vectors.ndim != 2 or not len(vectors):
        raise ShapeError(
            f"`queries` has shape {vectors.shape}, expected [Q, {index.dim}] with Q of 1 or more."
        )
    if batch_size < 1 or min(threads, default=1) < 1:
        raise ConfigError("`batch_size` and every number of threads must be 1 or more.")

    def search(part: Floats) -> None:
        index.search(Reps.single(part), k, effort=effort)

    return [_measure(search, vectors, count, seconds, batch_size) for count in threads]


def bytes_per_document(index: Index) -> float:
    """Everything that search holds (codes, ids, centroids, rotation), shared out over the documents."""
    if not len(index):
        raise DataError("the index is empty, so there is no document to share its bytes out over.")
    return index.nbytes / len(index)


def peak_memory() -> int:
    """The most bytes of memory that this process has held so far."""
    status = Path("/proc/self/status")
    if status.exists():
        # not ru_maxrss: on Linux a child starts with the peak of the process that forked it
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _measure(
    search: Callable[[Floats], None], vectors: Floats, threads: int, seconds: float, batch_size: int
) -> Speed:
    with faiss_threads(threads):
        search(vectors[:batch_size])
        sizes, times = _timed(search, vectors, min(batch_size, len(vectors)), seconds, at_least=3)
        search(vectors[:1])
        _, waits = _timed(search, vectors, 1, seconds, at_least=20)
    p50, p99 = np.percentile(waits * 1000, [50, 99])
    return Speed(threads, float(sizes.sum() / times.sum()), float(p50), float(p99))


def _timed(
    search: Callable[[Floats], None], vectors: Floats, batch_size: int, seconds: float, *, at_least: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sizes and seconds of batches searched one after the other until the time is over."""
    sizes: list[int] = []
    times: list[float] = []
    until = time.perf_counter() + seconds
    start = 0
    while len(times) < at_least or time.perf_counter() < until:
        batch = vectors[start : start + batch_size]
        begin = time.perf_counter()
        search(batch)
        times.append(time.perf_counter() - begin)
        sizes.append(len(batch))
        start = start + batch_size if start + batch_size < len(vectors) else 0
    return np.array(sizes, dtype=np.int64), np.array(times)
