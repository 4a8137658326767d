"""One graph gives torch's vectors for every batch and every length, or there is no graph."""

import json
import shutil

import numpy as np
import pytest

from limbeck.encoders import OnnxEncoder, SentenceEncoder, export, export_onnx
from limbeck.encoders.export import check_exportable
from limbeck.encoders.export_check import check_close, check_same
from limbeck.errors import DataError, ExportError, MissingExtra
from limbeck.testing import HashEncoder, check_encoder
from limbeck.types import Reps

sentence_transformers = pytest.importorskip("sentence_transformers")
pytest.importorskip("onnxscript")
TEXTS = ["one", "two words", "a text of a few more words than that", "x " * 40, "", "last"] * 2


@pytest.fixture(scope="module")
def tiny(teacher_folder, tmp_path_factory):
    """Makes small untrained models of any kind: two layers of width 32 behind the teacher's tokenizer."""
    import torch
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import AutoTokenizer, BertConfig, BertModel

    root = tmp_path_factory.mktemp("tiny")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=30522, **sizes)).save_pretrained(root / "bert")
    AutoTokenizer.from_pretrained(str(teacher_folder)).save_pretrained(root / "bert")

    def make(name, *, pooling, dense=None, normalise=False, prompts=None):
        modules = [Transformer(str(root / "bert"), max_seq_length=24), Pooling(32, pooling)]
        modules += [Dense(modules[1].get_embedding_dimension(), dense)] if dense else []
        modules += [Normalize()] if normalise else []
        model = sentence_transformers.SentenceTransformer(modules=modules, device="cpu", prompts=prompts)
        model.save_pretrained(str(root / name))
        return root / name

    return make


@pytest.fixture(scope="module")
def tiny_encoder(tiny):
    folder = tiny("cls", pooling="cls", dense=16, prompts={"query": "query: ", "document": "passage: "})
    return SentenceEncoder.open(folder, precision="float32", normalise=True)


