"""Scanning by given tables: the same sums as adding up table entries one after the other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from limbeck.quantisers.faiss_tables import TOGETHER, TableScan

GENERATOR = np.random.default_rng(0)
CODES = GENERATOR.integers(0, 256, (500, 6), dtype=np.uint8)
TABLES = GENERATOR.normal(size=(2 * TOGETHER + 3, 6, 256)).astype(np.float32)


def naive(tables: np.ndarray) -> np.ndarray:
    return sum(tables[:, part][:, CODES[:, part]] for part in range(CODES.shape[1]))


@pytest.mark.parametrize("queries", [1, 2, TOGETHER, len(TABLES)])
def test_the_best_rows_are_those_whose_table_entries_add_up_to_most(queries):
    scores, rows = TableScan(CODES).best(TABLES[:queries], 10)
    expected = naive(TABLES[:queries])
    np.testing.assert_array_equal(rows, np.argsort(-expected, axis=1)[:, :10])
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :10], rtol=1e-5)


def test_rows_that_are_left_out_are_not_found_and_the_others_keep_their_numbers():
    allowed = np.zeros(len(CODES), dtype=bool)
    allowed[[3, 77, 499]] = True
    scores, rows = TableScan(CODES).only(allowed).best(TABLES, 5)
    expected = np.where(allowed, naive(TABLES), -np.inf)
    np.testing.assert_array_equal(rows[:, :3], np.argsort(-expected, axis=1)[:, :3])
    assert (rows[:, 3:] == -1).all()
    assert np.isneginf(scores[:, 3:]).all()


def test_codes_are_held_once_and_come_back_as_they_were():
    scan = TableScan(CODES)
    np.testing.assert_array_equal(scan.codes, CODES)
    assert len(scan) == len(CODES)


def test_threads_that_share_a_scan_do_not_see_each_others_tables():
    scan = TableScan(CODES)
    expected = np.argsort(-naive(TABLES), axis=1)[:, :10]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: scan.best(TABLES[row : row + 1], 10)[1][0], range(len(TABLES))))
    np.testing.assert_array_equal(np.stack(found), expected)
