"""Costs are counted as said, and timing leaves nothing changed."""

import faiss
import numpy as np
import pytest

from limbeck.errors import ConfigError, DataError, ShapeError
from limbeck.evaluate import bytes_per_document, measure_search, peak_memory
from limbeck.types import Hits


class Recorder:
    """An index that remembers how it was asked."""

    dim, nbytes = 4, 120

    def __init__(self, documents=10):
        self.documents = documents
        self.batches, self.threads, self.options = [], [], []

    def __len__(self):
        return self.documents

    def search(self, query, k, *, effort=None, allowed=None):
        self.batches.append(len(query.flat))
        self.threads.append(faiss.omp_get_max_threads())
        self.options.append((k, effort))
        return Hits(np.zeros((len(query.flat), k), np.int64), np.zeros((len(query.flat), k), np.float32))


def test_each_number_of_threads_is_set_and_the_old_one_put_back():
    index, before = Recorder(), faiss.omp_get_max_threads()
    found = measure_search(index, np.ones((5, 4), np.float32), threads=(1, 2), seconds=0, k=7, effort=0.5)
    assert [speed.threads for speed in found] == [1, 2]
    assert set(index.threads) == {1, 2}
    assert set(index.options) == {(7, 0.5)}
    assert faiss.omp_get_max_threads() == before


def test_the_old_number_of_threads_comes_back_after_an_error():
    class Broken(Recorder):
        def search(self, *_, **__):
            raise DataError("broken")

    before = faiss.omp_get_max_threads()
    with pytest.raises(DataError, match="broken"):
        measure_search(Broken(), np.ones((5, 4), np.float32), threads=(before + 1,), seconds=0)
    assert faiss.omp_get_max_threads() == before


def test_batches_give_the_rate_and_single_queries_the_waiting_time():
    index = Recorder()
    (speed,) = measure_search(index, np.ones((5, 4), np.float32), threads=(1,), seconds=0, batch_size=2)
    assert index.batches == [
        2,
        2,
        2,
        1,
        1,
        *[1] * 20,
    ]  # warm-up, three timed batches, warm-up, twenty singles
    assert speed.queries_per_second > 0
    assert 0 < speed.p50_ms <= speed.p99_ms


def test_bytes_are_shared_out_over_the_documents():
    assert bytes_per_document(Recorder(10)) == 12.0
    with pytest.raises(DataError, match="empty"):
        bytes_per_document(Recorder(0))


def test_peak_memory_sees_what_was_held():
    before = peak_memory()
    held = np.ones(64 * 2**20, np.uint8)
    assert peak_memory() >= before
    assert peak_memory() > held.nbytes


def test_peak_memory_works_without_proc(monkeypatch):
    monkeypatch.setattr("pathlib.Path.exists", lambda _: False)
    assert peak_memory() > 0


def test_what_cannot_be_timed_is_refused():
    with pytest.raises(ShapeError, match="Q of 1 or more"):
        measure_search(Recorder(), np.ones((0, 4), np.float32))
    with pytest.raises(ConfigError, match="1 or more"):
        measure_search(Recorder(), np.ones((1, 4), np.float32), threads=(0,))
