"""Cross-encoders on a toy collection, and dual encoders taught by them: what is drawn, what moves, what stays."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from limbeck.data.labels import Labels
from limbeck.data.text_data import TextData
from limbeck.encoders.least_squares import affine_map
from limbeck.encoders.sentence import SentenceEncoder
from limbeck.errors import ConfigError, DataError
from limbeck.recipes import cross_encoder, from_cross_encoder
from limbeck.recipes.cross_encoder import CrossEncoder, pairs_of
from limbeck.recipes.from_cross_encoder import FromCrossEncoder
from limbeck.recipes.pair_lists import JudgedPairs, OneAgainst, RankedRivals
from limbeck.recipes.students import encoder_of
from limbeck.train.system import TrainingQueries, training_step
from limbeck.types import Batch, Candidates

pytest.importorskip("sentence_transformers")
WORDS = [f"w{number}" for number in range(48)]
DOCUMENTS, QUERIES, WIDTH = 24, 40, 32
RNG = np.random.default_rng(0)


class Texts:
    """A corpus in memory, as far as recipes read it."""

    def __init__(self, texts):
        self.all = texts

    def __len__(self):
        return len(self.all)

    def texts(self, start, stop):
        return self.all[start:stop]

    def texts_of(self, rows):
        return [self.all[int(row)] for row in rows]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """One random layer over a vocabulary of words."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("words")
    numbers = {word: number for number, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(numbers), **sizes)).save_pretrained(folder / "bert")
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names).save_pretrained(
        folder / "bert"
    )
    steps = [modules.Transformer(str(folder / "bert"), max_seq_length=64)]
    steps += [modules.Pooling(WIDTH, "mean"), modules.Normalize()]
    SentenceTransformer(modules=steps, device="cpu").save_pretrained(str(folder / "model"))
    return SentenceEncoder.open(folder / "model", precision="float32")


@pytest.fixture(scope="module")
def data(encoder):
    """A query asks for a document by one of its own words; every fourth has a second relevant document."""
    documents = [f"w{2 * row} w{2 * row + 1} w{RNG.integers(48)}" for row in range(DOCUMENTS)]
    rows = [[row % DOCUMENTS] + [(row + 7) % DOCUMENTS] * (row % 4 == 0) for row in range(QUERIES)]
    queries = [f"w{2 * own[0] + RNG.integers(2)}" for own in rows]
    labels = Labels(
        np.concatenate([[0], np.cumsum([len(own) for own in rows])]),
        np.array([document for own in rows for document in sorted(own)]),
        np.ones(sum(map(len, rows)), dtype=np.float32),
    )
    return TextData(
        queries=queries,
        vectors=encoder.encode_query(queries),
        corpus=Texts(documents),
        documents=encoder.encode_document(documents),
        labels=labels,
    )


@pytest.fixture(scope="module")
def ranked(data):
    return RankedRivals.of(data, depth=8)


def batch(data, *rows):
    return TrainingQueries(texts=data.queries).batch(np.array(rows))


def small(**more):
    constants = {
        "max_length": 16,
        "negatives": 3,
        "depth": 8,
        "every": 1,
        "layer_rate": 3e-3,
        "token_rate": 3e-3,
    }
    return CrossEncoder(**{**constants, "epochs": 12, **more})


@pytest.fixture(scope="module")
def judged(data, encoder, ranked):
    system = small(epochs=1).run(data, encoder, progress=False)
    return JudgedPairs.by(pairs_of(system), data, ranked, candidates=4)


def test_rivals_are_never_labelled_and_stand_in_the_order_of_the_search(data, ranked):
    products = data.vectors @ data.documents.T
    for row, rivals in zip(ranked.rows, ranked.rivals, strict=True):
        own = data.labels.of(int(row))[0]
        assert not np.isin(rivals, own).any()
        assert (np.diff(products[row, rivals]) <= 1e-6).all()
        assert products[row, rivals[-1]] >= np.sort(np.delete(products[row], own))[-8] - 1e-6


def test_a_sample_of_queries_is_drawn_by_its_seed(data):
    one, same, other = (RankedRivals.of(data, depth=4, most=10, seed=seed).rows for seed in (1, 1, 2))
    assert one.tolist() == same.tolist() != other.tolist()
    assert len(set(one.tolist())) == 10


