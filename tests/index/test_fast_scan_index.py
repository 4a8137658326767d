from itertools import product
from pathlib import Path

import numpy as np
import pytest

from limbeck.contracts import Index
from limbeck.errors import ConfigError
from limbeck.index import CodeIndex
from limbeck.index.fast_scan import FastScanIndex
from limbeck.quantisers import ProductQuantiser
from limbeck.quantisers.faiss_fast import fast_scanner
from limbeck.quantisers.faiss_io import code_scanner
from limbeck.quantisers.packing import unpack
from limbeck.testing import check_index, clustered
from limbeck.types import Codes, Reps

KINDS = list(product([False, True], [None, 7], ["ip", "l2"]))


@pytest.fixture(scope="module")
def vectors():
    return clustered(1111, 16, seed=0)  # no multiple of 32


@pytest.fixture(scope="module")
def queries():
    return clustered(40, 16, seed=1)


def built(vectors, **settings):
    quantiser = ProductQuantiser(code_bytes=4, bits=4, **settings).fit(vectors, seed=0)
    rng = np.random.default_rng(0)
    learned = {
        "score.codewords": quantiser.score_codewords * rng.uniform(0.9, 1.1, quantiser.score_codewords.shape)
    }
    if quantiser.base is not None:
        learned["routing"] = quantiser.base + 0.1 * rng.normal(size=quantiser.base.shape)
        learned["base"] = quantiser.base * 1.05
    return quantiser.with_parts(learned), quantiser.encode(vectors)


def rounded_sums(tables, offset, numbers, *, bound):
    """One query by hand: tables [P, M, K] that fall short of their least entry, rounded to 8 bits, offsets [P] to 16.

    numbers is a list of P arrays [n, M]; gives P arrays [n] of scores, higher = better.
    """
    tables, offset = tables.astype(np.float32), offset.astype(np.float32)
    least = tables.min(axis=2)
    spans = tables.max(axis=2) - least
    start = offset + least.sum(axis=1)
    if bound:
        step = min(255 / spans.max(), 65535 / (start - start.min() + spans.sum(axis=1)).max())
    else:
        step = 255 / spans.max()
    entries = np.floor((tables - least[:, :, None]) * np.float32(step) + np.float32(0.5))
    offsets = np.floor((start - start.min()) * np.float32(step) + np.float32(0.5))
    parts = np.arange(tables.shape[1])
    return [
        (entry[parts, chosen].sum(axis=1) + first) / step + start.min()
        for entry, first, chosen in zip(entries, offsets, numbers, strict=True)
    ]


def naive_scores(quantiser, codes, query):
    """[N] scores of one query over every list, from the tables that faiss rounds."""
    sign = 1 if quantiser.metric == "ip" else -1  # faiss rounds distances, which are lower = better
    numbers = unpack(codes.codes, bits=4)
    if quantiser.base is None:
        tables = sign * quantiser.lookup_tables(query[None])
        return sign * rounded_sums(tables, np.zeros(1), [numbers], bound=False)[0]
    turned, count = quantiser.rotate_vectors(query[None])[0], len(quantiser.base)
    members = [np.flatnonzero(codes.lists == number) for number in range(count)]
    if quantiser.metric == "ip":
        tables = np.repeat(quantiser.lookup_tables(query[None]), count, axis=0)
        offset = quantiser.base @ turned
    else:
        tables = -quantiser.lookup_tables(np.repeat(query[None], count, axis=0), lists=np.arange(count))
        offset = np.zeros(count)
    found = np.empty(len(codes))
    per_list = rounded_sums(tables, offset, [numbers[rows] for rows in members], bound=True)
    for rows, scores in zip(members, per_list, strict=True):
        found[rows] = sign * scores
    return found


