import pytest

from limbeck.data import Ids, Queries
from limbeck.errors import DataError, ShapeError


def test_queries_are_read_from_jsonl_and_tsv_alike(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"_id": "1", "text": "what"}\n{"_id": "2", "text": "who", "x": 1}\n')
    (tmp_path / "q.tsv").write_text("1\twhat\n2\twho\n")
    read = [Queries.open(tmp_path / name) for name in ("q.jsonl", "q.tsv")]
    assert list(read[0]) == list(read[1]) == [("1", "what"), ("2", "who")]
    assert read[0].fingerprint == read[1].fingerprint


@pytest.mark.parametrize(("choice", "texts"), [("first", ["x", "y"]), ("last", ["y", "z"])])
def test_duplicates_follow_the_choice(tmp_path, choice, texts):
    (tmp_path / "q.tsv").write_text("1\tx\n2\ty\n1\tz\n")
    assert Queries.open(tmp_path / "q.tsv", duplicates=choice).texts == texts
    with pytest.raises(DataError, match=r"q.tsv:3: expected each `_id` once"):
        Queries.open(tmp_path / "q.tsv")


def test_select_keeps_the_order_asked_for_and_refuses_strangers():
    queries = Queries.from_pairs([("a", "x"), ("b", "y"), ("c", "z")])
    assert list(queries.select(["c", "a"])) == [("c", "z"), ("a", "x")]
    with pytest.raises(DataError, match=r"found 1 others: \['d'\]"):
        queries.select(["a", "d"])


def test_ids_and_texts_must_match():
    with pytest.raises(ShapeError, match="2 ids, but `texts` 1"):
        Queries(Ids.from_iterable(["a", "b"]), ["x"])
    with pytest.raises(DataError, match="'a' twice"):
        Queries.from_pairs([("a", "x"), ("a", "y")])