@pytest.fixture(scope="module")
def tiny_export(tiny_encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "export"
    export_onnx(tiny_encoder, folder, sample_texts=TEXTS)
    return folder


def test_real_queries_are_equal_to_torch_padded_and_alone(exported, teacher, tldr_queries):
    # the export itself compared more of them; here without its code
    onnx = OnnxEncoder.open(exported, threads=1)
    texts = tldr_queries[::2000]
    expected = teacher.model.encode_query(texts, batch_size=1)
    np.testing.assert_allclose(onnx.encode_query(texts), expected, atol=1e-5)
    alone = np.concatenate([onnx.encode_query([text]) for text in texts])
    np.testing.assert_allclose(alone, expected, atol=1e-5)


@pytest.mark.long
def test_a_thousand_real_queries_of_all_lengths_are_equal_to_torch(exported, teacher, tldr_queries):
    distinct = sorted(set(tldr_queries), key=lambda text: (len(text), text))
    texts = [distinct[i * (len(distinct) - 1) // 999] for i in range(1000)]
    assert check_same(OnnxEncoder.open(exported, threads=1), teacher, texts) < 1e-6  # measured: 2.3e-7


def test_long_documents_are_cut_where_the_teacher_cuts_them(exported, teacher, scifact_documents):
    longest = sorted(scifact_documents[:200], key=len)[-3:]
    onnx = OnnxEncoder.open(exported, threads=1)
    np.testing.assert_allclose(onnx.encode_document(longest), teacher.encode_document(longest), atol=1e-5)
    cut = onnx.encode_document([longest[-1], longest[-1] + " more text at the end"])
    np.testing.assert_allclose(cut[0], cut[1], atol=1e-6)


def test_the_export_keeps_the_contract_and_the_fingerprint(exported, teacher, tldr_queries):
    onnx = OnnxEncoder.open(exported, threads=1)
    assert onnx.fingerprint == teacher.fingerprint
    check_encoder(onnx, [*tldr_queries[:12], "a " * 60])


def test_dense_layers_first_tokens_prompts_and_told_normalising_are_in_the_export(tiny_encoder, tiny_export):
    onnx = OnnxEncoder.open(tiny_export, threads=1)
    assert onnx.dim == 16
    np.testing.assert_allclose(onnx.encode_query(TEXTS), tiny_encoder.encode_query(TEXTS), atol=1e-5)
    np.testing.assert_allclose(onnx.encode_document(TEXTS), tiny_encoder.encode_document(TEXTS), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(onnx.encode_query(TEXTS), axis=1), 1, atol=1e-6)
    check_encoder(onnx, TEXTS)


def test_maxima_and_means_side_by_side_are_exported(tiny, tmp_path):
    encoder = SentenceEncoder.open(tiny("max", pooling=["max", "mean"], normalise=True), precision="bfloat16")
    onnx = export_onnx(encoder, tmp_path / "export", sample_texts=TEXTS)
    assert onnx.fingerprint.precision == "float32"
    assert onnx.fingerprint.pooling == "max+mean"
    assert onnx.dim == 64


def test_eight_bit_weights_are_smaller_close_and_say_so(tiny_encoder, tiny_export, tmp_path):
    onnx = export_onnx(tiny_encoder, tmp_path / "export", sample_texts=TEXTS, quantise=True)
    assert onnx.fingerprint.precision == "int8"
    size = (tmp_path / "export" / "model.onnx").stat().st_size
    assert size < 0.4 * (tiny_export / "model.onnx").stat().st_size
    cosines = np.einsum("nd,nd->n", onnx.encode_query(TEXTS), tiny_encoder.encode_query(TEXTS))
    assert 0.95 < cosines.min() < 1 - 1e-6


def test_a_graph_of_other_weights_is_refused_and_the_old_export_stays(
    tiny_encoder, tiny_export, other_graph, tmp_path, monkeypatch
):
    monkeypatch.setattr(export, "_write_graph", lambda _, folder, __: shutil.copy(other_graph, folder))
    with pytest.raises(ExportError, match=r"from torch by \d.*worst text"):
        export_onnx(tiny_encoder, tmp_path / "new", sample_texts=TEXTS)
    assert list(tmp_path.iterdir()) == []
    before = (tiny_export / "encoder.json").read_bytes()
    with pytest.raises(ExportError):
        export_onnx(tiny_encoder, tiny_export, sample_texts=TEXTS)
    assert (tiny_export / "encoder.json").read_bytes() == before
    OnnxEncoder.open(tiny_export, threads=1)


@pytest.fixture(scope="module")
def other_graph(tiny_export, tmp_path_factory):
    """The graph with the bias of its last layer moved a little."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(tiny_export / "model.onnx")
    bias = next(part for part in model.graph.initializer if list(part.dims) == [16])
    moved = onnx.numpy_helper.to_array(bias) + np.float32(1e-3)
    bias.CopyFrom(onnx.numpy_helper.from_array(moved, bias.name))
    path = tmp_path_factory.mktemp("other") / "model.onnx"
    onnx.save(model, path)
    return path


def test_what_torch_cannot_export_is_an_export_error(tiny_encoder, tmp_path, monkeypatch):
    import torch

    def fails(*_, **__):
        raise torch.onnx.OnnxExporterError("step 1/3") from ValueError("no such operator\nand more")

    monkeypatch.setattr(torch.onnx, "export", fails)
    with pytest.raises(ExportError, match="BertModel as a graph: no such operator"):
        export_onnx(tiny_encoder, tmp_path / "new", sample_texts=TEXTS)
    assert list(tmp_path.iterdir()) == []


def test_without_samples_there_is_no_export(tiny_encoder, tmp_path):
    with pytest.raises(DataError, match="sample_texts"):
        export_onnx(tiny_encoder, tmp_path / "new", sample_texts=[])


def test_without_onnxscript_the_error_names_the_extra(tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(MissingExtra, match=r"limbeck\[train\]"):
        export_onnx(tiny_encoder, tmp_path / "new", sample_texts=TEXTS)


def modules_of(teacher):
    return list(teacher.model)


def pooling(mode="mean", **settings):
    from sentence_transformers.sentence_transformer.modules import Pooling

    return Pooling(384, mode, **settings)


def layer_norm():
    from sentence_transformers.sentence_transformer.modules import LayerNorm

    return LayerNorm(384)


def dense_of_tokens():
    from sentence_transformers.base.modules import Dense

    return Dense(384, 8, module_input_name="token_embeddings")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (lambda teacher: [modules_of(teacher)[0], pooling("weightedmean")], "weightedmean"),
        (lambda teacher: [modules_of(teacher)[0], pooling(("mean", "lasttoken"))], "lasttoken"),
        (lambda teacher: [modules_of(teacher)[0], pooling(include_prompt=False)], "include_prompt=False"),
        (lambda teacher: [*modules_of(teacher), layer_norm()], "LayerNorm"),
        (lambda teacher: [modules_of(teacher)[0], dense_of_tokens(), pooling()], "token_embeddings"),
        (lambda teacher: modules_of(teacher)[1:], "must begin with a Transformer"),
        (lambda teacher: [], "must begin with a Transformer"),
    ],
)
def test_a_step_that_has_no_place_in_the_graph_is_named(teacher, steps, said):
    with pytest.raises(ExportError, match=said):
        check_exportable(steps(teacher))


class Whole(list):
    truncate_dim = 64


def test_vectors_that_are_cut_short_are_not_exported(teacher):
    with pytest.raises(ExportError, match="64 dimensions"):
        check_exportable(Whole(modules_of(teacher)))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("modality_config", {"message": {}}, "chat template"), ("query_length", 32, "query_length")],
)
def test_ways_to_read_texts_that_no_tokenizer_file_holds_are_refused(teacher, monkeypatch, name, value, said):
    monkeypatch.setattr(teacher.model[0], name, value)
    with pytest.raises(ExportError, match=said):
        check_exportable(teacher.model)


class Off(HashEncoder):
    """Wrong for one text, and only in a batch or only alone."""

    def __init__(self, text, *, by, alone):
        super().__init__(16)
        self.text, self.by, self.alone = text, np.float32(by), alone

    def encode(self, texts, *, side, batch_size=64):
        vectors = super().encode(texts, side=side).vectors
        if self.text in texts and (len(texts) == 1) == self.alone:
            vectors[list(texts).index(self.text), 0, 5] += self.by
        return Reps(vectors)


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("by", [1e-4, float("nan")])
def test_one_wrong_vector_among_many_is_found_and_named(alone, by):
    texts = [f"text number {i}" for i in range(50)]
    with pytest.raises(ExportError, match="text number 31"):
        check_same(Off("text number 31", by=by, alone=alone), HashEncoder(16), texts)


@pytest.mark.parametrize("text", ["", " ".join(["word"] * 100)])
def test_the_empty_text_and_a_very_long_one_are_compared_too(text):
    with pytest.raises(ExportError):
        check_same(Off(text, by=1e-4, alone=True), HashEncoder(16), ["word"] * 100)


def test_a_difference_of_rounding_is_allowed_and_reported():
    texts = [f"text number {i}" for i in range(50)]
    worst = check_same(Off("text number 31", by=1e-6, alone=True), HashEncoder(16), texts)
    assert 1e-7 < worst < 1e-5


def test_eight_bit_vectors_that_point_elsewhere_are_refused():
    texts = [f"text number {i}" for i in range(20)]
    with pytest.raises(ExportError, match=r"quantise=False"):
        check_close(Off("text number 7", by=1.0, alone=False), HashEncoder(16), texts)
    assert check_close(HashEncoder(16), HashEncoder(16), texts) > 0.999


def test_the_settings_say_how_the_tokenizer_pads(exported):
    settings = json.loads((exported / "encoder.json").read_text())
    assert settings["inputs"] == ["input_ids", "attention_mask", "token_type_ids"]
    assert settings["padding"]["pad_id"] == 0
    assert set(settings["files"]) == {"model.onnx", "tokenizer.json"}
