import json

import numpy as np
import pytest

pytest.importorskip("torch")

from limbeck.data import Ids, Vectors
from limbeck.errors import ConfigError, DataError
from limbeck.evaluate import Interval
from limbeck.index import CodeIndex
from limbeck.jobs.designs import CODE_BYTES, at_lists, command, designs, families
from limbeck.jobs.plan import plan, planned_bytes
from limbeck.jobs.plan_report import Constraints, Plan, Planned, size_text
from limbeck.jobs.plan_sample import draw_sample
from limbeck.quantisers import ProductQuantiser
from limbeck.testing import clustered


@pytest.fixture(scope="module")
def corpus():
    values = clustered(900, 16, seed=0)
    return Vectors(Ids.from_iterable(map(str, range(900))), unit(values))


@pytest.fixture(scope="module")
def queries():
    return Vectors(Ids.from_iterable(f"q{row}" for row in range(300)), unit(clustered(300, 16, seed=0)))


def unit(values):
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype("f4")


def planned(corpus, queries, **options):
    given = {"methods": ["exact", "opq"], "code_bytes": [2, 4], "seconds": 0.0, "progress": False}
    return plan(corpus, queries, similarity="cosine", **{**given, **options})


def row(name, *, size=100.0, ms=1.0, kept=0.5):
    share = Interval(kept, kept - 0.05, kept + 0.05)
    return Planned(
        method=name,
        code_bytes=4,
        lists=None,
        probes=None,
        refinement="none",
        bytes_per_document=size / 10,
        index_bytes=size,
        overlap=share,
        kept=None,
        ms=ms,
        ms_planned=ms,
        build_seconds=1.0,
        build_seconds_planned=2.0,
        command=name,
    )


def of(rows, **limits):
    return Plan(
        title="t", constraints=Constraints(documents=10, **limits), rows=tuple(rows), sample=5, queries=3
    )


def test_designs_are_measured_and_the_sample_stays_within_its_limit(corpus, queries):
    found = planned(corpus, queries, sample=500, documents=10_000)
    assert [row.method for row in found.rows] == ["OPQ", "OPQ", "exact"]
    assert (found.sample, found.queries) == (500, 60)
    exact = found.rows[-1]
    assert exact.overlap == Interval(1.0, 1.0, 1.0)
    assert exact.index_bytes == 10_000 * 4 * 16
    small, large = found.rows[:2]
    assert small.code_bytes == 2
    assert small.overlap.low <= small.overlap.mean <= small.overlap.high < 1
    assert small.overlap.mean < large.overlap.mean
    assert all(row.ms > 0 and row.ms_planned >= row.ms for row in found.rows)
    assert small.build_seconds_planned == pytest.approx(20 * small.build_seconds)


def test_overlap_is_that_of_the_same_index_built_by_hand(corpus, queries):
    from limbeck.evaluate import overlap
    from limbeck.index import Flat
    from limbeck.types import Reps

    sample = draw_sample(corpus, queries, similarity="cosine", progress=False)
    quantiser = ProductQuantiser(code_bytes=4, rotate=True).fit(sample.data.documents, seed=0)
    index = CodeIndex(quantiser, quantiser.encode(sample.data.documents))
    asked = Reps.single(sample.judged)
    exact = Flat(sample.data.documents).search(asked, 20)
    found = planned(corpus, queries, methods=["opq"], code_bytes=[4]).rows[0]
    assert found.overlap.mean == pytest.approx(overlap(index.search(asked, 10), exact, k=10).mean())


@pytest.mark.parametrize(
    "name", ["pq", "opq", "fast-scan", "ivf-distil", "limbeck", "lists", "rabitq", "sq8", "hnsw"]
)
def test_every_family_builds_and_says_how(corpus, queries, name):
    found = planned(corpus, queries, methods=[name], code_bytes=[4], documents=2000)
    assert found.rows, found.notes
    for each in found.rows:
        assert each.command
        assert each.index_bytes > 0
        assert (each.lists is None) == (name not in ("ivf-distil", "lists", "rabitq"))
    if name == "ivf-distil":
        assert [each.lists for each in found.rows] == [45] * 3
        assert [each.probes for each in found.rows] == [3, 5, 12]


@pytest.mark.parametrize("lists", [None, 12])
def test_planned_bytes_are_those_of_an_index_of_that_size(lists):
    """12 lists at 144 documents, 24 at 576: the sizes at which the number of lists is its square root."""
    from limbeck.jobs.designs import Design
    from limbeck.recipes.compress import OPQ

    vectors = clustered(576, 16, seed=0)
    quantiser = ProductQuantiser(code_bytes=4, bits=4, lists=lists, rotate=True).fit(vectors[:144], seed=0)
    index = CodeIndex(quantiser, quantiser.encode(vectors[:144]))
    design = Design(method="OPQ", recipe=OPQ(code_bytes=4, bits=4, lists=lists))
    more = None if lists is None else 24
    large = ProductQuantiser(code_bytes=4, bits=4, lists=more, rotate=True).fit(vectors, seed=0)
    expected = CodeIndex(large, large.encode(vectors)).nbytes
    assert planned_bytes(design, index, 576) == pytest.approx(expected)


def test_a_size_that_does_not_exist_is_left_out_with_the_reason(corpus, queries):
    found = planned(corpus, queries, code_bytes=[3, 4])
    assert len(found.rows) == 2
    assert any("OPQ 3 bytes" in note and "must divide" in note for note in found.notes)


