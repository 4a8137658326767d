"""How students start: a projection and its folding leave scores as they are; models that are not the teacher."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from limbeck.encoders import SentenceEncoder
from limbeck.encoders.export import export_onnx
from limbeck.encoders.fingerprint import check_pair, space_of
from limbeck.encoders.opening import open_encoder
from limbeck.encoders.static_student import tokenizer_of
from limbeck.encoders.student_starts import folded, narrow, projected, with_layers, without_unit
from limbeck.encoders.texts import TextList
from limbeck.encoders.tokens import TokenLists
from limbeck.encoders.transformer_student import TransformerStudent
from limbeck.errors import ConfigError

TEXTS = [
    "list files",
    "print the first lines of a file, with their numbers",
    "stop",
    "restart a service",
    "a",
]
WIDTH = 16


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A DistilBERT with a byte-pair tokenizer of its own, a prompt, [CLS] pooling and normalising; not trained."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import DistilBertConfig, DistilBertModel, PreTrainedTokenizerFast

    root = tmp_path_factory.mktemp("foreign")
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(TEXTS, vocab_size=300, special_tokens=["<s>", "<pad>", "</s>"])
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer,
        pad_token="<pad>",
        cls_token="<s>",
        sep_token="</s>",
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=64,
    ).save_pretrained(root / "plain")
    torch.manual_seed(0)
    sizes = {
        "dim": WIDTH,
        "n_layers": 3,
        "n_heads": 2,
        "hidden_dim": 32,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
    }
    DistilBertModel(
        DistilBertConfig(vocab_size=tokenizer.get_vocab_size(), pad_token_id=1, **sizes)
    ).save_pretrained(root / "plain")
    modules = [Transformer(str(root / "plain"), max_seq_length=48), Pooling(WIDTH, "cls"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu", prompts={"query": "ask: "}).save_pretrained(
        str(root / "model")
    )
    return root / "model"


@pytest.fixture(scope="module")
def small(foreign):
    return SentenceEncoder.open(foreign, precision="float32")


def drawn(rows, columns, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def wide(small, teacher):
    """The foreign model behind some map to the teacher's 384 numbers."""
    return projected(small, drawn(teacher.dim, WIDTH), teacher.fingerprint)


def test_a_projected_encoder_maps_the_vectors_that_it_had_before_unit_length(small, teacher, wide):
    plain = without_unit(small).encode_query(TEXTS)
    assert np.linalg.norm(plain, axis=1).max() > 1.5
    np.testing.assert_allclose(wide.encode_query(TEXTS), unit(plain @ drawn(teacher.dim, WIDTH).T), atol=1e-5)
    assert wide.fingerprint.pooling == "cls|Dense"
    assert (wide.dim, wide.fingerprint.normalise) == (384, True)


def test_it_keeps_the_prompts_and_the_length_of_its_own_model(small, wide):
    assert dict(wide.fingerprint.prompts) == dict(small.fingerprint.prompts) == {"query": "ask: "}
    assert wide.fingerprint.max_length == 48
    assert not np.allclose(wide.encode_query(["stop"]), wide.encode_document(["stop"]))


