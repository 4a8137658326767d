"""What integrations do without their hosts: the answers that they hand over, and how a missing host is told."""

import importlib
import sys

import numpy as np
import pytest

from limbeck.data import Document
from limbeck.errors import ConfigError, MissingExtra
from limbeck.index.document_store import FILE, DocumentStore
from limbeck.index.flat import Flat
from limbeck.index.store import publish
from limbeck.integrations.answering import found, opened
from limbeck.testing.encoders import HashEncoder

TEXTS = [f"word{row % 17} thing{row} part{row % 5}" for row in range(100)]
HOSTS = {"langchain": "langchain_core", "llama_index": "llama_index", "haystack": "haystack", "mteb": "mteb"}


@pytest.fixture(scope="module")
def searcher(tmp_path_factory):
    encoder, folder = HashEncoder(16), tmp_path_factory.mktemp("a") / "flat"

    def write(into):
        Flat(encoder.encode_document(TEXTS)).save(into)
        documents = (
            Document(f"d{row}", f"title {row}" if row % 2 else "", text, {"part": row % 5})
            for row, text in enumerate(TEXTS)
        )
        DocumentStore.write(into / FILE, documents)

    publish(folder, write, {"index": "flat", "encoder": encoder.fingerprint.to_json()})
    return opened(folder, encoder=encoder)


def test_what_is_found_is_the_documents_of_the_index_with_their_scores(searcher):
    for text in TEXTS[:5]:
        (answers,) = searcher.answers([text], 7)
        handed = found(searcher, text, 7)
        assert [(one.document.id, one.score) for one in handed] == [(one.id, one.score) for one in answers]
    assert opened(searcher) is searcher
    with pytest.raises(ConfigError, match="has its query encoder already"):
        opened(searcher, encoder=searcher.encoder)


def test_the_title_is_metadata_where_there_is_one(searcher):
    for one in found(searcher, TEXTS[0], 100):
        row = int(one.document.id[1:])
        expected = {"part": row % 5, "title": f"title {row}"} if row % 2 else {"part": row % 5}
        assert one.metadata == expected


def test_conditions_and_masks_leave_the_same_documents(searcher):
    mask = np.arange(100) % 5 == 3
    by_condition = found(searcher, TEXTS[0], 100, where={"part": 3})
    assert by_condition == found(searcher, TEXTS[0], 100, allowed=mask)
    assert {int(one.document.id[1:]) for one in by_condition} == set(np.flatnonzero(mask))


@pytest.mark.parametrize("module", HOSTS)
def test_a_host_that_is_not_there_is_named_with_its_extra(module, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == HOSTS[module]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, HOSTS[module], None)
    monkeypatch.delitem(sys.modules, f"limbeck.integrations.{module}", raising=False)
    with pytest.raises(MissingExtra, match=rf"pip install 'limbeck\[{module.replace('_', '-')}\]'"):
        importlib.import_module(f"limbeck.integrations.{module}")