@pytest.mark.parametrize(("rotate", "lists", "metric"), KINDS)
def test_scores_and_order_are_those_of_a_naive_scan_over_the_rounded_tables(
    vectors, queries, rotate, lists, metric
):
    quantiser, codes = built(vectors, rotate=rotate, lists=lists, metric=metric)
    hits = FastScanIndex(quantiser, codes).search(Reps.single(queries), 50, effort=1.0)
    truth = np.stack([naive_scores(quantiser, codes, query) for query in queries])
    own = np.take_along_axis(truth, hits.ids, axis=1)
    np.testing.assert_allclose(hits.scores, own, atol=2e-5)  # one entry off would be 1e-2
    order = np.argsort(-truth.round(4), axis=1, kind="stable")[:, :50]
    assert np.array_equal(hits.ids, order)  # ties by row included


@pytest.mark.parametrize(("rotate", "lists", "metric"), KINDS)
def test_rescored_hits_are_those_of_the_plain_scan(vectors, queries, rotate, lists, metric):
    quantiser, codes = built(vectors, rotate=rotate, lists=lists, metric=metric)
    plain = CodeIndex(quantiser, codes).search(Reps.single(queries), 10, effort=0.6)
    fast = FastScanIndex(quantiser, codes, rescore=200).search(Reps.single(queries), 10, effort=0.6)
    assert np.array_equal(fast.ids, plain.ids)
    np.testing.assert_allclose(fast.scores, plain.scores, atol=1e-5)  # float32 tables, d = 16


@pytest.mark.parametrize(("rotate", "lists", "metric"), KINDS)
def test_with_everything_rescored_the_contract_of_an_index_is_kept(vectors, rotate, lists, metric, tmp_path):
    quantiser, codes = built(vectors, rotate=rotate, lists=lists, metric=metric)
    index = FastScanIndex(quantiser, codes, rescore=len(codes))
    assert isinstance(index, Index)
    check_index(
        index,
        lambda queries: quantiser.score(queries, codes),
        reopen=lambda folder: FastScanIndex.open(folder, rescore=len(codes)),
        folder=tmp_path,
    )


@pytest.mark.parametrize("lists", [None, 7])
@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_rounded_search_keeps_masks_and_finds_every_row(vectors, queries, lists, metric):
    quantiser, codes = built(vectors, lists=lists, metric=metric)
    index, size = FastScanIndex(quantiser, codes), len(codes)
    everything = index.search(Reps.single(queries), size + 3, effort=1.0)
    assert all(set(line[:size]) == set(range(size)) for line in everything.ids.tolist())
    assert (everything.ids[:, size:] == -1).all()
    mask = np.arange(size) % 3 == 1
    some = index.search(Reps.single(queries), 20, effort=1.0, allowed=mask)
    assert (some.ids % 3 == 1).all()
    assert (some.scores[:, :-1] >= some.scores[:, 1:]).all()


@pytest.mark.parametrize(("lists", "rescore"), list(product([None, 7], [None, 20])))
def test_a_query_of_zeros_finds_the_first_rows_with_scores_of_zero(vectors, queries, lists, rescore):
    index = FastScanIndex(*built(vectors, lists=lists), rescore=rescore)
    asked = Reps.single(np.stack([queries[0], np.zeros(16, np.float32)]))
    allowed = np.arange(len(vectors)) % 3 == 1
    for mask, first in ((None, [0, 1, 2, 3]), (allowed, [1, 4, 7, 10])):
        hits = index.search(asked, 4, allowed=mask)
        assert hits.ids[1].tolist() == first
        assert not hits.scores[1].any()
        np.testing.assert_array_equal(hits.ids[0], index.search(asked, 4, effort=1.0, allowed=mask).ids[0])


@pytest.mark.parametrize("lists", [None, 7])
def test_codes_come_out_of_the_blocks_as_they_went_in(vectors, lists):
    quantiser, codes = built(vectors, lists=lists)
    found = FastScanIndex(quantiser, codes).codes
    assert np.array_equal(found.codes, codes.codes)
    assert (lists is None) == (found.lists is None)
    assert lists is None or np.array_equal(found.lists, codes.lists)