def test_a_list_is_one_relevant_document_and_rivals_drawn_anew(data, ranked):
    lists = OneAgainst(ranked, count=3, seed=5)
    drawn = []
    for step in (0, 1, 0):
        lists.refresh(None, step)
        drawn.append(lists(batch(data, *range(QUERIES))).ids)
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    for row, ids in enumerate(drawn[0].tolist()):
        assert ids[0] in data.labels.of(row)[0]
        assert set(ids[1:]) < set(ranked.rivals[row].tolist())
        assert len(set(ids)) == 4
    assert (
        len({int(lists(batch(data, 0)).ids[0, 0]) for step in range(20) if not lists.refresh(None, step)})
        == 2
    )


def test_queries_without_labels_are_refused(data):
    unlabelled = TextData(
        queries=data.queries, vectors=data.vectors, corpus=data.corpus, documents=data.documents
    )
    with pytest.raises(ConfigError, match="labels"):
        RankedRivals.of(unlabelled, depth=4)


@pytest.mark.parametrize(("pooling", "weight"), [("cls", 0.0), ("dual-special", 1.0), ("dual-mean", 1.0)])
def test_training_lowers_every_term_and_leaves_the_teacher_alone(data, encoder, pooling, weight):
    before = encoder.encode_query(data.queries)
    told = []
    small(pooling=pooling, reconstruction=weight).run(
        data, encoder, progress=False, on_history=lambda history: told.extend(history.epochs)
    )
    assert set(told[0].terms) == ({"labels", "tokens"} if weight else {"labels"})
    assert all(told[-1].terms[name] < 0.8 * told[0].terms[name] for name in told[0].terms)
    np.testing.assert_array_equal(encoder.encode_query(data.queries), before)


def test_a_stopped_run_ends_in_the_same_scores(data, encoder, tmp_path, monkeypatch):
    class StoppedError(Exception):
        pass

    recipe = small(epochs=2)
    whole = pairs_of(recipe.run(data, encoder, progress=False))
    step, calls = cross_encoder.pair_step, []

    def stopping(system, batch):
        calls.append(1)
        if len(calls) == 7:  # in the second of two epochs of five steps
            raise StoppedError
        return step(system, batch)

    monkeypatch.setattr(cross_encoder, "pair_step", stopping)
    with pytest.raises(StoppedError):
        recipe.run(data, encoder, folder=tmp_path, progress=False)
    monkeypatch.setattr(cross_encoder, "pair_step", step)
    resumed = pairs_of(recipe.run(data, encoder, folder=tmp_path, progress=False))
    assert resumed.digest == whole.digest


def test_a_cross_encoder_has_no_vector_of_a_query_alone(data, encoder):
    system = small(epochs=1).run(data, encoder, progress=False)
    with pytest.raises(ConfigError, match="pair_step"):
        training_step(system, batch(data, 0))


def test_judgements_are_those_of_the_cross_encoder_and_survive_the_disk(data, encoder, ranked, tmp_path):
    pairs = pairs_of(small(epochs=1).run(data, encoder, progress=False))
    found = JudgedPairs.by(pairs, data, ranked, candidates=4)
    np.testing.assert_array_equal(found.ids, ranked.first(4 - 1))
    one = pairs.score([data.queries[3]] * 4, data.corpus.texts_of(found.ids[3]))
    np.testing.assert_allclose(found.scores[3], one, rtol=1e-2, atol=1e-2)  # bfloat16 where there is some
    found.save(tmp_path / "judged")
    opened = JudgedPairs.open(tmp_path / "judged")
    for name in ("rows", "ids", "scores", "query", "document"):
        np.testing.assert_array_equal(getattr(opened, name), getattr(found, name))
    with pytest.raises(DataError, match="no judged pairs"):
        JudgedPairs.open(tmp_path / "nothing")


@pytest.mark.parametrize("objective", ["scores", "joint", "query"])
def test_frozen_documents_stay_and_the_student_moves(data, encoder, judged, objective):
    documents = data.documents.copy()
    system = FromCrossEncoder(objective=objective, layers=(0,), epochs=1).run(
        data, encoder, judged, progress=False
    )
    np.testing.assert_array_equal(system.documents.stored(), documents)
    assert not any("document" in name for name in system.groups())
    found = encoder_of(system, encoder).encode_query(data.queries)
    assert found.shape == data.vectors.shape
    assert np.abs(found - data.vectors).max() > 1e-4


