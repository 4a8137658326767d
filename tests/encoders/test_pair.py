"""A cross-encoder's readings: what padding, truncation and pooling may not change, for BERT's pairs and RoBERTa's."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from limbeck.encoders.pair import PairEncoder
from limbeck.encoders.reranking import Reranker
from limbeck.encoders.sentence import SentenceEncoder
from limbeck.errors import ConfigError, CorruptArtefact, DataError, ShapeError
from limbeck.types import Hits

pytest.importorskip("sentence_transformers")
WORDS = [f"w{number}" for number in range(40)]
QUERIES = ["w1 w2", "w3", "w4 w5 w6 w7", "w8 w9 w10"]
DOCUMENTS = ["w11", "w12 w13 w14 w15 w16 w17 w18 w19 w20", "w21 w22", "w23 w24 w25 w26 w27"]
POOLINGS = ("cls", "dual-special", "dual-mean")
WIDTH = 16


def saved(folder, kind):
    """A random transformer of two layers and a tokenizer of words, with the pairs of its family."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, RobertaConfig, RobertaModel

    start, end, pad = ("[CLS]", "[SEP]", "[PAD]") if kind == "bert" else ("<s>", "</s>", "<pad>")
    numbers = {word: number for number, word in enumerate([pad, start, end, "[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    joined = "$A [SEP] $B:1 [SEP]:1" if kind == "bert" else "$A </s> </s> $B </s>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", pair=f"{start} {joined}", special_tokens=[(start, 1), (end, 2)]
    )
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * (kind == "bert")
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    own = {"vocab_size": len(numbers), "pad_token_id": 0, "max_position_embeddings": 40, **sizes}
    config, model = (BertConfig, BertModel) if kind == "bert" else (RobertaConfig, RobertaModel)
    torch.manual_seed(0)
    model(config(**own)).save_pretrained(folder / "plain")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        cls_token=start,
        sep_token=end,
        unk_token="[UNK]",
        model_input_names=names,
        model_max_length=32,
    ).save_pretrained(folder / "plain")
    steps = [modules.Transformer(str(folder / "plain"), max_seq_length=32), modules.Pooling(WIDTH, "mean")]
    SentenceTransformer(modules=steps, device="cpu").save_pretrained(str(folder / "model"))
    return folder / "model"


@pytest.fixture(scope="module", params=["bert", "roberta"])
def source(request, tmp_path_factory):
    return SentenceEncoder.open(
        saved(tmp_path_factory.mktemp(request.param), request.param), precision="float32"
    )


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return SentenceEncoder.open(saved(tmp_path_factory.mktemp("bert"), "bert"), precision="float32")


def started(source, pooling="dual-mean", **more):
    pairs = PairEncoder.start(source, pooling=pooling, max_length=24, precision="float32", **more)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # heads that have learned something: zeros would hide half of what is read
        for parameter in pairs.head.values():
            parameter.copy_(torch.randn(WIDTH, generator=generator))
    return pairs


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_never_changes_a_score(source, pooling):
    pairs = started(source, pooling)
    together = pairs.score(QUERIES, DOCUMENTS)
    alone = np.concatenate([pairs.score([q], [d]) for q, d in zip(QUERIES, DOCUMENTS, strict=True)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_what_was_saved_scores_to_the_last_bit_alike(source, pooling, tmp_path):
    pairs = started(source, pooling)
    pairs.save(tmp_path / "pairs")
    opened = PairEncoder.open(tmp_path / "pairs", precision="float32")
    np.testing.assert_array_equal(opened.score(QUERIES, DOCUMENTS), pairs.score(QUERIES, DOCUMENTS))
    assert opened.digest == pairs.digest


def test_segments_are_those_of_the_texts_in_either_family(source):
    tokens = started(source).tokenizer(QUERIES[:2], DOCUMENTS[:2])
    texts = [["w1 w2", "w3"], ["w11", DOCUMENTS[1]]]
    vocabulary = source.model[0].tokenizer.get_vocab()
    for segment, of_segment in enumerate(texts):
        for row, text in enumerate(of_segment):
            expected = [vocabulary[word] for word in text.split()]
            assert tokens.ids[row][tokens.segments[row] == segment].tolist() == expected


def test_the_document_is_cut_and_the_query_never(source):
    pairs = started(source)
    long = " ".join(WORDS)
    tokens = pairs.tokenizer(["w1 w2 w3"], [long])
    assert tokens.ids.shape == (1, 24)
    assert int((tokens.segments == 0).sum()) == 3
    with pytest.raises(DataError, match="no room for its document"):
        pairs.tokenizer([long], ["w1"])


@pytest.mark.parametrize("closing", ["query", "document"])
def test_dual_special_takes_the_first_token_and_the_separator_asked_for(source, closing):
    pairs = started(source, "dual-special", closing=closing)
    reps = pairs.read(pairs.tokenizer(QUERIES, DOCUMENTS))
    for row, tokens in enumerate(reps.tokens.segments.tolist()):
        last = int(reps.tokens.mask[row].sum()) - 1
        place = last if closing == "document" else 1 + tokens.count(0)
        torch.testing.assert_close(reps.query[row], reps.states[row, 0])
        torch.testing.assert_close(reps.document[row], reps.states[row, place])


def test_dual_mean_starts_as_the_plain_mean_of_each_segment(source):
    pairs = PairEncoder.start(source, pooling="dual-mean", max_length=24, precision="float32")
    reps = pairs.read(pairs.tokenizer(QUERIES, DOCUMENTS))
    for side, segment in ((reps.query, 0), (reps.document, 1)):
        for row, vector in enumerate(side):
            own = reps.states[row][reps.tokens.segments[row] == segment]
            torch.testing.assert_close(vector, own.mean(dim=0))


def test_a_text_without_tokens_has_a_zero_vector_and_a_gradient_that_is_finite(bert):
    pairs = started(bert)
    reps = pairs.read(pairs.tokenizer(["", "w1"], ["w2", ""]))
    assert reps.query[0].abs().max() == 0
    assert reps.document[1].abs().max() == 0
    reps.states.retain_grad()
    (reps.query.sum() + reps.document.sum()).backward()
    assert reps.states.grad.isfinite().all()


def test_the_score_depends_on_which_text_asks(bert):
    pairs = started(bert)
    assert not np.allclose(pairs.score(QUERIES, DOCUMENTS), pairs.score(DOCUMENTS, QUERIES), atol=1e-4)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_vectors_multiply_to_the_score(source, pooling):
    found = started(source, pooling).vectors(QUERIES, DOCUMENTS)
    np.testing.assert_allclose((found.query * found.document).sum(axis=1), found.scores, rtol=1e-5, atol=1e-6)


def test_a_copy_is_trained_and_not_its_source(bert):
    pairs = started(bert)
    before = {name: tensor.clone() for name, tensor in bert.model[0].model.state_dict().items()}
    parameters = [parameter for group in pairs.groups().values() for parameter in group]
    optimiser = torch.optim.Adam(parameters, lr=1e-2)
    pairs.read(pairs.tokenizer(QUERIES, DOCUMENTS)).scores.sum().backward()
    optimiser.step()
    after = bert.model[0].model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert set(pairs.groups()) == {"tokens", "layers", "head"}


def test_a_changed_file_is_refused(bert, tmp_path):
    started(bert).save(tmp_path / "pairs")
    path = tmp_path / "pairs" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptArtefact, match="sha256"):
        PairEncoder.open(tmp_path / "pairs")


@pytest.mark.parametrize("change", [{"kind": "onnx"}, {"pooling": "max"}, {"files": []}])
def test_settings_of_something_else_are_refused(bert, tmp_path, change):
    started(bert).save(tmp_path / "pairs")
    path = tmp_path / "pairs" / "encoder.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CorruptArtefact, match="cross-encoder"):
        PairEncoder.open(tmp_path / "pairs")


@pytest.mark.parametrize(
    "wrong",
    [{"pooling": "max"}, {"closing": "both"}, {"max_length": 33}, {"max_length": 3}, {"precision": "half"}],
)
def test_settings_that_cannot_work_are_refused(bert, wrong):
    with pytest.raises(ConfigError):
        PairEncoder.start(bert, **wrong)


class Texts:
    def texts_of(self, rows):
        return [DOCUMENTS[int(row)] for row in rows]


def test_reranking_sorts_by_score_and_keeps_every_document(bert):
    pairs = started(bert)
    hits = Hits(np.array([[2, 0, 3], [1, -1, -1]]), np.array([[3, 2, 1], [1, -np.inf, -np.inf]], np.float32))
    found = Reranker(pairs, Texts())(QUERIES[:2], hits)
    scores = {row: float(pairs.score(QUERIES[:1], [DOCUMENTS[row]])[0]) for row in (0, 2, 3)}
    assert found.ids[0].tolist() == sorted(scores, key=scores.__getitem__, reverse=True)
    np.testing.assert_allclose(found.scores[0], sorted(scores.values(), reverse=True), atol=1e-5)
    assert found.ids[1].tolist() == [1, -1, -1]
    assert (found.scores[1, 1:] == -np.inf).all()


def test_the_first_stage_counts_as_much_as_it_is_told(bert):
    hits = Hits(np.array([[2, 0, 3, -1]]), np.array([[0.9, 0.5, 0.1, -np.inf]], np.float32))
    alone, mixed, decided = (
        Reranker(started(bert), Texts(), first_stage=share)(QUERIES[:1], hits) for share in (0.0, 2.0, 1e6)
    )
    own = dict(zip(hits.ids[0].tolist(), hits.scores[0].tolist(), strict=True))
    scores = {row: score + 2.0 * own[row] for row, score in zip(alone.ids[0], alone.scores[0], strict=True)}
    assert mixed.ids[0].tolist() == sorted(scores, key=scores.__getitem__, reverse=True)
    assert decided.ids.tolist() == hits.ids.tolist()


def test_the_order_of_the_candidates_is_irrelevant(bert):
    rerank = Reranker(started(bert), Texts())
    orders = np.array([[0, 1, 2, 3], [3, 1, 0, 2]])
    one, other = rerank(["w1 w2", "w1 w2"], Hits(orders, np.zeros(orders.shape, np.float32))).ids
    assert one.tolist() == other.tolist()


def test_equal_scores_stand_by_row(bert):
    class Same:
        def texts_of(self, rows):
            return ["w5" for _ in rows]

    found = Reranker(started(bert), Same())(["w1"], Hits(np.array([[7, 3, 5]]), np.zeros((1, 3), np.float32)))
    assert found.ids.tolist() == [[3, 5, 7]]


def test_hits_of_other_queries_are_refused(bert):
    with pytest.raises(ShapeError, match="2 queries"):
        Reranker(started(bert), Texts())(
            QUERIES[:2], Hits(np.zeros((1, 1), np.int64), np.zeros((1, 1), np.float32))
        )
