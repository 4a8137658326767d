"""Students that are not cut from the teacher: where they start, what they read, that they learn and are exported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.data.labels import Labels, Qrels
from limbeck.data.text_data import TextData
from limbeck.encoders.export import export_onnx
from limbeck.encoders.opening import open_encoder
from limbeck.encoders.static_student import tokenizer_of
from limbeck.encoders.student_starts import with_layers
from limbeck.encoders.texts import TextList
from limbeck.errors import ConfigError
from limbeck.jobs.distil_encoder import distil_encoder
from limbeck.recipes.embed_distill import EmbedDistill
from limbeck.recipes.static_student import StaticQueries
from limbeck.recipes.students import encoder_of
from limbeck.recipes.transformer_student import LayerQueries, ModelQueries, NarrowQueries

DEV = 100
NARROW = NarrowQueries(width=64, layers=(5,), beginnings=0, epochs=3, least_steps=60, layer_rate=1e-3)


@pytest.fixture(scope="module")
def other(teacher, tmp_path_factory):
    """Two of MiniLM's layers as a model of their own, which reads questions behind a prompt."""
    folder = tmp_path_factory.mktemp("other") / "model"
    model = with_layers(teacher, (0, 3)).model
    model.prompts = {"query": "ask: ", "document": "text: "}
    model.save_pretrained(str(folder))
    return str(folder)


@pytest.fixture(scope="module")
def data(real_texts) -> TextData:
    """The last queries are held out."""
    return replace(
        real_texts,
        queries=real_texts.queries[:-DEV],
        vectors=real_texts.vectors[:-DEV],
        dev_queries=real_texts.queries[-DEV:],
        dev_vectors=real_texts.vectors[-DEV:],
    )


@pytest.fixture(scope="module")
def few(data):
    """The first of the queries: enough where nothing is judged."""
    return replace(data, queries=data.queries[:100], vectors=data.vectors[:100])


def distance(encoder, data):
    """R_Emb,Q on held-out queries."""
    vectors = encoder.encode_query(list(data.dev_queries))
    return float(np.linalg.norm(vectors - data.dev_vectors, axis=1).mean())


def before(recipe, data, teacher):
    return recipe.student(*recipe.told(data, teacher, progress=False), teacher, progress=False)


def test_a_model_that_is_the_teacher_starts_near_the_teacher(data, teacher):
    same = before(ModelQueries(model=str(teacher.folder), beginnings=0), data, teacher)
    assert distance(same.encoder(teacher), data) < 0.3


def test_another_model_starts_far_nearer_with_the_map_than_its_own_vectors_are(data, teacher, other):
    recipe = ModelQueries(model=other, beginnings=0)
    own = recipe.reader(teacher).encode_query(list(data.dev_queries))
    apart = float(np.linalg.norm(own - data.dev_vectors, axis=1).mean())
    assert distance(before(recipe, data, teacher).encoder(teacher), data) < 0.8 * apart


def test_it_reads_queries_and_documents_behind_its_own_prompts(data, teacher, other):
    recipe = ModelQueries(model=other, beginnings=0)
    tokens = recipe.told(data, teacher, progress=False)[0]
    expected = tokenizer_of(teacher).encode("ask: " + data.queries[7]).ids
    assert tokens.take(np.array([7])).numbers.tolist() == expected
    read = recipe.read(TextList(["copy a file"]), teacher).numbers.tolist()
    assert read == tokenizer_of(teacher).encode("text: copy a file").ids


@pytest.mark.parametrize("kind", ["narrow", "new", "model"])
def test_training_brings_it_nearer_and_the_export_answers_alike(data, teacher, other, kind, tmp_path):
    one_layer = ModelQueries(model=other, layers=(1,), beginnings=0, epochs=2, least_steps=30)
    recipe = {"narrow": NARROW, "new": replace(NARROW, new=True), "model": one_layer}[kind]
    start = distance(before(recipe, data, teacher).encoder(teacher), data)
    encoder = encoder_of(recipe.run(data, teacher, progress=False), teacher)
    assert distance(encoder, data) < start
    export_onnx(encoder, tmp_path / "out", sample_texts=data.dev_queries, space=teacher.fingerprint)
    opened = open_encoder(tmp_path / "out", threads=1)
    np.testing.assert_allclose(
        opened.encode_query(data.dev_queries), encoder.encode_query(list(data.dev_queries)), atol=1e-5
    )


def test_the_same_seed_gives_the_same_numbers(few, teacher):
    recipe = replace(NARROW, epochs=1, least_steps=1)
    first, second = (encoder_of(recipe.run(few, teacher, progress=False), teacher) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    np.testing.assert_array_equal(first.encode_query(["stop"]), second.encode_query(["stop"]))


def test_a_teacher_that_is_no_bert_gets_new_layers_and_is_told_so(few, teacher, caplog, monkeypatch):
    transformer = teacher.model[0].model
    monkeypatch.setattr(transformer, "__class__", type("OtherModel", (type(transformer),), {}))
    student = before(NARROW, few, teacher)
    assert "new layers" in caplog.text
    monkeypatch.undo()
    new = before(replace(NARROW, new=True), few, teacher)
    np.testing.assert_array_equal(student.vectors(np.arange(4)), new.vectors(np.arange(4)))


@pytest.mark.parametrize(
    "recipe",
    [
        LayerQueries(layers=(0, 9)),
        NarrowQueries(width=100),
        NarrowQueries(layers=(6,)),
        NarrowQueries(new=True, width=384),
        ModelQueries(model=str(Path(__file__).parent)),
        StaticQueries(width=400),
    ],
    ids=repr,
)
def test_what_cannot_be_is_refused_before_any_text_is_encoded(teacher, recipe, monkeypatch, tmp_path):
    monkeypatch.setattr(type(teacher), "encode", None)
    with pytest.raises(ConfigError, match=r"layers|width|holds no model"):
        distil_encoder(["list files", "stop a service"], out=tmp_path / "out", teacher=teacher, recipe=recipe)


def test_a_student_with_documents_of_its_own_is_no_encoder_for_the_teachers_index(tmp_path):
    labels, objective = Qrels({"q0": {"d0": 1}}), EmbedDistill(documents="student")
    with pytest.raises(ConfigError, match="the student has its own"):
        distil_encoder(["list files"], out=tmp_path / "out", labels=labels, objective=objective)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("documents", ["teacher", "student"])
def test_labels_scores_and_vectors_teach_it_too(few, teacher, other, documents):
    labels = Labels(np.arange(101), np.arange(100), np.ones(100, np.float32))
    recipe = ModelQueries(model=other, beginnings=0, epochs=1, least_steps=1, precision="float32")
    objective = EmbedDistill(documents=documents)
    system = objective.run(replace(few, labels=labels), teacher, student=recipe, progress=False)
    stored = system.documents.stored()
    if documents == "student":
        own = encoder_of(system, teacher).encode_document(list(few.corpus.texts_of([3])))
        np.testing.assert_allclose(stored[3], own[0], atol=1e-5)
    else:
        np.testing.assert_array_equal(stored, few.documents)


def test_what_is_frozen_stays(few, teacher, other):
    parameters = [parameter.detach().clone() for parameter in teacher.model.parameters()]
    ModelQueries(model=other, beginnings=0, epochs=1, least_steps=1).run(few, teacher, progress=False)
    assert all(torch.equal(old, new) for old, new in zip(parameters, teacher.model.parameters(), strict=True))
