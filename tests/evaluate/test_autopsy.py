import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import ConfigError, ShapeError
from limbeck.evaluate import overlap
from limbeck.evaluate.autopsy import CAUSES, autopsy, lost_documents
from limbeck.evaluate.autopsy_plot import draw, plot_autopsy
from limbeck.evaluate.autopsy_report import as_json, summary, worst
from limbeck.index import CodeIndex, Flat
from limbeck.index.fast_scan import FastScanIndex
from limbeck.index.sums import SumIndex
from limbeck.quantisers import ProductQuantiser
from limbeck.quantisers.sums import SumQuantiser
from limbeck.testing import clustered
from limbeck.types import Hits, Reps

VECTORS, QUERIES = clustered(900, 16, seed=0), clustered(60, 16, seed=1)


def index_of(kind=CodeIndex, vectors=VECTORS, query_map=None, **constants):
    quantiser = ProductQuantiser(**{"code_bytes": 2, **constants}).fit(vectors, seed=0)
    return kind(quantiser, quantiser.encode(vectors), query_map=query_map)


def loss(found):
    return round(float((1 - found.overlap).sum()) * found.k)


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("lists", [None, 12])
def test_causes_are_exclusive_and_add_up_to_the_loss(metric, bits, rotate, lists):
    kinds = [CodeIndex] + [FastScanIndex] * (bits == 4)
    for kind in kinds:
        index = index_of(kind, metric=metric, bits=bits, rotate=rotate, lists=lists)
        found = autopsy(index, VECTORS, QUERIES, effort=0.2)
        assert sum(found.counts.values()) == len(found.lost) == loss(found) > 0
        assert found.by_query().sum() == found.by_rank().sum() == loss(found)
        per_query = (found.k * (1 - found.overlap)).round().astype(int)
        assert np.array_equal(found.by_query().sum(axis=1), per_query)
        assert len({(lost.query, lost.document) for lost in found.lost}) == len(found.lost)
        assert found.counts["rotation"] == 0  # rotations that are learnt are orthonormal
        assert (found.counts["list"] > 0) == (lists is not None)


def test_each_cause_is_what_a_naive_look_says():
    index = index_of(lists=12, rotate=True)
    found = autopsy(index, VECTORS, QUERIES, effort=0.25)
    quantiser, codes = index.quantiser, index.codes
    scores = QUERIES.astype(np.float64) @ quantiser.decode(codes).astype(np.float64).T
    routes = QUERIES @ quantiser.rotation.T @ quantiser.routing.T
    exact = Flat(VECTORS).search(Reps.single(QUERIES), 10)
    for lost in found.lost:
        order = np.argsort(-routes[lost.query], kind="stable")
        visited = np.isin(codes.lists, order[:3])
        assert lost.list_rank == 1 + int(np.flatnonzero(order == codes.lists[lost.document])[0])
        assert (lost.cause == "list") == (lost.list_rank > 3)
        assert exact.ids[lost.query, lost.exact_rank - 1] == lost.document
        assert lost.decoded_score == pytest.approx(scores[lost.query, lost.document], abs=1e-5)
        better = visited & (scores[lost.query] > lost.decoded_score + 1e-5)
        assert lost.rank >= 1 + better.sum()
        if lost.cause == "codes":
            assert better.sum() >= 10


def test_visiting_all_lists_leaves_no_loss_to_lists():
    found = autopsy(index_of(lists=12), VECTORS, QUERIES, effort=1.0)
    assert found.counts["list"] == 0
    assert found.probes == found.lists == 12


def test_equal_codes_are_ties():
    few = np.repeat(clustered(300, 16, seed=0)[:300], 4, axis=0)  # four documents to a code at least
    few = few + 1e-3 * np.random.default_rng(0).normal(size=few.shape).astype("f4")
    found = autopsy(index_of(vectors=few, code_bytes=1), few, QUERIES)
    assert found.counts["tie"] > 0
    for lost in found.lost:
        assert lost.cause in ("tie", "codes")


def test_what_rounded_tables_lose_is_lost_to_refinement():
    index = index_of(FastScanIndex, bits=4, code_bytes=4)
    found = autopsy(index, VECTORS, QUERIES)
    plain = autopsy(CodeIndex(index.quantiser, index.codes), VECTORS, QUERIES)
    assert found.counts["refinement"] > 0
    assert plain.counts["refinement"] == 0
    rescored = FastScanIndex(index.quantiser, index.codes, rescore=900)
    assert autopsy(rescored, VECTORS, QUERIES).counts == plain.counts


def test_a_query_map_that_turns_queries_away_loses_to_rotation():
    away = np.diag(np.geomspace(1, 0.01, 16)[::-1]).astype("f4")
    found = autopsy(index_of(code_bytes=16, query_map=away), VECTORS, QUERIES)
    assert found.counts["rotation"] > found.counts["codes"]
    assert sum(found.counts.values()) == loss(found)


