import json

import numpy as np
import pytest

from limbeck.encoders import StoredVectors, encode_corpus
from limbeck.errors import CorruptArtefact, DataError, ShapeError, VersionMismatch
from limbeck.testing import HashEncoder

TEXTS = [f"text number {i} " + "word " * (i % 7) for i in range(45)]
ENCODER = HashEncoder(8)
EXPECTED = ENCODER.encode_document(TEXTS)


@pytest.fixture(params=[10, 45, 100], ids=lambda size: f"shards of {size}")
def stored(request, tmp_path):
    return encode_corpus(TEXTS, ENCODER, tmp_path / "v", shard_size=request.param, progress=False)


@pytest.fixture
def folder(tmp_path):
    encode_corpus(TEXTS, ENCODER, tmp_path / "v", shard_size=10, progress=False)
    return tmp_path / "v"


def test_the_vectors_are_the_encoders_in_the_order_of_the_texts(stored):
    assert stored.shape == (45, 8)
    assert len(stored) == 45
    assert stored.dim == 8
    np.testing.assert_array_equal(np.concatenate(list(stored)), EXPECTED)


def test_opened_again_they_are_the_same(stored):
    again = StoredVectors.open(stored.folder)
    assert again.fingerprint == ENCODER.fingerprint
    np.testing.assert_array_equal(again.array(), EXPECTED)


def test_any_rows_are_gathered_in_any_order(stored):
    rows = np.random.default_rng(0).integers(0, 45, 200)
    np.testing.assert_array_equal(stored.gather(rows), EXPECTED[rows])
    assert stored.gather(np.array([], np.int64)).shape == (0, 8)


@pytest.mark.parametrize("row", [-1, 45])
def test_a_row_that_is_not_there_is_named(stored, row):
    with pytest.raises(DataError, match=f"row {row} "):
        stored.gather(np.array([0, row]))


@pytest.mark.parametrize("rows", [np.zeros((2, 2), np.int64), np.array([0.5])])
def test_rows_must_be_a_list_of_integers(stored, rows):
    with pytest.raises(ShapeError):
        stored.gather(rows)


def test_the_whole_array_is_one_read_only_map_that_is_written_once(folder):
    stored = StoredVectors.open(folder)
    whole = stored.array()
    assert isinstance(whole, np.memmap)
    assert whole.flags.c_contiguous
    assert not whole.flags.writeable
    np.testing.assert_array_equal(whole, EXPECTED)
    before = (folder / "vectors.npy").stat().st_mtime_ns
    np.testing.assert_array_equal(StoredVectors.open(folder).array(), EXPECTED)
    assert (folder / "vectors.npy").stat().st_mtime_ns == before


def test_a_single_shard_is_the_whole_array_without_a_copy(tmp_path):
    stored = encode_corpus(TEXTS, ENCODER, tmp_path / "v", progress=False)
    np.testing.assert_array_equal(stored.array(), EXPECTED)
    assert not (tmp_path / "v" / "vectors.npy").exists()


def test_a_damaged_whole_array_is_written_again(folder):
    StoredVectors.open(folder).array()
    (folder / "vectors.npy").write_bytes(b"\x93NUMPY nonsense")
    np.testing.assert_array_equal(StoredVectors.open(folder).array(), EXPECTED)


def test_no_texts_give_an_empty_array(tmp_path):
    stored = encode_corpus([], ENCODER, tmp_path / "v", progress=False)
    assert stored.array().shape == (0, 8)
    assert StoredVectors.open(tmp_path / "v").shape == (0, 8)


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "unmark", "scribble"])
def test_a_damaged_shard_is_refused_by_name(folder, damage):
    shard, marker = (folder / f"shard-00002-of-00005.{end}" for end in ("npy", "done"))
    if damage == "flip":
        data = bytearray(shard.read_bytes())
        data[200] ^= 1
        shard.write_bytes(data)
    elif damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif damage == "scribble":
        marker.write_text("{")
    else:
        (shard if damage == "remove" else marker).unlink()
    with pytest.raises(CorruptArtefact, match=r"1 of 5 shards.*shard-00002-of-00005"):
        StoredVectors.open(folder)


def test_without_verifying_only_sizes_are_looked_at(folder):
    shard = folder / "shard-00002-of-00005.npy"
    data = bytearray(shard.read_bytes())
    data[200] ^= 1
    shard.write_bytes(data)
    assert StoredVectors.open(folder, verify=False).shape == (45, 8)


def test_a_shard_of_another_shape_is_refused_when_it_is_read(folder):
    np.save(folder / "shard-00002-of-00005.npy", np.zeros((10, 9), np.float32)[:, :8].astype(np.float64)[:5])
    (folder / "shard-00002-of-00005.done").write_text(
        json.dumps({"bytes": (folder / "shard-00002-of-00005.npy").stat().st_size})
    )
    with pytest.raises(CorruptArtefact, match="expected"):
        list(StoredVectors.open(folder, verify=False))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, CorruptArtefact),
        ("", CorruptArtefact),
        ("[]", CorruptArtefact),
        ('{"format": 2}', VersionMismatch),
        ('{"format": 1}', CorruptArtefact),
        ("[" * 100_000, CorruptArtefact),
    ],
)
def test_a_damaged_manifest_is_refused(folder, text, error):
    path = folder / "manifest.json"
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    with pytest.raises(error, match=r"manifest\.json"):
        StoredVectors.open(folder)
