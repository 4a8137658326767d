"""A data set with its vectors, as what recipes read."""

import numpy as np
import pytest

from limbeck.data import Corpus, Dataset, Document, Qrels, Queries
from limbeck.encoders.collection import encode_dataset
from limbeck.testing.encoders import HashEncoder


@pytest.fixture
def collection():
    corpus = Corpus.from_documents(Document(f"d{row}", "", f"text {row}") for row in range(5))
    queries = Queries.from_pairs((f"q{row}", f"number {row}") for row in range(4))
    graded = {"train": {"q0": {"d3": 1}, "q2": {"d1": 1}}, "dev": {"q1": {"d0": 1}}}
    dataset = Dataset("numbers", corpus, queries, {name: Qrels(part) for name, part in graded.items()})
    return encode_dataset(dataset, HashEncoder(16), ("train", "dev"), progress=False)


def test_texts_and_vectors_for_recipes_are_those_of_the_split(collection):
    data = collection.text_data(train="train", dev="dev", with_labels=True)
    assert (list(data.queries), list(data.dev_queries)) == (["number 0", "number 2"], ["number 1"])
    assert data.labels.documents.tolist() == [3, 1]
    encoder = HashEncoder(16)
    np.testing.assert_array_equal(data.vectors, encoder.encode_query(list(data.queries)))
    np.testing.assert_array_equal(data.dev_vectors, encoder.encode_query(["number 1"]))
    np.testing.assert_array_equal(data.documents, encoder.encode_document(list(data.corpus.texts())))
    same = collection.vector_data(train="train", dev="dev", with_labels=True)
    np.testing.assert_array_equal(same.queries, data.vectors)
    np.testing.assert_array_equal(same.labels.documents, data.labels.documents)


def test_labels_and_held_out_queries_are_there_only_when_asked_for(collection):
    data = collection.text_data(train="train", dev=None)
    assert data.labels is None
    assert data.dev_vectors is None
    assert not data.dev_queries