def test_a_teacher_without_unit_length_gets_a_student_without(small, teacher):
    longer = projected(small, drawn(384, WIDTH), replace(teacher.fingerprint, normalise=False))
    expected = without_unit(small).encode_query(TEXTS) @ drawn(384, WIDTH).T
    np.testing.assert_allclose(longer.encode_query(TEXTS), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("normalise", [True, False])
def test_an_index_over_folded_documents_gives_the_scores_of_the_wide_one(small, teacher, normalise):
    space = replace(teacher.fingerprint, normalise=normalise)
    wide = projected(small, drawn(384, WIDTH), space)
    documents = unit(drawn(50, 384, seed=1))
    narrower, axes, own = folded(wide, space)
    assert (narrower.dim, axes.shape, own.dim) == (WIDTH, (384, WIDTH), WIDTH)
    scores = wide.encode_query(TEXTS) @ documents.T
    found = narrower.encode_query(TEXTS) @ (documents @ axes).T
    np.testing.assert_allclose(found, scores, atol=1e-5 * np.abs(scores).max())
    np.testing.assert_array_equal(np.argsort(-found, axis=1), np.argsort(-scores, axis=1))


def test_exported_both_forms_give_the_same_scores_and_know_their_spaces(wide, teacher, tmp_path):
    documents = teacher.encode_document(TEXTS)
    narrower, axes, own = folded(wide, teacher.fingerprint)
    export_onnx(wide, tmp_path / "wide", sample_texts=TEXTS, space=teacher.fingerprint)
    export_onnx(narrower, tmp_path / "narrow", sample_texts=TEXTS, space=own)
    first, second = (open_encoder(tmp_path / name, threads=1) for name in ("wide", "narrow"))
    scores = first.encode_query(TEXTS) @ documents.T
    np.testing.assert_allclose(second.encode_query(TEXTS) @ (documents @ axes).T, scores, atol=1e-5)
    check_pair(space_of(first), teacher.fingerprint)
    assert space_of(second).dim == WIDTH
    assert space_of(second).weights != teacher.fingerprint.weights


def test_what_has_no_projection_cannot_be_folded(teacher, small):
    for encoder in (teacher, small):
        with pytest.raises(ConfigError, match="does not end in a linear map"):
            folded(encoder, teacher.fingerprint)


def test_a_foreign_student_reads_its_own_tokens_and_moves_whole(small, wide):
    asked = TextList(["ask: " + text for text in TEXTS])
    student = TransformerStudent(TokenLists.of(tokenizer_of(wide), asked), wide)
    np.testing.assert_allclose(student.vectors(np.arange(len(TEXTS))), wide.encode_query(TEXTS), atol=1e-5)
    moved = sum(parameter.numel() for group in student.groups().values() for parameter in group)
    assert moved == sum(parameter.numel() for parameter in small.model.parameters()) + 384 * WIDTH


def test_layers_of_a_foreign_model_can_be_chosen(small):
    assert len(with_layers(small, (0, 2)).model[0].model.transformer.layer) == 2
    with pytest.raises(ConfigError, match="0 to 2"):
        with_layers(small, (3,))


@pytest.fixture(scope="module")
def new(teacher):
    return narrow(teacher, width=64, layers=1, seed=0, progress=False)


def test_a_narrow_transformer_reads_as_the_teacher_does_at_its_own_width(new, teacher):
    assert (new.dim, new.fingerprint.prompts) == (64, teacher.fingerprint.prompts)
    assert new.encode_query(TEXTS).shape == (len(TEXTS), 64)
    assert tokenizer_of(new).encode(TEXTS[1]).ids == tokenizer_of(teacher).encode(TEXTS[1]).ids


def test_it_begins_with_what_the_teacher_thinks_of_single_tokens(new, teacher, tldr_queries):
    """Untrained, its neighbours among words are often the teacher's."""
    words = sorted({word for text in tldr_queries[:2000] for word in text.lower().split() if word.isalpha()})[
        :400
    ]
    found, exact = (_nearest(encoder.encode_query(words)) for encoder in (new, teacher))
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact, strict=True)])
    assert shared > 0.4


def _nearest(vectors):
    rows = unit(vectors - vectors.mean(axis=0))
    scores = rows @ rows.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1)[:, :10]


def test_the_same_seed_draws_the_same_narrow_transformer(new, teacher):
    again = narrow(teacher, width=64, layers=1, seed=0, progress=False)
    other = narrow(teacher, width=64, layers=1, seed=1, progress=False)
    np.testing.assert_array_equal(again.encode_query(TEXTS), new.encode_query(TEXTS))
    assert not np.array_equal(other.encode_query(TEXTS), new.encode_query(TEXTS))


@pytest.mark.parametrize(
    ("width", "layers", "said"), [(100, 2, "heads of 32"), (64, 0, "0 layers"), (384, 2, "below the teacher")]
)
def test_widths_that_make_no_narrow_transformer_are_refused(teacher, width, layers, said):
    with pytest.raises(ConfigError, match=said):
        narrow(teacher, width=width, layers=layers, seed=0, progress=False)
