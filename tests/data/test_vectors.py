from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.data import Ids, Vectors, check_vectors
from limbeck.errors import DataError, ShapeError

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3) + 1


def saved(tmp_path, values, name="v.npy"):
    np.save(tmp_path / name, values)
    return tmp_path / name


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_all_widths_and_orders_become_float32(tmp_path, dtype, order):
    vectors = Vectors.open(saved(tmp_path, np.asarray(VALUES, dtype, order=order)))
    assert vectors.values.dtype == np.float32
    np.testing.assert_array_equal(vectors.values, VALUES)
    assert list(vectors.ids) == ["0", "1", "2", "3"]
    assert (len(vectors), vectors.dim) == (4, 3)


def test_float32_is_mapped_not_read(tmp_path):
    values = Vectors.open(saved(tmp_path, VALUES)).values
    assert isinstance(values, np.memmap)
    assert not values.flags.writeable


def test_saved_vectors_come_back_with_any_ids(tmp_path):
    ids = Ids.from_iterable(["a\nb", "c\td", "é", ""])
    Vectors(ids, VALUES).save(tmp_path / "v.npy")
    back = Vectors.open(tmp_path / "v.npy")
    assert back.ids == ids
    np.testing.assert_array_equal(back.values, VALUES)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("v.ids.jsonl", '"a"\n"b"\n\n{"_id": "c", "x": 1}\n"d"\n'),
        ("v.ids.txt", "a\nb\nc\nd\n"),
        ("v.ids", "a\nb\nc\nd"),
        ("v.txt", "a\r\nb\r\nc\r\nd\r\n"),
    ],
)
def test_ids_are_found_beside_the_vectors(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert list(Vectors.open(saved(tmp_path, VALUES)).ids) == ["a", "b", "c", "d"]


def test_two_files_of_ids_are_not_guessed_between(tmp_path):
    for name in ("v.txt", "v.ids"):
        (tmp_path / name).write_text("a\nb\nc\nd\n")
    path = saved(tmp_path, VALUES)
    with pytest.raises(DataError, match=r"expected one file of ids beside it, found v.ids, v.txt"):
        Vectors.open(path)
    assert len(Vectors.open(path, tmp_path / "v.ids")) == 4
    assert list(Vectors.open(path, Ids.from_iterable("wxyz")).ids) == list("wxyz")


@pytest.mark.parametrize(
    ("name", "content", "error", "reason"),
    [
        ("v.ids", "a\nb\n", ShapeError, "holds 4 vectors, but 2 ids"),
        ("v.ids", "a\nb\na\nc\n", DataError, "found 'a' in rows 0 and 2"),
        (
            "v.ids.jsonl",
            '"a"\n7\n',
            DataError,
            "v.ids.jsonl:2: expected a string or a record with `_id`, found 7",
        ),
        ("v.ids.jsonl", "[\n", DataError, "v.ids.jsonl:1: expected a JSON record"),
    ],
)
def test_ids_that_do_not_fit_are_refused(tmp_path, name, content, error, reason):
    (tmp_path / name).write_text(content)
    with pytest.raises(error, match=reason):
        Vectors.open(saved(tmp_path, VALUES))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused_with_row_and_id(tmp_path, bad):
    values = VALUES.copy()
    values[2, 1:] = bad
    (tmp_path / "v.ids").write_text("d1\nd2\nd3\nd4\n")
    with pytest.raises(
        DataError, match=r"v.npy: document 'd3' \(row 2\): expected finite numbers, found 2 NaN or inf"
    ):
        Vectors.open(saved(tmp_path, values))
    with pytest.raises(DataError, match="vectors: row 2: expected finite"):
        check_vectors(values)


def test_float64_that_overflows_float32_is_refused(tmp_path):
    values = VALUES.astype(np.float64)
    values[0, 0] = 1e300
    with pytest.raises(DataError, match="row 0"):
        Vectors.open(saved(tmp_path, values))


def test_zero_vectors_are_counted_and_named(caplog):
    values = VALUES.copy()
    values[[1, 3]] = 0
    assert check_vectors(values, ids=Ids.from_iterable("abcd")) == 2
    assert "2 of 4 vectors are zero, the first is document 'b' (row 1)" in caplog.text


def test_checking_reads_in_chunks(monkeypatch):
    monkeypatch.setattr("limbeck.data.vectors._CHUNK_BYTES", 24)  # two rows at a time
    values = VALUES.copy()
    values[3, 0] = np.nan
    with pytest.raises(DataError, match="row 3"):
        check_vectors(values)
    values[3] = 0
    assert check_vectors(values) == 1


@pytest.mark.parametrize("values", [VALUES[0], VALUES[None], np.zeros((3, 0), np.float32)])
def test_other_shapes_are_refused(tmp_path, values):
    with pytest.raises(ShapeError, match=r"must be \[N, d\]"):
        Vectors.open(saved(tmp_path, values))
    with pytest.raises(ShapeError, match=r"must be \[N, d\]"):
        check_vectors(values)


def test_the_wrong_width_is_refused(tmp_path):
    with pytest.raises(ShapeError, match="has vectors of width 3; must be 384"):
        Vectors.open(saved(tmp_path, VALUES), expected_dim=384)
    with pytest.raises(ShapeError, match=r"must be \[N, d\] float32"):
        Vectors(Ids.numbered(4), VALUES.astype(np.float64))


@pytest.mark.parametrize(
    "values",
    [np.array([["a"]]), np.array([[1]]), np.array([[1j]]), np.array([[object()]], object)],
    ids=["text", "int", "complex", "object"],
)
def test_other_types_are_refused_and_objects_never_loaded(tmp_path, values):
    with pytest.raises(DataError, match=r"expected (float16, float32 or float64|a .npy file of numbers)"):
        Vectors.open(saved(tmp_path, values))


def test_no_vectors_are_no_vectors(tmp_path):
    assert len(Vectors.open(saved(tmp_path, np.zeros((0, 3), np.float16)))) == 0


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x93NUMPY\x01\x00v\x00{'descr': "])
def test_files_that_are_no_arrays_are_refused(tmp_path, content):
    (tmp_path / "v.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"expected a .npy file of numbers"):
        Vectors.open(tmp_path / "v.npy")
    with pytest.raises(DataError, match="found nothing there"):
        Vectors.open(tmp_path / "w.npy")
    with pytest.raises(DataError, match=r"ends in .npy"):
        Vectors(Ids.numbered(4), VALUES).save(tmp_path / "v.bin")


@given(st.integers(0, 140), st.integers(0, 255), st.integers(0, 200))
def test_damaged_files_are_vectors_or_data_errors(tmp_path_factory, place, value, end):
    folder = tmp_path_factory.mktemp("fuzz")
    content = bytearray(saved(folder, VALUES).read_bytes())
    content[min(place, len(content) - 1)] = value
    (folder / "v.npy").write_bytes(content[:end] if end < 100 else content)
    with suppress(DataError):
        Vectors.open(folder / "v.npy")
