"""The static encoder as it is served: sums of rows, files that are checked, no torch."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from limbeck.encoders.fingerprint import Fingerprint, check_pair, space_of
from limbeck.encoders.opening import open_encoder
from limbeck.encoders.saved import SETTINGS
from limbeck.encoders.static import TOKENS, StaticEncoder, TokenTable
from limbeck.errors import ConfigError, CorruptArtefact, EncoderMismatch, VersionMismatch
from limbeck.index.flat import Flat
from limbeck.storage.hashing import sha256_file
from limbeck.testing.encoders import check_encoder

WORDS = ["[NONE]", "[START]", "[END]", *(f"word{row}" for row in range(40))]
TEXTS = [" ".join(f"word{(row * n) % 43}" for n in range(row + 1)) for row in range(12)] + [""]
DIM = 24
TEACHER = Fingerprint(weights="0" * 64, dim=DIM, pooling="mean", prompts={"query": "ask: "}, max_length=64)


def made(*, normalise: bool = True, dim: int = DIM) -> StaticEncoder:
    """With a projection from DIM where `dim`, the documents' width, is larger."""
    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="[NONE]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[START] $A [END]", special_tokens=[("[START]", 1), ("[END]", 2)]
    )
    generator = np.random.default_rng(0)
    weights = generator.uniform(0.1, 1, len(WORDS)).astype(np.float32)
    vectors = generator.normal(size=(len(WORDS), DIM)).astype(np.float32) * weights[:, None]
    gates, look = generator.normal(size=(len(WORDS), 5)), 0.5 * generator.normal(size=(5, DIM))
    table = TokenTable.rounded(vectors, weights, gates, look)
    teacher = replace(TEACHER, dim=dim)
    own = replace(teacher, weights=table.digest, prompts={}, precision="int8", normalise=normalise)
    projection = None
    if dim > DIM:
        projection = np.linalg.qr(generator.normal(size=(dim, DIM)))[0].astype(np.float32)
    return StaticEncoder(table, tokenizer, own, teacher, projection)


def test_tables_that_differ_in_one_gate_have_other_digests():
    table = made().table
    gates = table.gates.copy()
    gates[7, 2] += 1
    assert replace(table, gates=gates).digest != table.digest


def test_a_text_without_any_token_is_zero_and_leaves_the_others_alone():
    table = made().table
    numbers, starts = np.array([3, 4, 5], np.int32), np.array([0, 0, 2, 2, 3, 3])
    found = table.sums(numbers, starts, unit=True)
    assert not found[[0, 2, 4]].any()
    np.testing.assert_allclose(found[1], table.sums(numbers[:2], np.array([0, 2]), unit=True)[0], atol=1e-6)
    np.testing.assert_allclose(found[3], table.sums(numbers[2:], np.array([0, 1]), unit=True)[0], atol=1e-6)
    assert not table.sums(numbers[:0], np.array([0, 0]), unit=False).any()


@pytest.fixture
def folder(tmp_path):
    made().save(tmp_path)
    return tmp_path


@pytest.mark.parametrize("normalise", [True, False])
def test_it_keeps_the_contract_of_encoders(normalise):
    check_encoder(made(normalise=normalise), TEXTS)


@pytest.mark.parametrize("normalise", [True, False])
def test_a_vector_is_the_sum_of_the_rows_of_its_tokens_each_as_its_gate_lets_it_count(normalise):
    encoder = made(normalise=normalise)
    table = encoder.table
    rows = table.vectors * table.scales[:, None].astype(np.float64)
    gates = table.gates * table.gate_scales[:, None].astype(np.float64)
    for text in TEXTS:
        tokens = [1, *(WORDS.index(word) if word in WORDS else 0 for word in text.split()), 2]
        seen = rows[tokens].sum(axis=0)
        counts = np.exp(gates[tokens] @ table.look @ seen / np.linalg.norm(seen))
        total = counts @ rows[tokens]
        size = np.linalg.norm(total) if normalise else counts @ table.weights[tokens]
        np.testing.assert_allclose(encoder.encode_query([text])[0], total / size, atol=1e-5)


def test_rounding_moves_no_number_by_more_than_half_a_step():
    vectors = np.random.default_rng(1).normal(size=(30, 8)).astype(np.float32)
    vectors[3] = 0
    table = TokenTable.rounded(vectors, np.ones(30), np.zeros((30, 2)), np.zeros((2, 8)))
    off = np.abs(table.vectors * table.scales[:, None] - vectors)
    assert (off <= 0.5001 * table.scales[:, None]).all()


