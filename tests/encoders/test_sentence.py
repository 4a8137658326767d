"""Our encoder gives sentence-transformers' own vectors, with its own prompts, in its own order."""

import numpy as np
import pytest

from limbeck.encoders import SentenceEncoder
from limbeck.encoders.default_teacher import DEFAULT_TEACHER, PUBLISHED_SHA256
from limbeck.encoders.sentence import resolved_prompts
from limbeck.errors import ConfigError, DataError, MissingExtra
from limbeck.testing import check_encoder

sentence_transformers = pytest.importorskip("sentence_transformers")
PROMPTS = {"query": "Represent this query: ", "document": "passage: "}


def load(folder, **settings):
    return sentence_transformers.SentenceTransformer(str(folder), device="cpu", **settings)


@pytest.fixture(scope="module")
def original(teacher_folder):
    return load(teacher_folder)


@pytest.fixture(scope="module")
def prompted_folder(teacher_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prompted") / "model"
    load(teacher_folder, prompts=PROMPTS, similarity_fn_name="dot").save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def bare_folder(teacher_folder, tmp_path_factory):
    """Transformer and pooling alone: what these models look like without their last step."""
    folder = tmp_path_factory.mktemp("bare") / "model"
    model = load(teacher_folder)
    sentence_transformers.SentenceTransformer(modules=list(model)[:2], device="cpu").save_pretrained(
        str(folder)
    )
    return folder


@pytest.fixture(scope="module")
def texts(tldr_queries, scifact_documents):
    documents = [document[:300] for document in scifact_documents[:3]]
    return [*tldr_queries[:5], *documents, "", "   ", "a", "Ünïcödé \u2028 and \x00 nul"]


def test_queries_and_documents_are_those_of_sentence_transformers(
    teacher, original, texts, scifact_documents
):
    texts = [*texts, *scifact_documents[:3]]  # some are cut at the maximum length
    np.testing.assert_array_equal(teacher.encode_query(texts), original.encode_query(texts, batch_size=64))
    np.testing.assert_array_equal(
        teacher.encode_document(texts), original.encode_document(texts, batch_size=64)
    )


def test_the_models_prompts_are_put_before_the_texts(prompted_folder, teacher, texts):
    encoder = SentenceEncoder.open(prompted_folder, precision="float32")
    model = load(prompted_folder)
    np.testing.assert_array_equal(encoder.encode_query(texts), model.encode_query(texts, batch_size=64))
    np.testing.assert_array_equal(encoder.encode_document(texts), model.encode_document(texts, batch_size=64))
    by_hand = teacher.encode_query([PROMPTS["query"] + text for text in texts])
    np.testing.assert_allclose(encoder.encode_query(texts), by_hand, atol=1e-5)
    assert dict(encoder.fingerprint.prompts) == {"query": PROMPTS["query"], "doc": PROMPTS["document"]}
    assert encoder.fingerprint.similarity == "dot"
    check_encoder(encoder, texts)


@pytest.mark.parametrize(
    ("prompts", "default", "expected"),
    [
        ({}, None, {"query": "", "doc": ""}),
        ({"query": "q", "passage": "p", "corpus": "c"}, None, {"query": "q", "doc": "p"}),
        ({"corpus": "c"}, None, {"query": "", "doc": "c"}),
        ({"other": "o"}, "other", {"query": "o", "doc": "o"}),
        ({"query": "q", "document": "", "other": "o"}, "other", {"query": "q", "doc": ""}),
    ],
)
def test_prompts_are_resolved_as_sentence_transformers_does(original, prompts, default, expected):
    kept = original.prompts, original.default_prompt_name
    used = {}
    try:
        original.prompts, original.default_prompt_name = prompts, default
        assert resolved_prompts(original) == expected
        for side, encode in (("query", original.encode_query), ("doc", original.encode_document)):
            real, original._inference = (
                original._inference,
                lambda _, *, prompt, **__: used.update(now=prompt) or [],
            )
            encode(["a text"])
            original._inference = real
            assert (used["now"] or "") == expected[side]
    finally:
        original.prompts, original.default_prompt_name = kept
        original.__dict__.pop("_inference", None)


def test_the_encoder_keeps_the_contract_in_float32(teacher, texts):
    check_encoder(teacher, texts)


def test_the_encoder_keeps_the_contract_in_bfloat16(teacher_folder, texts):
    check_encoder(SentenceEncoder.open(teacher_folder, precision="bfloat16"), texts)


def test_bfloat16_is_float32_a_little_blurred_and_still_of_unit_length(
    teacher, teacher_folder, scifact_documents
):
    blurred = SentenceEncoder.open(teacher_folder, precision="bfloat16")
    assert blurred.fingerprint.precision == "bfloat16"
    a, b = (encoder.encode_document(scifact_documents[:24]) for encoder in (teacher, blurred))
    assert not np.array_equal(a, b)
    assert np.einsum("nd,nd->n", a, b).min() > 0.999  # measured: 0.9998
    np.testing.assert_allclose(np.linalg.norm(b, axis=1), 1, atol=1e-6)


def test_float32_of_a_bfloat16_encoder_is_the_float32_encoder(teacher, teacher_folder):
    blurred = SentenceEncoder.open(teacher_folder, precision="bfloat16", max_length=200)
    exact = blurred.in_float32()
    assert exact.fingerprint.precision == "float32"
    assert exact.fingerprint.max_length == 200
    np.testing.assert_array_equal(exact.encode_query(["a text"]), teacher.encode_query(["a text"]))
    assert exact.in_float32() is exact


@pytest.mark.parametrize(("native", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_bfloat16_where_the_processor_has_it(teacher_folder, monkeypatch, native, chosen):
    monkeypatch.setattr("limbeck.encoders.precision.has_native_bfloat16", lambda: native)
    assert SentenceEncoder.open(teacher_folder).fingerprint.precision == chosen


def test_the_fingerprint_says_what_the_model_is(teacher):
    fingerprint = teacher.fingerprint
    assert fingerprint.weights == PUBLISHED_SHA256["model.safetensors"]
    assert (fingerprint.dim, fingerprint.pooling, fingerprint.max_length) == (384, "mean", 256)
    assert fingerprint.normalise
    assert fingerprint.similarity == "cosine"
    assert teacher.dim == 384


def test_the_default_is_the_teacher_of_known_hash_without_network(teacher_folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    encoder = SentenceEncoder.open(precision="float32")
    assert encoder.folder == teacher_folder
    assert SentenceEncoder.open(DEFAULT_TEACHER, precision="float32").fingerprint == encoder.fingerprint


def test_loading_shows_no_bars_and_leaves_them_as_they_were(teacher_folder, capfd):
    from transformers.utils import logging

    assert logging.is_progress_bar_enabled()
    SentenceEncoder.open(teacher_folder)
    assert capfd.readouterr().err == ""
    assert logging.is_progress_bar_enabled()


def test_a_shorter_maximum_cuts_texts_there(teacher, teacher_folder):
    short = SentenceEncoder.open(teacher_folder, precision="float32", max_length=8)
    long_text, first_six = "one two three four five six seven eight", "one two three four five six"
    np.testing.assert_allclose(short.encode_query([long_text]), teacher.encode_query([first_six]), atol=1e-6)
    assert short.fingerprint.max_length == 8


@pytest.mark.parametrize("max_length", [0, 513])
def test_a_maximum_that_the_model_cannot_take_is_refused(teacher_folder, max_length):
    with pytest.raises(ConfigError, match=r"between 1 and 512.*: " + str(max_length)):
        SentenceEncoder.open(teacher_folder, max_length=max_length)


def test_models_that_do_not_normalise_can_be_told_to(bare_folder, teacher, texts):
    bare = SentenceEncoder.open(bare_folder, precision="float32")
    told = SentenceEncoder.open(bare_folder, precision="float32", normalise=True)
    assert (bare.fingerprint.normalise, told.fingerprint.normalise) == (False, True)
    assert np.abs(np.linalg.norm(bare.encode_query(texts), axis=1) - 1).min() > 0.1
    np.testing.assert_allclose(told.encode_query(texts), teacher.encode_query(texts), atol=1e-6)
    assert told.in_float32().fingerprint == told.fingerprint


def test_a_model_that_normalises_cannot_be_told_not_to(teacher_folder):
    with pytest.raises(ConfigError, match="last step"):
        SentenceEncoder.open(teacher_folder, normalise=False)


def test_an_unknown_precision_is_refused(teacher_folder):
    with pytest.raises(ConfigError, match="'half'"):
        SentenceEncoder.open(teacher_folder, precision="half")


def test_no_texts_give_no_vectors(teacher):
    assert teacher.encode_document([]).shape == (0, 384)


def test_one_string_is_refused(teacher):
    with pytest.raises(DataError, match="list of texts"):
        teacher.encode_query("one string")


def test_without_sentence_transformers_the_error_names_the_extra(teacher_folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r"limbeck\[train\]"):
        SentenceEncoder.open(teacher_folder)


def test_static_models_are_encoded_in_float32(teacher_folder):
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    from limbeck.encoders.sentence import _choose_precision

    static = StaticEmbedding(Tokenizer.from_file(str(teacher_folder / "tokenizer.json")), embedding_dim=8)
    model = sentence_transformers.SentenceTransformer(modules=[static], device="cpu")
    assert _choose_precision(model, "auto") == "float32"
    with pytest.raises(ConfigError, match="StaticEmbedding"):
        _choose_precision(model, "bfloat16")
