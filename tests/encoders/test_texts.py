import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.data import Corpus, Queries
from limbeck.encoders import text_fingerprint
from limbeck.encoders.texts import TextList, as_texts, check_texts, longest_first
from limbeck.errors import DataError

TEXTS = st.lists(st.text(max_size=20), max_size=30)


def test_one_string_is_not_a_list_of_texts():
    with pytest.raises(DataError, match=r"pass \[text\]"):
        check_texts("hello")


def test_what_is_no_string_is_named_by_its_row():
    with pytest.raises(DataError, match=r"row 12: expected a string, found float"):
        check_texts(["a", "b", 1.5], first_row=10)


def test_a_lone_surrogate_is_named_by_its_row():
    with pytest.raises(DataError, match="row 1: character 2 is a lone surrogate"):
        check_texts(["fine", "no\ud800"])


def test_the_longest_text_comes_first_and_ties_keep_their_order():
    assert longest_first(["bb", "a", "dddd", "cc", ""]).tolist() == [2, 0, 3, 1, 4]


@given(TEXTS)
def test_the_order_holds_every_row_once(texts):
    assert sorted(longest_first(texts).tolist()) == list(range(len(texts)))


@given(TEXTS, TEXTS)
def test_two_lists_have_one_fingerprint_only_if_they_are_equal(one, other):
    same = text_fingerprint(TextList(one)) == text_fingerprint(TextList(other))
    assert same == (one == other)


def test_moving_a_border_between_texts_changes_the_fingerprint():
    assert text_fingerprint(TextList(["ab", "c"])) != text_fingerprint(TextList(["a", "bc"]))


def test_the_fingerprint_is_that_of_lengths_and_bytes():
    expected = hashlib.sha256((2).to_bytes(8, "little") + "é".encode()).hexdigest()
    assert text_fingerprint(TextList(["é"])) == expected


def test_a_long_list_is_read_in_slices_to_the_same_fingerprint():
    texts = [f"text {i}" for i in range(9001)]
    naive = hashlib.sha256()
    for text in texts:
        naive.update(len(text).to_bytes(8, "little") + text.encode())
    assert text_fingerprint(TextList(texts)) == naive.hexdigest()


def test_a_corpus_gives_its_own_slices_and_queries_their_texts(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"_id": "a", "title": "T", "text": "one"}\n{"_id": "b", "text": "two"}\n')
    corpus = Corpus.open(path)
    assert as_texts(corpus) is corpus
    queries = as_texts(Queries.from_pairs([("q1", "what"), ("q2", "why")]))
    assert queries.texts(1, 2) == ["why"]
    assert queries.ids[1] == "q2"
    assert as_texts(["x"]).texts(0, 1) == ["x"]