def test_saved_and_opened_it_gives_the_same_bits(folder):
    opened = open_encoder(folder)
    assert isinstance(opened, StaticEncoder)
    np.testing.assert_array_equal(opened.encode_query(TEXTS), made().encode_query(TEXTS))
    assert opened.space == TEACHER
    assert opened.fingerprint.weights == made().table.digest


@pytest.mark.parametrize("normalise", [True, False])
def test_documents_that_were_projected_once_rank_as_queries_that_are_projected_each_time(normalise):
    wide = made(normalise=normalise, dim=40)
    documents = np.random.default_rng(1).normal(size=(500, 40)).astype(np.float32)
    narrow, folded = wide.narrow(), wide.fold(documents)
    assert folded.shape == (500, DIM)
    expected = wide.encode_query(TEXTS) @ documents.T
    found = narrow.encode_query(TEXTS) @ folded.T
    np.testing.assert_allclose(found, expected, atol=1e-5)
    before, after = (
        Flat(vectors).search(encoder.encode(TEXTS, side="query"), 10).ids
        for vectors, encoder in ((documents, wide), (folded, narrow))
    )
    np.testing.assert_array_equal(before, after)


def test_an_index_of_whole_documents_refuses_a_narrow_encoder():
    wide = made(dim=40)
    with pytest.raises(EncoderMismatch):
        check_pair(space_of(wide.narrow()), wide.space)


def test_a_table_as_wide_as_the_documents_has_nothing_to_fold():
    with pytest.raises(ConfigError, match="width=128"):
        made().narrow()


def test_a_narrow_encoder_is_saved_with_its_projection_and_refused_with_another_shape(tmp_path):
    made(dim=40).save(tmp_path)
    np.testing.assert_array_equal(
        open_encoder(tmp_path).encode_query(TEXTS), made(dim=40).encode_query(TEXTS)
    )
    for wrong in (np.zeros((41, DIM), np.float32), np.zeros((40, DIM), np.float64)):
        save_file({**load_file(tmp_path / TOKENS), "projection": wrong}, tmp_path / TOKENS)
        changed(tmp_path)
        with pytest.raises(CorruptArtefact, match="projection"):
            open_encoder(tmp_path)


def test_its_queries_are_for_documents_of_its_teacher_and_of_nobody_else(folder):
    encoder = open_encoder(folder)
    check_pair(space_of(encoder), TEACHER)
    with pytest.raises(EncoderMismatch):
        check_pair(space_of(encoder), replace(TEACHER, weights="1" * 64))


@pytest.mark.parametrize("name", [TOKENS, "tokenizer.json"])
def test_a_file_that_was_changed_or_is_missing_is_refused(folder, name):
    path = folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptArtefact, match="sha256"):
        open_encoder(folder)
    path.unlink()
    with pytest.raises(CorruptArtefact, match="missing"):
        open_encoder(folder)


def changed(folder, **values):
    """The settings with other values, and the hash of the tokens as they are now."""
    settings = json.loads((folder / SETTINGS).read_text())
    settings["files"][TOKENS] = sha256_file(folder / TOKENS)
    (folder / SETTINGS).write_text(json.dumps({**settings, **values}))


def test_settings_that_cannot_be_used_are_refused(folder):
    changed(folder, format=99)
    with pytest.raises(VersionMismatch, match="99"):
        open_encoder(folder)
    changed(folder, format=1, space={"dim": 3})
    with pytest.raises(CorruptArtefact, match="fingerprint"):
        open_encoder(folder)
    changed(folder, space=TEACHER.to_json(), files={})
    with pytest.raises(CorruptArtefact, match="no hash"):
        open_encoder(folder)


@pytest.mark.parametrize(
    "arrays",
    [
        {"vectors": np.zeros((len(WORDS), DIM + 1), np.int8)},
        {"vectors": np.zeros((len(WORDS), DIM), np.float32)},
        {
            "vectors": np.zeros((5, DIM), np.int8),
            "gates": np.zeros((5, 5), np.int8),
            **{name: np.ones(5, np.float32) for name in ("scales", "weights", "gate_scales")},
        },
        {"look": np.zeros((4, DIM), np.float32)},
        {"look": np.zeros((5, DIM), np.float64)},
        {"scales": np.full(len(WORDS), np.nan, np.float32)},
        {"weights": np.ones(3, np.float32)},
    ],
    ids=[
        "wider",
        "floats",
        "fewer tokens than the tokenizer has",
        "another gate",
        "a gate in double",
        "not a number",
        "fewer weights",
    ],
)
def test_arrays_that_do_not_fit_are_refused_even_where_their_hash_does(folder, arrays):
    save_file({**load_file(folder / TOKENS), **arrays}, folder / TOKENS)
    changed(folder)
    with pytest.raises(CorruptArtefact, match=r"do not fit|NaN"):
        open_encoder(folder)
