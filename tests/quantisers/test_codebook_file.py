import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save

from limbeck.errors import ConfigError, DataError, VersionMismatch
from limbeck.quantisers import ProductQuantiser
from limbeck.quantisers.codebook_file import codebook_bytes, codebook_in, open_codebook, save_codebook
from limbeck.testing import clustered

KINDS = list(product([4, 8], [False, True], [None, 5], ["ip", "l2"], [False, True]))
VECTORS = clustered(400, 16, seed=0)


def learnt(**constants):
    """A quantiser whose parts that assign, score and route all differ."""
    fitted = ProductQuantiser(code_bytes=4, **constants).fit(VECTORS, seed=0)
    rng = np.random.default_rng(0)
    names = {"score.codewords", "base", "routing"} & set(fitted.parts())
    return fitted.with_parts({n: fitted.parts()[n] * rng.uniform(0.9, 1.1) for n in sorted(names)})


@pytest.mark.parametrize(("bits", "rotate", "lists", "metric", "by_residual"), KINDS)
def test_codes_scores_and_parts_are_the_same_after_a_round_trip(
    bits, rotate, lists, metric, by_residual, tmp_path
):
    before = learnt(bits=bits, rotate=rotate, lists=lists, metric=metric, by_residual=by_residual)
    save_codebook(tmp_path / "codebook.safetensors", before)
    after = open_codebook(tmp_path / "codebook.safetensors").quantiser
    codes, again = before.encode(VECTORS), after.encode(VECTORS)
    assert np.array_equal(codes.codes, again.codes)
    assert lists is None or np.array_equal(codes.lists, again.lists)
    scores = after.score(VECTORS[:20], again)
    assert np.array_equal(before.score(VECTORS[:20], codes), scores)
    assert (after.metric, after.bits, after.by_residual) == (metric, bits, by_residual)
    assert set(after.parts()) == set(before.parts())


def test_every_part_stands_in_the_file_by_name(tmp_path):
    quantiser = learnt(rotate=True, lists=5)
    save_codebook(tmp_path / "c.safetensors", quantiser, query_map=np.eye(16, dtype="f4"))
    found = load_file(tmp_path / "c.safetensors")
    assert set(found) == {*quantiser.parts(), "query_map"}
    assert np.array_equal(open_codebook(tmp_path / "c.safetensors").query_map, np.eye(16))


def test_equal_quantisers_make_equal_bytes():
    assert codebook_bytes(learnt(lists=5), query_map=None) == codebook_bytes(learnt(lists=5), query_map=None)


def test_the_file_inside_a_saved_index_is_a_codebook(tmp_path):
    from limbeck.index import CodeIndex

    quantiser = learnt(rotate=True)
    CodeIndex(quantiser, quantiser.encode(VECTORS)).save(tmp_path)
    found = open_codebook(tmp_path / "quantiser.safetensors").quantiser
    assert np.array_equal(found.score_codewords, quantiser.score_codewords)


def test_what_is_no_codebook_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "other.safetensors"
    with pytest.raises(DataError, match="No such file"):
        open_codebook(path)
    path.write_bytes(save({"weights": np.zeros(3, dtype="f4")}))
    with pytest.raises(DataError, match=r"other\.safetensors: is no codebook") as refused:
        open_codebook(path)
    assert "limbeck export" in str(refused.value)
    with pytest.raises(ConfigError, match="fit"):
        save_codebook(path, ProductQuantiser())


def test_kinds_of_later_versions_and_misfits_are_refused(tmp_path):
    raw = codebook_bytes(learnt(), query_map=None)
    described = codebook_in(raw).description
    parts = dict(learnt().parts())
    path = tmp_path / "c.safetensors"
    path.write_bytes(save(parts, metadata={"limbeck": json.dumps({**described, "kind": "neural"})}))
    with pytest.raises(VersionMismatch, match="'neural'"):
        open_codebook(path)
    parts["score.codewords"] = parts["score.codewords"][:, :7]
    path.write_bytes(save(parts, metadata={"limbeck": json.dumps(described)}))
    with pytest.raises(DataError, match="do not fit"):
        open_codebook(path)
    path.write_bytes(codebook_bytes(learnt(), query_map=np.zeros((3, 3), "f4")))
    with pytest.raises(DataError, match="query_map"):
        open_codebook(path)


RAW = codebook_bytes(ProductQuantiser(code_bytes=1, bits=4).fit(VECTORS[:, :2], seed=0), query_map=None)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_a_damaged_byte_is_refused_or_gives_a_whole_quantiser(place, flip):
    damaged = bytearray(RAW)
    damaged[place] ^= flip
    try:
        found = codebook_in(bytes(damaged)).quantiser
    except (DataError, VersionMismatch):
        return
    assert np.isfinite(found.decode(found.encode(VECTORS[:3, :2]))).all()
