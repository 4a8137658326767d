"""The searcher: what it opens, what it refuses, and that its forms of asking agree."""

import numpy as np
import pytest

from limbeck.data import Document
from limbeck.errors import ConfigError, CorruptArtefact, DataError, EncoderMismatch, VersionMismatch
from limbeck.index.compressed import CodeIndex
from limbeck.index.document_store import FILE, DocumentStore
from limbeck.index.flat import Flat
from limbeck.index.store import publish
from limbeck.quantisers.product import ProductQuantiser
from limbeck.retrieve import Searcher
from limbeck.testing.encoders import HashEncoder

TEXTS = [f"word{row % 17} thing{row} part{row % 5}" for row in range(300)]


@pytest.fixture(scope="module")
def encoder():
    return HashEncoder(16)


@pytest.fixture(scope="module")
def vectors(encoder):
    return encoder.encode_document(TEXTS)


def published(folder, index, *, kind, encoder=None):
    def write(into):
        index.save(into)
        documents = (Document(f"d{row}", f"title {row}", text) for row, text in enumerate(TEXTS))
        DocumentStore.write(into / FILE, documents)

    made_by = encoder.fingerprint.to_json() if encoder else None
    publish(folder, write, {"index": kind, "encoder": made_by})
    return folder


@pytest.fixture(scope="module")
def flat(vectors, encoder, tmp_path_factory):
    return published(tmp_path_factory.mktemp("a") / "flat", Flat(vectors), kind="flat", encoder=encoder)


@pytest.fixture(scope="module")
def coded(vectors, encoder, tmp_path_factory):
    quantiser = ProductQuantiser(code_bytes=4).fit(vectors, seed=0)
    index = CodeIndex(quantiser, quantiser.encode(vectors))
    return published(tmp_path_factory.mktemp("a") / "coded", index, kind="codes", encoder=encoder)


def test_texts_and_their_vectors_find_the_same(flat, encoder):
    searcher = Searcher.open(flat, encoder=encoder)
    by_text = searcher.search(TEXTS[:5], 4)
    by_vector = searcher.search_vectors(encoder.encode_query(TEXTS[:5]), 4)
    assert by_text.ids.tolist() == by_vector.ids.tolist()
    assert by_text.ids[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_answers_are_the_documents_behind_the_hits(coded, encoder):
    searcher = Searcher.open(coded, encoder=encoder)
    hits = searcher.search(TEXTS[:3], 5)
    answers = searcher.answers(TEXTS[:3], 5)
    assert answers == searcher.answers_of(hits)
    for row, listed in enumerate(answers):
        assert [answer.id for answer in listed] == [f"d{place}" for place in hits.ids[row]]
        assert [answer.score for answer in listed] == hits.scores[row].tolist()
        assert [answer.text for answer in listed] == [TEXTS[place] for place in hits.ids[row]]


def test_what_is_not_there_is_no_answer(flat, encoder):
    searcher = Searcher.open(flat, encoder=encoder)
    (answers,) = searcher.answers(TEXTS[:1], 500)
    assert len(answers) == len(searcher) == 300


def test_rows_that_are_not_allowed_are_not_found(flat, encoder):
    allowed = np.ones(300, bool)
    allowed[0] = False
    hits = Searcher.open(flat, encoder=encoder).search(TEXTS[:1], 10, allowed=allowed)
    assert 0 not in hits.ids


def test_one_string_is_not_a_list_of_them(flat, encoder):
    with pytest.raises(DataError, match=r"search\(\[text\], k\)"):
        Searcher.open(flat, encoder=encoder).search("one text")


def test_text_needs_an_encoder(flat):
    with pytest.raises(ConfigError, match="search_vectors"):
        Searcher.open(flat).search(["text"])


def test_another_encoder_is_refused(flat):
    with pytest.raises(EncoderMismatch):
        Searcher.open(flat, encoder=HashEncoder(16, seed=1))


def test_an_encoder_of_another_width_is_refused_where_nothing_else_is_known(vectors, tmp_path):
    folder = published(tmp_path / "i", Flat(vectors), kind="flat")
    assert Searcher.open(folder, encoder=HashEncoder(16)).encoder is not None
    with pytest.raises(ConfigError, match="width 8"):
        Searcher.open(folder, encoder=HashEncoder(8))


def test_an_index_of_an_unknown_kind_is_of_another_version(vectors, tmp_path):
    folder = published(tmp_path / "i", Flat(vectors), kind="graph")
    with pytest.raises(VersionMismatch, match="graph"):
        Searcher.open(folder)


def test_codes_are_those_of_an_index_of_codes(flat, coded):
    assert Searcher.open(coded).codes.quantiser.code_bytes == 4
    with pytest.raises(ConfigError, match=r"kind .flat."):
        _ = Searcher.open(flat).codes


def test_a_searcher_says_what_it_holds(coded):
    assert repr(Searcher.open(coded)) == "Searcher(300 documents, codes)"


def test_a_changed_byte_is_noticed_before_anything_is_read(vectors, tmp_path):
    folder = published(tmp_path / "i", Flat(vectors), kind="flat")
    (file,) = folder.glob("gen-*/vectors.npy")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptArtefact, match=r"vectors\.npy"):
        Searcher.open(folder)


def test_threads_are_those_of_the_index(coded):
    assert Searcher.open(coded, threads=1).index.threads == 1
