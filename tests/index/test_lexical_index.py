"""BM25 is its formula, sorted by the one tie rule; its files are opened without trust."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import ConfigError, CorruptArtefact, DataError, ShapeError
from limbeck.index import lexical_files
from limbeck.index.lexical import LexicalIndex, best_rows
from limbeck.text import open_analyser

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "東京", "naïve"]
RNG = np.random.default_rng(0)
TEXTS = [" ".join(RNG.choice(WORDS, RNG.integers(0, 12))) for _ in range(120)]
QUERIES = ["alpha beta", "theta theta zeta", "nothing known", "", "naïve 東京 eta", "gamma"]


def naive_scores(texts, query, *, analyser, k1=1.2, b=0.75):
    """BM25 as it is printed, in double precision, word by word and document by document."""
    tokens_of = open_analyser(analyser)
    documents = [Counter(tokens_of(text)) for text in texts]
    mean = sum(document.total() for document in documents) / len(documents)
    scores = []
    for document in documents:
        total = 0.0
        for word in tokens_of(query):
            holds = sum(word in other for other in documents)
            if word in document:
                idf = math.log(1 + (len(documents) - holds + 0.5) / (holds + 0.5))
                times = document[word]
                total += idf * times / (times + k1 * (1 - b + b * document.total() / mean))
        scores.append(total)
    return np.array(scores)


@pytest.fixture(scope="module")
def index():
    return LexicalIndex.build(TEXTS, analyser="words", progress=False)


@pytest.fixture
def saved(index, tmp_path):
    index.save(tmp_path / "lexical")
    return tmp_path / "lexical"


@pytest.mark.parametrize("analyser", ["english", "words", "cjk"])
@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.9, 0.4), (2.0, 0.0), (1.5, 1.0)])
def test_scores_are_those_of_the_formula(analyser, k1, b):
    index = LexicalIndex.build(TEXTS, analyser=analyser, k1=k1, b=b, progress=False)
    for query in QUERIES:
        expected = naive_scores(TEXTS, query, analyser=analyser, k1=k1, b=b)
        np.testing.assert_allclose(index.scores(query), expected, rtol=2e-6)  # float32 sums of a few words
        assert ((index.scores(query) > 0) == (expected > 0)).all()


def test_scores_are_those_of_bm25s():
    import bm25s

    tokens_of = open_analyser("english")
    theirs = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
    theirs.index([tokens_of(text) for text in TEXTS], show_progress=False)
    ours = LexicalIndex.build(TEXTS, analyser="english", progress=False)
    for query in ("alpha beta", "theta theta zeta", "naïve eta eta", "gamma"):
        np.testing.assert_allclose(ours.scores(query), theirs.get_scores(tokens_of(query)), rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.lists(st.sampled_from(WORDS[:4]), max_size=6).map(" ".join), min_size=1, max_size=40),
    query=st.lists(st.sampled_from(WORDS[:5]), max_size=4).map(" ".join),
    k=st.integers(1, 50),
    share=st.sampled_from([1.0, 0.5, 0.1, 0.0]),
    seed=st.integers(0, 99),
)
def test_hits_are_the_allowed_documents_that_share_a_word_sorted(texts, query, k, share, seed):
    if not any(texts):
        return
    allowed = np.random.default_rng(seed).random(len(texts)) < share
    index = LexicalIndex.build(texts, analyser="words", progress=False)
    hits = index.search([query], k, allowed=allowed)
    scores = index.scores(query)
    expected = sorted(
        (row for row in range(len(texts)) if allowed[row] and scores[row] > 0),
        key=lambda row: (-scores[row], row),
    )[:k]
    assert hits.ids.shape == (1, k)
    assert hits.ids[0, : len(expected)].tolist() == expected
    assert hits.scores[0, : len(expected)].tolist() == scores[expected].tolist()
    assert (hits.ids[0, len(expected) :] == -1).all()
    assert np.isneginf(hits.scores[0, len(expected) :]).all()


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 45))
def test_the_best_rows_are_the_first_of_all_sorted_ones(values, k):
    scores = np.array(values, dtype=np.float32)
    order = sorted(np.flatnonzero(scores > 0).tolist(), key=lambda row: (-scores[row], row))
    assert best_rows(scores, k).tolist() == order[:k]


def test_equal_documents_tie_and_the_lower_rows_stay_where_k_cuts():
    index = LexicalIndex.build(["one word"] * 50 + ["one other word here"], analyser="words", progress=False)
    assert index.search(["word one"], 7).ids.tolist() == [list(range(7))]


def test_the_order_of_the_words_and_the_batch_change_nothing(index):
    texts = ["alpha beta gamma eta", "eta gamma beta alpha"]
    together = index.search(texts, 20)
    alone = index.search(texts[:1], 20)
    assert np.array_equal(together.ids[0], together.ids[1])
    assert np.array_equal(together.scores[0], together.scores[1])
    assert np.array_equal(together.scores[:1], alone.scores)
    assert index.search([], 5).ids.shape == (0, 5)


def test_the_shares_of_a_documents_score_add_up_to_it(index):
    query = "theta theta 東京 alpha unknown"
    scores = index.scores(query)
    for row in range(len(TEXTS)):
        shares = index.shares(query, row)
        assert set(shares) == set(query.split()) & set(TEXTS[row].split())
        assert sum(shares.values()) == pytest.approx(scores[row], rel=1e-5)


def test_a_saved_index_opens_with_the_same_hits_and_reads_from_disk(index, saved):
    opened = LexicalIndex.open(saved, documents=len(TEXTS))
    assert len(opened) == len(TEXTS)
    assert opened.described == index.described
    before, after = index.search(QUERIES, 30), opened.search(QUERIES, 30)
    assert np.array_equal(before.ids, after.ids)
    assert np.array_equal(before.scores, after.scores)
    files = sum(path.stat().st_size for path in saved.iterdir() if path.name != "bm25.json")
    assert opened.nbytes == index.nbytes == files
    assert isinstance(opened._postings.rows.base, np.memmap)


def test_an_opened_index_can_be_saved_again(saved, tmp_path):
    LexicalIndex.open(saved).save(tmp_path / "again")
    for path in saved.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_searching_needs_neither_torch_nor_bm25s(saved):
    script = (
        "import sys\nfor name in ('torch', 'bm25s', 'scipy', 'faiss'): sys.modules[name] = None\n"
        "from pathlib import Path\nfrom limbeck.index.lexical import LexicalIndex\n"
        f"print(LexicalIndex.open(Path({str(saved)!r})).search(['alpha'], 1).ids[0, 0] >= 0)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.stdout.strip() == "True", ran.stderr


def test_building_needs_no_scipy_and_writes_the_same_files(saved, tmp_path):
    script = (
        "import sys\nfor name in ('torch', 'scipy', 'numba', 'faiss'): sys.modules[name] = None\n"
        "from pathlib import Path\nfrom limbeck.index.lexical import LexicalIndex\n"
        f"LexicalIndex.build({TEXTS!r}, analyser='words').save(Path({str(tmp_path / 'again')!r}))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    for path in saved.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_many_threads_search_one_index(index):
    expected, found = index.search(QUERIES * 10, 20), []
    threads = [
        threading.Thread(target=lambda: found.append(index.search(QUERIES * 10, 20))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(np.array_equal(hits.ids, expected.ids) for hits in found)


def test_texts_without_words_are_refused_and_documents_without_any_are_never_found():
    for texts in ([], ["", "...", "—"]):
        with pytest.raises(DataError, match="Hint"):
            LexicalIndex.build(texts, analyser="words", progress=False)
    index = LexicalIndex.build(["", "word", ""], analyser="words", progress=False)
    assert index.search(["word"], 3).ids.tolist() == [[1, -1, -1]]


def test_arguments_that_cannot_work_are_refused(index):
    with pytest.raises(DataError, match="one string"):
        index.search("alpha", 3)
    for k in (0, -1, 1.5, "3", 10**9):
        with pytest.raises(ConfigError, match="`k`"):
            index.search(["alpha"], k)
    with pytest.raises(ShapeError, match="allowed"):
        index.search(["alpha"], 3, allowed=np.ones(3, bool))
    for given_ in ({"analyser": "klingon"}, {"k1": 0}, {"k1": float("nan")}, {"b": 1.5}, {"b": "x"}):
        with pytest.raises(ConfigError):
            LexicalIndex.build(["a word"], progress=False, **given_)


def test_another_number_of_documents_is_refused(saved):
    with pytest.raises(CorruptArtefact, match="120 documents, but the index holds 7"):
        LexicalIndex.open(saved, documents=7)


@pytest.mark.parametrize("name", ["terms.utf8", "ends.int64", "starts.int64", "rows.int32", "scores.float32"])
@pytest.mark.parametrize("block", [2**20, 7])
def test_numbers_that_no_build_writes_are_refused(saved, name, block, monkeypatch):
    monkeypatch.setattr(lexical_files, "BLOCK", block)
    LexicalIndex.open(saved)
    path = saved / name
    kind = {"int64": "<i8", "int32": "<i4", "float32": "<f4"}.get(name.partition(".")[2])
    whole = path.read_bytes()
    for changed in (whole[:-1], whole + b"\0", b""):
        path.write_bytes(changed)
        with pytest.raises(CorruptArtefact, match=name):
            LexicalIndex.open(saved)
    if kind is None:
        return
    for place in (0, 3, -1):
        for value in (-1, 2**31 - 1, np.nan, np.inf):
            numbers = np.frombuffer(whole, kind).copy()
            if kind != "<f4" and not np.isfinite(value):
                continue
            numbers[place] = value
            path.write_bytes(numbers.tobytes())
            with pytest.raises(CorruptArtefact, match=name):
                LexicalIndex.open(saved)
    path.unlink()
    with pytest.raises(CorruptArtefact, match=name):
        LexicalIndex.open(saved)


def test_rows_that_repeat_in_a_term_are_refused(saved):
    rows = np.fromfile(saved / "rows.int32", "<i4")
    rows[1] = rows[0]
    (saved / "rows.int32").write_bytes(rows.tobytes())
    with pytest.raises(CorruptArtefact, match="ascend"):
        LexicalIndex.open(saved)


@pytest.mark.parametrize(
    "change",
    [
        {"analyser": "klingon"},
        {"analyser": ["english"]},
        {"documents": -1},
        {"documents": 2**40},
        {"documents": True},
        {"k1": None},
        {"b": "0.75"},
        {"counts": 3},
        {"counts": {}},
        {"more": 1},
    ],
)
def test_descriptions_that_no_build_writes_are_refused(saved, change):
    path = saved / "bm25.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CorruptArtefact, match=r"bm25\.json"):
        LexicalIndex.open(saved)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "[" * 100_000, '{"analyser": NaN}', '{"documents": 1e999}']
)
def test_files_that_are_no_description_are_refused(saved, text):
    (saved / "bm25.json").write_text(text)
    with pytest.raises(CorruptArtefact, match=r"bm25\.json"):
        LexicalIndex.open(saved)


def test_counts_that_are_made_to_match_allocate_nothing_and_never_crash(index, saved, tmp_path):
    """300 random changes of one number or one byte each: refused, or searched without a fault."""
    rng = np.random.default_rng(1)
    names = sorted(path.name for path in saved.iterdir())
    refused = 0
    for _ in range(300):
        folder = tmp_path / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(saved, folder)
        path = folder / str(rng.choice(names))
        data = bytearray(path.read_bytes())
        place = int(rng.integers(len(data)))
        if rng.random() < 0.5 or path.suffix == ".json":
            data[place] ^= int(rng.integers(1, 256))
        else:
            place -= place % 8
            data[place : place + 8] = [0, 1, 2**31, 2**62, 2**64 - 1][rng.integers(5)].to_bytes(8, "little")[
                : len(data) - place
            ]
        path.write_bytes(data)
        try:
            hits = LexicalIndex.open(folder, documents=len(TEXTS)).search(QUERIES, 10)
        except CorruptArtefact:
            refused += 1
            continue
        assert ((hits.ids >= -1) & (hits.ids < len(TEXTS))).all()
    assert refused > 100