def test_a_teacher_that_agrees_with_the_student_pulls_at_nothing(data, encoder, judged):
    recipe = FromCrossEncoder(objective="scores", layers=(0,), teacher_temperature=2.0)
    own = np.einsum("rd,rcd->rc", data.vectors[judged.rows], data.documents[judged.ids])
    agreeing = JudgedPairs(judged.rows, judged.ids, own * 2.0 / 0.05, judged.query, judged.document)
    system = recipe._composed(data, encoder, agreeing)
    step = training_step(system, batch(data, *range(QUERIES)))
    torch.testing.assert_close(step.teacher["docs"], step.scores["docs"])
    system.objective["scores"][1](step).mean().backward()
    gradients = [
        p.grad.abs().max() for group in system.groups().values() for p in group if p.grad is not None
    ]
    assert float(max(gradients)) < 1e-5  # float32


@pytest.mark.parametrize("objective", ["query", "joint"])
def test_matching_starts_from_least_squares(data, encoder, judged, objective, monkeypatch):
    monkeypatch.setattr(from_cross_encoder, "affine_map", partial(affine_map, ridge=0))
    recipe = FromCrossEncoder(objective=objective, layers=(0,))
    turn = RNG.normal(size=(WIDTH, WIDTH)).astype(np.float32)
    target = np.repeat((data.vectors[judged.rows] @ turn)[:, None], judged.ids.shape[1], axis=1)
    affine = JudgedPairs(judged.rows, judged.ids, judged.scores, target, judged.document)
    system = recipe._composed(data, encoder, affine)
    step = training_step(system, batch(data, *range(QUERIES)))
    step.targets.update(affine.targets(step.batch))
    assert (
        float(system.objective[objective][1](step).detach().max())
        < 1e-2 * np.linalg.norm(target, axis=2).mean()
    )


def test_trained_documents_are_encoded_by_a_student_of_their_own(data, encoder, judged):
    recipe = FromCrossEncoder(
        documents="trained", match_documents=1.0, layers=(0,), epochs=1, layer_rate=1e-3
    )
    start = recipe._composed(data, encoder, judged)
    np.testing.assert_allclose(start.documents.stored(), data.documents, atol=1e-5)
    system = recipe.run(data, encoder, judged, progress=False)
    assert {"document tokens", "document layers", "projection"} <= set(system.train)
    stored = system.documents.stored()
    assert np.abs(stored - data.documents).max() > 1e-4
    ids = torch.tensor([[3, 1], [3, 3]])
    view = system.documents(ids)["docs"].flat.detach().numpy()
    np.testing.assert_allclose(view, stored[ids.numpy()], atol=1e-5)
    assert len(system.build()) == DOCUMENTS


def test_the_first_stage_is_added_to_what_was_judged(data, judged):
    mixed = judged.with_first_stage(data, share=3.0)
    one = float(judged.scores[5, 2] + 3.0 * data.vectors[judged.rows[5]] @ data.documents[judged.ids[5, 2]])
    assert float(mixed.scores[5, 2]) == pytest.approx(one, rel=1e-5)
    np.testing.assert_array_equal(mixed.query, judged.query)


def test_a_judged_list_is_scored_in_its_own_order(judged):
    rows = torch.tensor([5, 2])
    candidates = judged(Batch(rows=rows))
    assert isinstance(candidates, Candidates)
    np.testing.assert_array_equal(candidates.ids, judged.ids[[5, 2]])
    np.testing.assert_array_equal(judged.teacher(Batch(rows=rows), candidates), judged.scores[[5, 2]])


@pytest.mark.parametrize(
    "make",
    [
        lambda: CrossEncoder(temperature=0),
        lambda: CrossEncoder(reconstruction=-1),
        lambda: FromCrossEncoder(match_documents=1.0),
        lambda: FromCrossEncoder(teacher_temperature=0),
    ],
)
def test_constants_that_cannot_work_are_refused(make):
    with pytest.raises(ConfigError):
        make()
