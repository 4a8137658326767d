import json

import numpy as np
import pytest

from limbeck.data import Ids, Vectors
from limbeck.errors import ConfigError, DataError
from limbeck.index.fast_scan import FastScanIndex
from limbeck.jobs.autopsy import autopsy
from limbeck.jobs.make import distil
from limbeck.recipes.compress import OPQ
from limbeck.testing import clustered


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("autopsy")
    corpus = Vectors(Ids.from_iterable(f"d{row}" for row in range(600)), clustered(600, 16, seed=0))
    queries = Vectors(Ids.from_iterable(f"q{row}" for row in range(90)), clustered(90, 16, seed=1))
    distil(corpus, out=folder / "i", recipe=OPQ(code_bytes=4, bits=4), similarity="dot", progress=False)
    return folder, corpus, queries


def test_an_artefact_and_its_vectors_are_enough(made):
    folder, corpus, queries = made
    found = autopsy(folder / "i", corpus, queries)
    assert found.title == "OPQ over vectors"
    assert len(found.autopsy.lost) == round(float((1 - found.autopsy.overlap).sum()) * 10)
    first = json.loads(found.to_json())["lost"][0]
    assert first["query_id"].startswith("q")
    assert first["document_id"] == f"d{first['document']}"


def test_of_many_queries_every_nth_is_looked_at(made):
    folder, corpus, queries = made
    found = autopsy(folder / "i", corpus, queries, most=40)
    assert found.autopsy.queries == 30
    assert found.query_ids[1] == "q3"


def test_it_is_saved_as_json_and_plot(made, tmp_path):
    pytest.importorskip("matplotlib")
    folder, corpus, queries = made
    found = autopsy(folder / "i", corpus, queries, fast_scan=True)
    written = found.save(tmp_path / "out")
    assert [path.name for path in written] == ["autopsy.json", "autopsy.png"]
    assert json.loads(written[0].read_text())["k"] == 10


def test_a_searcher_that_is_open_is_taken_as_it_is(made):
    import limbeck

    folder, corpus, queries = made
    searcher = limbeck.open(folder / "i", fast_scan=True)
    assert isinstance(searcher.index, FastScanIndex)
    assert autopsy(searcher, corpus, queries).autopsy.counts["list"] == 0


def test_other_vectors_and_missing_queries_are_refused(made, tmp_path):
    folder, corpus, queries = made
    with pytest.raises(ConfigError, match="--queries"):
        autopsy(folder / "i", corpus)
    renamed = Vectors(Ids.from_iterable(map(str, range(600))), corpus.values)
    with pytest.raises(DataError, match="ids of their own"):
        autopsy(folder / "i", renamed, queries)
    fewer = Vectors(Ids.from_iterable("ab"), np.ones((2, 16), "f4"))
    with pytest.raises(DataError, match="2 with ids"):
        autopsy(folder / "i", fewer, queries)
