"""The search model inside MTEB: its own evaluation of a task over compressed documents. About a minute."""

import pytest

pytest.importorskip("mteb", reason="needs limbeck[mteb]; `make test-integrations` installs it")

import mteb
import numpy as np
from datasets import Dataset as Table
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import CachedEmbeddingWrapper, ModelMeta, SearchEncoderWrapper, SearchProtocol
from mteb.models import SentenceTransformerEncoderWrapper as EncoderWrapper
from sentence_transformers import SentenceTransformer

from limbeck.data import Dataset
from limbeck.encoders.default_teacher import default_teacher
from limbeck.errors import ConfigError
from limbeck.integrations.mteb import CodeBackend, LimbeckSearch
from limbeck.recipes.compress import OPQ, PQ
from limbeck.recipes.limbeck import Limbeck

pytestmark = pytest.mark.filterwarnings("default")  # the host's own
METADATA = TaskMetadata(
    name="StandardLibrary",
    description="Functions of the standard library by the first sentence of their docstring.",
    dataset={"path": "limbeck/standard-library", "revision": "1"},
    type="Retrieval",
    category="t2t",
    modalities=["text"],
    eval_splits=["test"],
    eval_langs=["eng-Latn"],
    main_score="ndcg_at_10",
)


@pytest.fixture(scope="module")
def task(folder):
    """The task that MTEB runs, over data that are here already."""
    data = Dataset.open(folder.parent / "corpus")
    queries, labels = data.split("test")

    class StandardLibrary(AbsTaskRetrieval):
        metadata = METADATA

        def load_data(self, *args, **options):
            documents = [{"id": one.id, "title": one.title, "text": one.text} for one in data.corpus]
            asked = [
                {"id": name, "text": text} for name, text in zip(queries.ids, queries.texts, strict=True)
            ]
            self.dataset = {
                "default": {
                    "test": {
                        "corpus": Table.from_list(documents),
                        "queries": Table.from_list(asked),
                        "relevant_docs": labels.as_dict(),
                        "top_ranked": None,
                    }
                }
            }
            self.data_loaded = True

    return StandardLibrary


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    model = SentenceTransformer(str(default_teacher()), device="cpu")
    model.max_seq_length = 128
    meta = ModelMeta.create_empty({"name": "here/minilm", "similarity_fn_name": "cosine", "embed_dim": 384})
    wrapper = EncoderWrapper(model)
    wrapper.mteb_model_meta = meta
    return CachedEmbeddingWrapper(wrapper, tmp_path_factory.mktemp("vectors"))


def evaluated(task, model):
    (result,) = mteb.evaluate(model, task(), cache=None, show_progress_bar=False).task_results
    (scores,) = result.scores["test"]
    return scores


@pytest.fixture(scope="module")
def exact(task, encoder):
    return evaluated(task, SearchEncoderWrapper(encoder))


def test_mteb_takes_it_for_a_search_model_with_a_name_of_its_own(encoder):
    model = LimbeckSearch(encoder, OPQ(code_bytes=48))
    assert isinstance(model, SearchProtocol)
    assert model.mteb_model_meta.name == "here/minilm-OPQ-48"
    assert model.mteb_model_meta.adapted_from == "here/minilm"


@pytest.mark.parametrize(
    ("recipe", "least"),
    [(OPQ(code_bytes=64), 0.9), (Limbeck(code_bytes=32, epochs=1, least_steps=50), 0.9)],
    ids=["OPQ", "Limbeck"],
)
def test_an_evaluation_runs_over_codes_and_keeps_most_of_the_encoder(task, encoder, exact, recipe, least):
    found = evaluated(task, LimbeckSearch(encoder, recipe))
    assert exact["ndcg_at_10"] > 0.3
    assert found["ndcg_at_10"] >= least * exact["ndcg_at_10"]
    assert found["recall_at_1000"] == 1.0  # all 600 documents come back


def test_codes_without_loss_have_the_scores_of_exact_search(encoder):
    """PQ of 256 documents by 256 codewords a part loses nothing."""
    vectors = unit(256)
    queries, backend = unit(20), CodeBackend(PQ(code_bytes=8), similarity="cosine")
    backend.add_documents(3 * vectors, [f"d{row}" for row in range(256)])
    scores, places = backend.search(2 * queries, 10, None)
    expected = queries @ vectors.T
    order = np.argsort(-expected, axis=1)[:, :10]
    assert np.array_equal(places, order)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, order, axis=1), atol=1e-5)


def unit(rows):
    values = np.random.default_rng(rows).normal(size=(rows, 16)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_documents_that_are_given_are_ordered_and_no_others_come(encoder):
    vectors, queries = unit(256), unit(3)
    backend = CodeBackend(PQ(code_bytes=8, lists=4), similarity="dot")
    backend.add_documents(vectors, [f"d{row}" for row in range(256)])
    given = {"a": ["d9", "d3", "d200", "d4"], "c": ["d1"]}
    scores, places = backend.search(
        queries, 3, None, top_ranked=given, query_idx_to_id=dict(enumerate("abc"))
    )
    expected = vectors[[9, 3, 200, 4]] @ queries[0]
    assert places == [np.argsort(-expected)[:3].tolist(), [], [0]]
    np.testing.assert_allclose(
        scores[0], np.sort(expected)[::-1][:3], atol=0.5
    )  # residual codes of four lists lose some
    assert scores[1] == []


def test_a_corpus_after_another_takes_its_place(encoder):
    backend = CodeBackend(PQ(code_bytes=4), similarity="dot")
    with pytest.raises(ConfigError, match="no corpus"):
        backend.search(unit(2), 5, None)
    backend.add_documents(unit(300), list(map(str, range(300))))
    with pytest.raises(ConfigError, match="holds a corpus already"):
        backend.add_documents(unit(300), list(map(str, range(300))))
    backend.clear()
    backend.add_documents(unit(260), list(map(str, range(260))))
    assert len(backend.search(unit(2), 1000, None)[1][0]) == 260


def test_a_similarity_that_no_index_holds_is_refused():
    with pytest.raises(ConfigError, match="'MaxSim'"):
        CodeBackend(OPQ(), similarity="MaxSim")