def test_what_is_asked_for_decides_which_is_best():
    rows = [
        row("small", size=10, kept=0.5),
        row("good", size=50, kept=0.8),
        row("slow", size=90, ms=9, kept=0.9),
    ]
    assert of(rows).best is None
    assert of(rows, quality=0.7).best == rows[1]  # the smallest that keeps it
    assert of(rows, quality=0.8).best == rows[2]  # .8 - .05 is not surely .8
    assert of(rows, memory=60).best == rows[1]  # the best that fits
    assert of(rows, latency=5.0, memory=20).best == rows[0]
    impossible = of(rows, latency=5.0, quality=0.85)
    assert impossible.best is None
    assert [impossible.verdict(each) for each in rows] == [
        "misses quality",
        "misses quality",
        "misses latency",
    ]


def test_the_frontier_leaves_out_what_another_beats_in_everything():
    rows = [
        row("a", size=10, ms=1, kept=0.5),
        row("b", size=20, ms=2, kept=0.5),
        row("c", size=20, ms=2, kept=0.7),
    ]
    found = of(rows)
    assert [found.is_on_frontier(each) for each in rows] == [True, False, True]


def test_the_plan_is_a_table_in_markdown_json_and_for_the_terminal(corpus, queries):
    found = planned(corpus, queries, quality=0.3)
    text = found.to_markdown()
    assert text.startswith("**900 documents of 16 dimensions**")
    assert "`limbeck build --corpus CORPUS --similarity cosine --out INDEX --bytes 2`" in text
    content = json.loads(found.to_json())
    assert [each["verdict"] for each in content["rows"]].count("best") == 1
    assert content["constraints"]["quality"] == 0.3
    assert found.to_rich().row_count == 3


@pytest.mark.long  # loads a model; tests/cli does the same on a smaller scale
def test_labels_give_the_share_of_rr_kept_and_their_documents_are_in_the_sample(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path))
    pytest.importorskip("sentence_transformers")
    from limbeck.data import Corpus, Dataset, Document, Qrels, Queries

    words = [f"word{n}" for n in range(60)]
    texts = [" ".join(np.random.default_rng(n).choice(words, 8)) for n in range(400)]
    documents = Corpus.from_documents(Document(f"d{n}", text=text) for n, text in enumerate(texts))
    asked = Queries.from_pairs((f"q{n}", " ".join(texts[n].split()[:4])) for n in range(60))
    labels = {f"q{n}": {f"d{n}": 1} for n in range(60)}
    split = {"train": dict(list(labels.items())[:30]), "dev": dict(list(labels.items())[30:])}
    data = Dataset("made", documents, asked, {name: Qrels(part) for name, part in split.items()})
    sample = draw_sample(data, teacher=_teacher(), most=310, progress=False)
    assert len(sample.data.documents) == 310
    assert len(sample.labels) == 30
    assert np.diff(sample.labels.indptr).tolist() == [1] * 30
    found = plan(
        data, teacher=_teacher(), methods=["exact", "sq8"], seconds=0.0, measure="RR@10", progress=False
    )
    assert found.rows[-1].kept == Interval(1.0, 1.0, 1.0)


def _teacher():
    from limbeck.encoders import SentenceEncoder
    from limbeck.errors import MissingExtra

    try:
        return SentenceEncoder.open(device="cpu")
    except MissingExtra as missing:
        pytest.skip(str(missing))


def test_without_queries_documents_stand_in_and_the_plan_says_so(corpus):
    found = planned(corpus, None, sample=600)
    assert found.queries == 300  # those outside the sample
    assert any("documents stand in" in note for note in found.notes)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"methods": ["opq", "annoy"]}, "there are no designs annoy"),
        ({"measure": "RR@10"}, "needs labels"),
        ({"quality": 1.5}, "share in"),
        ({"memory": 0}, "`memory`"),
        ({"documents": 0}, "`documents`"),
    ],
)
def test_what_cannot_be_planned_is_refused(corpus, queries, options, says):
    with pytest.raises(ConfigError, match=says):
        planned(corpus, queries, **options)


def test_too_few_documents_or_queries_are_refused(corpus, queries):
    few = Vectors(Ids.from_iterable(map(str, range(20))), corpus.values[:20])
    with pytest.raises(DataError, match="at least 300 documents"):
        planned(few, queries)
    with pytest.raises(DataError, match="at least 20 queries"):
        planned(corpus, Vectors(Ids.from_iterable("ab"), queries.values[:2]))
    with pytest.raises(ConfigError, match="similarity='cosine'"):
        plan(corpus, queries, progress=False)


def test_commands_are_what_a_user_types():
    known = families()
    assert command(known["distil"].make(16, 0), effort=None, source="data") == (
        "limbeck distil --corpus data --out INDEX --bytes 16"
    )
    assert command(known["ivf-distil"].make(8, 30), effort=0.1, source="d.npy", queries="q.npy") == (
        "limbeck distil --corpus d.npy --queries q.npy --out INDEX --bytes 8 --lists 30; "
        "limbeck search INDEX --effort 0.1"
    )
    assert "fast_scan=True" in command(known["fast-scan"].make(8, 0), effort=None, source="d")
    assert "--bits 4" in command(known["fast-scan"].make(8, 0), effort=None, source="d")
    assert command(known["exact"].make(0, 0), effort=None, source="d") == "limbeck.index.Flat(vectors)"
    assert at_lists(known["rabitq"].make(0, 30), 77).recipe.lists == 77


def test_the_designs_tried_by_default_come_in_every_size():
    tried = list(designs(None, code_bytes=CODE_BYTES, lists=30))
    names = [design.method for design in tried]
    assert names.count("OPQ") == len(CODE_BYTES)
    assert names.count("exact") == 1
    assert "HNSW" not in names


def test_sizes_are_written_for_people():
    assert [size_text(n) for n in (12, 3400, 17.0e6, 1.54e9)] == ["12 B", "3.40 kB", "17.0 MB", "1.54 GB"]