def test_sums_of_codewords_are_looked_into_as_well():
    quantiser = SumQuantiser(code_bytes=4, slices=2).fit(VECTORS, seed=0)
    index = SumIndex(quantiser, quantiser.encode(VECTORS))
    found = autopsy(index, VECTORS, QUERIES)
    assert sum(found.counts.values()) == loss(found) > 0
    assert found.distortion.squared.shape == (2,)
    error = np.square(quantiser.decode(index.codes) - VECTORS).sum(axis=1).mean()
    assert found.distortion.squared.sum() == pytest.approx(error, rel=1e-4)


def test_distortion_by_sub_space_is_the_error_of_its_slice():
    index = index_of(rotate=True, lists=5, code_bytes=4)
    found = autopsy(index, VECTORS, QUERIES, effort=1.0).distortion
    turned = VECTORS @ index.quantiser.rotation.T
    errors = (index.quantiser.decode_rotated(index.codes) - turned).reshape(900, 4, 4)
    np.testing.assert_allclose(found.squared, np.square(errors).sum(axis=2).mean(axis=0), rtol=1e-4)
    assert 0 < found.share < 1


def test_dead_and_overfull_codewords_and_lists_are_counted():
    index = index_of(lists=5)
    quantiser, codes = index.quantiser, index.codes
    far = quantiser.with_parts(
        {"base": np.concatenate([quantiser.base, np.full((1, 16), 50, "f4")])}
        | {
            name: np.concatenate([getattr(quantiser, field), np.full((1, 16), 50, "f4")])
            for name, field in (("routing", "routing"), ("assign.base", "assign_base"))
        }
    )
    usage = autopsy(CodeIndex(far, codes), VECTORS, QUERIES, effort=1.0).usage
    assert usage.dead_lists == 1
    assert usage.lists.sum() == 900
    assert np.array_equal(usage.lists, np.bincount(codes.lists, minlength=6))
    assert np.array_equal(usage.codewords[1], np.bincount(codes.codes[:, 1], minlength=256))
    assert usage.dead_codewords == int((usage.codewords == 0).sum())
    assert (usage.effective_codewords <= 256).all()
    assert usage.overfull_codewords == int((usage.codewords > 4 * 900 / 256).sum())


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 6))
def test_lost_documents_are_as_many_as_overlap_says(seed, k):
    rng = np.random.default_rng(seed)
    scores = -np.sort(-rng.integers(0, 5, size=(4, 12)).astype("f4"), axis=1)
    exact = Hits(np.stack([rng.permutation(12) for _ in range(4)]), scores)
    hits = Hits(np.stack([rng.permutation(20)[:k] for _ in range(4)]), np.zeros((4, k), "f4"))
    missing = lost_documents(hits, exact, k)
    assert [len(places) for places in missing] == (k * (1 - overlap(hits, exact, k))).round().tolist()


def test_the_json_holds_every_lost_document_by_name():
    found = autopsy(index_of(lists=12), VECTORS, QUERIES)
    names = [f"d{row}" for row in range(900)]
    content = json.loads(as_json(found, query_ids=[f"q{row}" for row in range(60)], document_ids=names))
    assert len(content["lost"]) == sum(content["lost_by_cause"].values()) == loss(found)
    first = content["lost"][0]
    assert first["document_id"] == f"d{first['document']}"
    assert sum(sum(column) for column in content["lost_by_rank"].values()) == loss(found)
    assert len(content["usage"]["lists"]) == 12
    assert "document_id" not in json.loads(as_json(found))["lost"][0]


def test_the_summary_names_causes_worst_losses_and_the_state_of_codes():
    rich = pytest.importorskip("rich.console")
    found = autopsy(index_of(lists=12), VECTORS, QUERIES)
    console = rich.Console(width=200, record=True, file=io.StringIO())
    console.print(summary(found, document_ids=[f"d{row}" for row in range(900)]))
    text = console.export_text()
    for word in (
        *CAUSES,
        "overlap@10",
        "Distortion:",
        "Codewords:",
        "Lists:",
        f"d{worst(found, 1)[0].document}",
    ):
        assert word in text


@pytest.mark.parametrize("lists", [None, 12])
def test_the_plot_shows_losses_distortion_codewords_and_lists(lists, tmp_path):
    pytest.importorskip("matplotlib")
    found = autopsy(index_of(lists=lists), VECTORS, QUERIES)
    figure = draw(found, "a title")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:2] == ["Lost of the exact top 10", "Distortion by sub-space"]
    assert len(titles) == (3 if lists is None else 4)
    heights = sum(bar.get_height() for bar in figure.axes[0].patches)
    assert heights == pytest.approx(100 * loss(found) / 60)
    assert plot_autopsy(found, tmp_path / "a.png").stat().st_size > 10_000


def test_what_cannot_be_looked_into_is_refused():
    with pytest.raises(ConfigError, match="Flat"):
        autopsy(Flat(VECTORS), VECTORS, QUERIES)
    with pytest.raises(ShapeError, match="must be the vectors that it was made of"):
        autopsy(index_of(), VECTORS[:-1], QUERIES)
    with pytest.raises(ConfigError, match="`k`"):
        autopsy(index_of(), VECTORS, QUERIES, k=901)