def test_both_kinds_of_index_open_what_the_other_saved(vectors, queries, tmp_path):
    quantiser, codes = built(vectors, lists=7, rotate=True)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 16)))[0].astype("f4")
    fast = FastScanIndex(quantiser, codes, query_map=turn)
    fast.save(tmp_path / "fast")
    CodeIndex(quantiser, codes, query_map=turn).save(tmp_path / "plain")
    for name in ("index.faiss", "quantiser.safetensors"):
        assert (tmp_path / "fast" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    again = FastScanIndex.open(tmp_path / "plain").search(Reps.single(queries), 10)
    assert np.array_equal(again.scores, fast.search(Reps.single(queries), 10).scores)


def test_every_byte_is_counted(vectors):
    quantiser, codes = built(vectors)
    words = 2 * 8 * 16 * 2 * 4  # those that assign and those that score, [8, 16, 2] float32
    blocks = -(-1111 // 32) * 32 * 4
    assert FastScanIndex(quantiser, codes).nbytes == words + blocks
    assert FastScanIndex(quantiser, codes, rescore=10).nbytes == words + blocks + 1111 * 4
    with_lists, listed = built(vectors, lists=7)
    index = FastScanIndex(with_lists, listed, rescore=10)
    sizes = np.bincount(listed.lists, minlength=7)
    blocks = int((-(-sizes // 32) * 32 * 4).sum())
    parts = words + 3 * 7 * 16 * 4  # base, routing, assign.base
    assert index.nbytes == parts + blocks + 1111 * (8 + 4 + 8)


def test_other_codes_are_refused_with_what_to_do(vectors):
    quantiser = ProductQuantiser(code_bytes=4).fit(vectors, seed=0)
    with pytest.raises(ConfigError, match="found 8"):
        FastScanIndex(quantiser, quantiser.encode(vectors))
    four, codes = built(vectors)
    with pytest.raises(ConfigError, match="`rescore` must be at least 1"):
        FastScanIndex(four, codes, rescore=0)
    wide = ProductQuantiser(code_bytes=129, bits=4)
    words = np.zeros((258, 16, 1), dtype=np.float32)
    wide = wide.with_parts({"assign.codewords": words, "score.codewords": words})
    with pytest.raises(ConfigError, match="found 258 sub-vectors"):
        fast_scanner(code_scanner(wide, Codes(np.zeros((4, 129), dtype=np.uint8))), bits=4)


def test_an_artefact_of_4_bit_codes_opens_for_fast_scan(vectors, queries, tmp_path):
    import limbeck
    from limbeck.data import Ids, Vectors

    corpus = Vectors(Ids.from_iterable(map(str, range(1111))), vectors)
    for bits in (4, 8):
        recipe = limbeck.OPQ(code_bytes=4, bits=bits)
        limbeck.distil(corpus, out=tmp_path / f"{bits}", recipe=recipe, similarity="dot", progress=False)
    plain = limbeck.open(tmp_path / "4").search_vectors(queries, 10)
    fast = limbeck.open(tmp_path / "4", fast_scan=True)
    assert isinstance(fast.index, FastScanIndex)
    assert np.array_equal(fast.search_vectors(queries, 10).ids, plain.ids)
    with pytest.raises(ConfigError, match="found 8"):
        limbeck.open(tmp_path / "8", fast_scan=True)


@pytest.mark.long
def test_on_real_vectors_rounded_tables_keep_98_of_100_hits_and_rescoring_all():
    from limbeck.evaluate import overlap

    folder = Path(__file__).parents[2].parent / "shared" / "data" / "tldr"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    pytest.importorskip("sentence_transformers")
    from limbeck.data import Dataset
    from limbeck.encoders import SentenceEncoder
    from limbeck.encoders.collection import encode_dataset

    collection = encode_dataset(Dataset.open(folder), SentenceEncoder.open(), ("test",), progress=False)
    asked = Reps.single(np.asarray(collection.splits["test"].vectors))
    quantiser = ProductQuantiser(code_bytes=16, bits=4, rotate=True).fit(collection.documents, seed=0)
    codes = quantiser.encode(collection.documents)
    plain = CodeIndex(quantiser, codes).search(asked, 20)
    assert overlap(FastScanIndex(quantiser, codes).search(asked, 20), plain).mean() >= 0.98
    assert overlap(FastScanIndex(quantiser, codes, rescore=50).search(asked, 20), plain).mean() == 1
