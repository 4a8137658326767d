import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from limbeck.data import Ids
from limbeck.errors import CorruptArtefact, DataError

ANY_ID = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)


@given(st.lists(ANY_ID, max_size=30), st.lists(ANY_ID, max_size=5))
def test_ids_behave_like_a_list_with_look_up(names, others):
    ids = Ids.from_iterable(names)
    assert list(ids) == names
    assert [ids[row] for row in range(len(ids))] == names
    assert ids[1:3] == names[1:3]
    wanted = names + others
    expected = [names.index(name) if name in names else -1 for name in wanted]
    assert ids.rows_of(wanted).tolist() == expected
    assert sorted(ids.duplicates()) == sorted(
        (names.index(name), row) for row, name in enumerate(names) if names.index(name) != row
    )


@given(st.lists(ANY_ID, max_size=20))
def test_saved_ids_come_back_with_newlines_and_tabs(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("ids") / "ids.safetensors"
    Ids.from_iterable(names).save(path)
    assert Ids.open(path) == Ids.from_iterable(names)


def test_colliding_hashes_still_find_the_right_row(monkeypatch):
    monkeypatch.setattr("builtins.hash", lambda _: 7)
    ids = Ids.from_iterable(["a", "b", "c", "b"])
    assert ids.rows_of(["c", "b", "d"]).tolist() == [2, 1, -1]
    assert list(ids.duplicates()) == [(1, 3)]


def test_missing_ids_and_membership():
    ids = Ids.from_iterable(["a", "b"])
    assert ids.row_of("b") == 1
    assert ids.row_of("z") is None
    assert "a" in ids
    assert 1 not in ids
    assert ids != ["a", "b"]
    assert repr(ids) == "Ids(2: 'a', 'b')"
    assert ids.nbytes == 2 + 3 * 8
    assert list(ids.take([1, 0, 1])) == ["b", "a", "b"]
    assert list(Ids.numbered(3)) == ["0", "1", "2"]


@pytest.mark.parametrize("row", [-1, 2])
def test_rows_outside_are_refused_and_minus_one_is_not_the_last(row):
    with pytest.raises(IndexError, match=f"row {row} of 2 ids"):
        Ids.from_iterable(["a", "b"])[row]


@pytest.mark.parametrize("bad", [7, None, b"x", "\ud800"])
def test_what_is_not_text_is_refused_with_its_row(bad):
    with pytest.raises(DataError, match="id of row 1: expected"):
        Ids.from_iterable(["a", bad])


def test_more_ids_than_a_chunk(tmp_path):
    ids = Ids.from_iterable(f"d{row}" for row in range(140_000))
    assert ids.rows_of(["d0", "d65536", "d139999", "d140000"]).tolist() == [0, 65_536, 139_999, -1]


@pytest.mark.parametrize(
    ("blob", "offsets"),
    [
        ([97, 98], [0, 2, 1]),
        ([97, 98], [1, 2]),
        ([97, 98], [0, 1]),
        ([97, 98], []),
        ([255, 98], [0, 2]),
        ([0xC3, 0xA9], [0, 1, 2]),
    ],
)
def test_a_damaged_id_file_is_refused(tmp_path, blob, offsets):
    save_file({"blob": np.array(blob, np.uint8), "offsets": np.array(offsets, np.int64)}, tmp_path / "ids")
    with pytest.raises(CorruptArtefact, match="do not fit together"):
        Ids.open(tmp_path / "ids")


def test_a_file_that_is_no_id_file_is_refused(tmp_path):
    (tmp_path / "ids").write_bytes(b"hello")
    with pytest.raises(CorruptArtefact, match="expected an id file written by Limbeck"):
        Ids.open(tmp_path / "ids")
    save_file({"other": np.zeros(1)}, tmp_path / "others")
    with pytest.raises(CorruptArtefact, match="expected an id file"):
        Ids.open(tmp_path / "others")
