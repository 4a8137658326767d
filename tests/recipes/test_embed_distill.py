"""EmbedDistill's exact identities (a student that is its teacher, inherited documents), on real texts and MiniLM."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from limbeck.data.labels import Labels
from limbeck.data.text_data import TextData
from limbeck.data.vector_data import VectorData
from limbeck.documents import Bank, Live, SumBank
from limbeck.encoders.static_student import tokenizer_of
from limbeck.encoders.texts import TextList
from limbeck.errors import ConfigError
from limbeck.evaluate.overlap import overlap
from limbeck.index.flat import Flat
from limbeck.losses.distil import listnet
from limbeck.losses.vectors import match_documents, match_queries
from limbeck.recipes.compress import OPQ
from limbeck.recipes.embed_distill import EmbedDistill
from limbeck.recipes.limbeck import Limbeck
from limbeck.recipes.static_student import StaticQueries
from limbeck.recipes.students import encoder_of, with_beginnings
from limbeck.recipes.through_codes import ThroughCodes, over
from limbeck.recipes.transformer_student import LayerQueries
from limbeck.train.system import TrainingQueries, training_step
from limbeck.types import Batch, Candidates, Reps, Step

QUERIES = 200
WHOLE = LayerQueries(layers=(0, 1, 2, 3, 4, 5), precision="float32")
SHORT = StaticQueries(with_documents=False, epochs=1, least_steps=8, batch_size=64)


@pytest.fixture(scope="module")
def data(real_texts) -> TextData:
    """Labels are made up: document i for query i, and one more for every third."""
    relevant = [[row, row + 1] if row % 3 == 0 else [row] for row in range(QUERIES)]
    indptr = np.cumsum([0, *map(len, relevant)])
    labels = Labels(indptr, np.concatenate(relevant).astype(np.int64), np.ones(indptr[-1], np.float32))
    return replace(
        real_texts, queries=real_texts.queries[:QUERIES], vectors=real_texts.vectors[:QUERIES], labels=labels
    )


def composed(data, teacher, recipe, student):
    return recipe._composed(data, teacher, student, progress=False)[0]


def first_step(system, data, count=16):
    with torch.no_grad():
        return training_step(system, TrainingQueries(vectors=data.vectors).batch(np.arange(count)))


def test_a_student_that_is_its_teacher_has_nothing_to_match_and_no_gradient_from_the_scores(data, teacher):
    system = composed(data, teacher, EmbedDistill(), WHOLE)
    step = first_step(system, data)
    assert float(match_queries()(step).max()) < 1e-4
    torch.testing.assert_close(step.scores["docs"], step.teacher["docs"], atol=1e-5, rtol=0)
    scores = step.scores["docs"].detach().requires_grad_()
    listnet(
        scores / 0.05, step.teacher["docs"] / 0.05, step.candidates.mask.expand(scores.shape)
    ).sum().backward()
    assert float(scores.grad.abs().max()) < 1e-4


def test_a_symmetric_student_that_is_its_teacher_encodes_documents_as_it_does(data, teacher):
    system = composed(data, teacher, EmbedDistill(documents="student", match_documents=1.0), WHOLE)
    step = first_step(system, data)
    assert float(match_documents()(step).max()) < 1e-4
    np.testing.assert_allclose(system.documents.stored()[:40], data.documents[:40], atol=1e-5)


def test_inherited_documents_are_the_teachers_to_the_byte_and_have_no_parameters(data, teacher):
    before = data.documents.tobytes()
    system = EmbedDistill().run(data, teacher, student=SHORT, progress=False)
    assert isinstance(system.documents, Bank)
    assert system.documents.groups() == {}
    assert system.documents.stored().tobytes() == before


def test_a_score_is_off_by_no_more_than_the_distance_of_the_query_times_the_documents_length(data, teacher):
    step = first_step(composed(data, teacher, EmbedDistill(), SHORT), data)
    off = (step.scores["docs"] - step.teacher["docs"]).abs()
    bound = match_queries()(step)[:, None] * step.docs["docs"].flat.norm(dim=-1)
    assert bool((off <= bound + 1e-5).all())


def test_turning_the_students_whole_space_changes_no_score_but_the_match(data, teacher):
    step = first_step(composed(data, teacher, EmbedDistill(documents="student"), SHORT), data)
    turn = torch.linalg.qr(torch.randn(384, 384, generator=torch.Generator().manual_seed(0)))[0]
    query, docs = step.query.flat @ turn, step.docs["docs"].flat @ turn
    torch.testing.assert_close(query @ docs[0].T, step.scores["docs"], atol=1e-5, rtol=0)
    turned = replace(step, query=Reps.single(query))
    assert float((match_queries()(turned) - match_queries()(step)).abs().min()) > 0.1
    both = replace(turned, targets={"query": Reps.single(step.targets["query"].flat @ turn)})
    torch.testing.assert_close(match_queries()(both), match_queries()(step), atol=1e-5, rtol=0)


def test_documents_of_a_symmetric_student_pass_gradient_to_it(data, teacher):
    system = composed(data, teacher, EmbedDistill(documents="student"), SHORT)
    system.documents(torch.arange(16)[None])["docs"].flat.sum().backward()
    moved = system.query.vectors.grad.abs().sum(dim=1) > 0
    assert 100 < int(moved.sum()) < len(moved)  # the tokens of the candidates, and no others


def test_a_symmetric_student_needs_a_pool(data, teacher):
    live = composed(data, teacher, EmbedDistill(documents="student"), SHORT).documents
    assert isinstance(live, Live)
    with pytest.raises(ConfigError, match="InBatch"):
        live(torch.zeros((2, 3), dtype=torch.int64))


def test_matching_documents_is_the_mean_distance_of_those_that_count():
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=(2, 1, 5, 8)).astype(np.float32)
    mask = np.array([[True, True, False, True, False]])
    step = Step(
        batch=Batch(rows=torch.arange(1)),
        query=None,
        docs={"docs": Reps.single(torch.from_numpy(one)), "exact": Reps.single(torch.from_numpy(other))},
        candidates=Candidates(
            ids=torch.arange(5)[None], gains=torch.zeros(1, 5), mask=torch.from_numpy(mask)
        ),
        scores={},
    )
    expected = np.linalg.norm(one - other, axis=-1)[mask].mean()
    assert float(match_documents()(step)) == pytest.approx(expected, rel=1e-5)
    squares = np.square(np.linalg.norm(one - other, axis=-1))[mask].mean()
    assert float(match_documents(squared=True)(step)) == pytest.approx(squares, rel=1e-5)


def test_queries_without_labels_are_matched_like_those_with_some(data, teacher):
    more = replace(data, more_queries=["zip a folder"], more_vectors=teacher.encode_query(["zip a folder"]))
    system = composed(more, teacher, EmbedDistill(), SHORT)
    batch = TrainingQueries(vectors=np.concatenate([data.vectors, more.more_vectors])).batch(
        np.array([0, 5, QUERIES])
    )
    with torch.no_grad():
        step = training_step(system, batch)
    one_hot = system.objective["one hot"][1](step)
    assert float(one_hot[0]) > 0
    assert float(one_hot[2]) == 0
    assert float(match_queries()(step)[2]) > 0


def test_without_labels_it_says_what_to_run_instead(data, teacher):
    with pytest.raises(ConfigError, match="StaticQueries"):
        EmbedDistill().run(replace(data, labels=None), teacher, student=SHORT)


def test_beginnings_of_documents_are_more_queries_and_targets_are_the_teachers_vectors_of_them(data, teacher):
    begun = with_beginnings(data, teacher, tokens=8, most=50, seed=0, progress=False)
    assert list(begun.queries) == list(data.queries)
    assert len(begun.more_queries) == 50
    whole = set()
    for text in begun.more_queries:
        whole |= {one for one in data.corpus.texts_of(range(len(data.corpus))) if one.startswith(text)}
        assert len(teacher.model.tokenizer(text)["input_ids"]) <= 8
    assert len(whole) >= 40
    np.testing.assert_allclose(begun.more_vectors, teacher.encode_query(list(begun.more_queries)), atol=1e-5)


def test_beginnings_come_behind_queries_that_were_given(data, teacher):
    given = replace(data, more_queries=["zip a folder"], more_vectors=teacher.encode_query(["zip a folder"]))
    texts, vectors = LayerQueries(beginnings=8).told(given, teacher, progress=False)
    assert len(texts) == len(vectors) == QUERIES + 1 + len(data.corpus)
    np.testing.assert_array_equal(vectors[:QUERIES], data.vectors)
    np.testing.assert_array_equal(vectors[QUERIES], given.more_vectors[0])


def test_documents_are_read_behind_the_prompt_that_the_encoder_will_put_before_them(teacher):
    asking = teacher.with_model(
        teacher.model, replace(teacher.fingerprint, prompts={"query": "", "doc": "passage: "})
    )
    whole = tokenizer_of(teacher).encode("passage: copy a file").ids
    assert LayerQueries().read(TextList(["copy a file"]), asking).numbers.tolist() == whole
    plain = tokenizer_of(teacher).encode("copy a file").ids
    assert StaticQueries().read(TextList(["copy a file"]), asking).numbers.tolist() == plain


CODES = {
    "sums": Limbeck(code_bytes=8, least_steps=8, batch_size=64),
    "products": OPQ(code_bytes=16, bits=4),
    "products in lists": OPQ(code_bytes=16, bits=4, lists=4),
}


@pytest.fixture(scope="module", params=CODES.values(), ids=CODES)
def codes(request, data):
    vectors = VectorData(documents=data.documents, queries=data.vectors)
    told = {"progress": False} if isinstance(request.param, Limbeck) else {}
    return request.param.run(vectors, **told)


def codewords(system):
    return system.documents.groups()["codewords"][0].detach().numpy().copy()


def test_training_through_codes_leaves_codes_alone_and_serves_what_it_learned(data, teacher, codes):
    before = codewords(codes)
    system = ThroughCodes().run(data, teacher, codes, student=SHORT, progress=False)
    np.testing.assert_array_equal(system.documents.stored().codes, codes.documents.stored().codes)
    assert np.abs(codewords(system) - before).max() > 0
    np.testing.assert_array_equal(codewords(codes), before)
    queries = encoder_of(system, teacher).encode(data.queries, side="query")
    exact = Flat(data.documents).search(Reps.single(data.vectors), 10)
    assert overlap(system.build().search(queries, 10), exact, k=10).mean() > 0.3  # a thirtieth by chance


def test_codewords_with_rate_0_stay_as_they_are(data, teacher, codes):
    system = ThroughCodes(codeword_rate=0.0).run(data, teacher, codes, student=SHORT, progress=False)
    np.testing.assert_array_equal(codewords(system), codewords(codes))


def test_scores_in_training_are_those_of_the_index(data, teacher, codes):
    system = composed_through(data, teacher, codes)
    with torch.no_grad():
        step = training_step(system, TrainingQueries(vectors=data.vectors).batch(np.arange(8)))
    found = system.build().search(Reps.single(step.query.flat.numpy()), len(data.documents), effort=1.0)
    scores = np.zeros(found.ids.shape, np.float32)
    np.put_along_axis(scores, found.ids, found.scores, axis=1)
    rows = np.broadcast_to(step.candidates.ids.numpy(), step.scores["docs"].shape)
    expected = np.take_along_axis(scores, rows, axis=1)
    off = 0.02 if isinstance(codes.documents, SumBank) else 1e-4  # sums: the index rounds codewords to bytes
    np.testing.assert_allclose(step.scores["docs"].numpy(), expected, atol=off)


def composed_through(data, teacher, codes):
    texts, vectors = SHORT.told(data, teacher, progress=False)
    student = SHORT.student(texts, vectors, teacher, progress=False)
    return ThroughCodes()._composed(data, vectors, codes, student, SHORT)


def test_an_index_is_a_start_with_its_own_codes_and_codewords(codes):
    index = codes.build()
    start = over(index)
    np.testing.assert_array_equal(start.documents.stored().codes, index.codes.codes)
    np.testing.assert_allclose(
        codewords(start), codewords(codes), atol=0.01
    )  # sums of codewords are kept as bytes
    queries = Reps.single(np.random.default_rng(0).normal(size=(20, index.dim)).astype(np.float32))
    np.testing.assert_array_equal(start.build().search(queries, 10).ids, index.search(queries, 10).ids)


def test_what_nothing_is_taught_over_is_refused(data, teacher, codes):
    with pytest.raises(ConfigError, match="found: Flat"):
        over(Flat(data.documents))
    index = codes.build()
    moved = type(index)(index.quantiser, index.codes, query_map=np.eye(index.dim, dtype=np.float32))
    with pytest.raises(ConfigError, match="map of its own"):
        over(moved)
    bare = replace(codes, documents=Bank(data.documents))
    with pytest.raises(ConfigError, match="expected codes to train through; found Bank"):
        ThroughCodes().run(data, teacher, bare, student=SHORT, progress=False)
