import importlib.util
from dataclasses import replace

import numpy as np
import pytest

import limbeck
from limbeck.data import Ids, Vectors
from limbeck.errors import ConfigError, CorruptArtefact, MissingExtra
from limbeck.index import Flat
from limbeck.index.engine_search import innermost
from limbeck.index.opening import kind_of, open_index
from limbeck.jobs.make import Recipe, distil, with_code_bytes
from limbeck.quantisers.faiss_build import first_dimensions, principal_axes, random_rotation
from limbeck.quantisers.itq import learn_cube_rotation
from limbeck.recipes.bit_codes import ITQ, LSH, Binary, RaBitQ
from limbeck.recipes.engines import HNSW, HNSWOPQ, IMI, IVF, IVFOPQ
from limbeck.recipes.packages import HNSWLib, RandomHyperplaneForest, ScaNN
from limbeck.recipes.rivals import PCASQ8, SQ8, LocalSearchVQ, ResidualVQ
from limbeck.types import Reps

DIM = 32
WHOLE = [IVF(lists=16), IMI(bits=3), HNSW(), IVFOPQ(code_bytes=8, lists=16, refine="float", factor=200)]
CODES = [
    IVF(lists=16, store="sq8"),
    IMI(bits=3, store="sq8"),
    IMI(bits=2, store="fp16"),
    IVFOPQ(code_bytes=8, lists=None, refine="sq8"),
    IVFOPQ(code_bytes=16, lists=16),
    HNSW(store="sq8"),
    HNSW(store="fp16"),
    HNSWOPQ(code_bytes=16),
    HNSWOPQ(code_bytes=8, refine="fp16"),
    LSH(code_bytes=16),
    LSH(code_bytes=8, refine="float"),
    ITQ(code_bytes=4),
    ITQ(code_bytes=2, refine="sq8", factor=8.0),
    Binary(),
    Binary(rescore="none"),
    Binary(rescore="sq8"),
    RaBitQ(),
    RaBitQ(bits=3, query_bits=0),
    RaBitQ(bits=4, lists=16),
    RaBitQ(bits=1, lists=16, refine="sq8"),
    SQ8(),
    SQ8(lists=16),
    PCASQ8(code_bytes=16),
    PCASQ8(code_bytes=16, cut="matryoshka"),
    ResidualVQ(code_bytes=4),
    ResidualVQ(code_bytes=3, lists=4, beam=2),
    LocalSearchVQ(code_bytes=4, iterations=3, searches=4),
    LocalSearchVQ(code_bytes=4, iterations=2, searches=2, lists=4),
]
PACKAGES = {
    "annoy": RandomHyperplaneForest(trees=10),
    "hnswlib": HNSWLib(links=16, ef_construction=60),
    "scann": ScaNN(leaves=20, searched=0.5),
}
KNOWN = [
    pytest.param(
        recipe,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(name) is None, reason=f"needs pip install 'limbeck[{name}]'"
        ),
    )
    for name, recipe in PACKAGES.items()
]


def overlap(found, expected):
    return np.mean([np.isin(a, b).mean() for a, b in zip(found.ids, expected.ids, strict=True)])


@pytest.fixture(scope="module")
def small(data):
    return replace(data, documents=data.documents[:700], dev_queries=data.dev_queries[:40])


@pytest.fixture(scope="module")
def queries(small):
    return Reps.single(small.dev_queries)


def uneven(data):
    """Inner products of vectors of many lengths: where distance and inner product disagree."""
    lengths = np.random.default_rng(0).uniform(0.3, 1.5, size=(len(data.documents), 1))
    return replace(data, documents=(data.documents * lengths).astype(np.float32))


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("recipe", WHOLE, ids=lambda recipe: type(recipe).__name__)
def test_all_lists_and_all_candidates_are_exact_search(recipe, metric, small, queries):
    for data in (replace(small, metric=metric), replace(uneven(small), metric=metric)):
        found = recipe.run(data).build().search(queries, 10, effort=1.0)
        expected = Flat(data.documents, metric=metric).search(queries, 10)
        assert np.array_equal(found.ids, expected.ids)
        assert np.allclose(found.scores, expected.scores, atol=1e-5)


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("recipe", [*WHOLE, *CODES, *KNOWN], ids=str)
def test_it_builds_searches_saves_and_opens_alike(recipe, metric, small, queries, tmp_path):
    data = replace(small, metric=metric)
    index = recipe.run(data).build()
    hits = index.search(queries, 10)
    assert all(len(set(line.tolist())) == 10 for line in hits.ids)
    assert ((hits.ids >= 0) & (hits.ids < len(index))).all()
    assert (np.diff(hits.scores, axis=1) <= 0).all()
    assert overlap(hits, Flat(data.documents, metric=metric).search(queries, 10)) > 0.35
    index.save(tmp_path)
    opened = open_index(tmp_path, kind=kind_of(index))
    for effort in (None, 1.0):
        before, after = (found.search(queries, 10, effort=effort) for found in (index, opened))
        assert np.array_equal(before.ids, after.ids)
        assert np.array_equal(before.scores, after.scores)
    assert opened.nbytes == index.nbytes
    assert (opened.dim, len(opened), opened.code_bytes) == (index.dim, len(index), index.code_bytes)


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("recipe", KNOWN, ids=lambda recipe: type(recipe).__name__)
def test_packages_at_full_effort_are_exact_search_and_leave_rows_out(
    recipe, metric, small, queries, tmp_path
):
    data = replace(small, metric=metric)
    index = recipe.run(data).build()
    expected = Flat(data.documents, metric=metric)
    found = index.search(queries, 10, effort=1.0)
    assert overlap(found, expected.search(queries, 10)) > 0.999
    assert np.allclose(found.scores, expected.search(queries, 10).scores, atol=1e-4)
    allowed = np.arange(len(index)) % 7 == 3
    only = index.search(queries, 10, effort=1.0, allowed=allowed)
    assert np.array_equal(only.ids, expected.search(queries, 10, allowed=allowed).ids)
    assert index.search(Reps.single(small.dev_queries[:0]), 3).ids.shape == (0, 3)
    index.save(tmp_path)
    written = sum(path.stat().st_size for path in (tmp_path / "package").iterdir())
    assert written == index.nbytes
    next((tmp_path / "package").iterdir()).write_bytes(b"damaged")
    with pytest.raises(CorruptArtefact, match="checksum"):
        open_index(tmp_path, kind="package")


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_names_its_extra(name, monkeypatch, small):
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(MissingExtra, match=rf"limbeck\[{name}\]"):
        PACKAGES[name].run(small).build()


def test_memory_mapped_documents_give_the_same_index(small, queries, tmp_path, monkeypatch):
    np.save(tmp_path / "v.npy", small.documents)
    mapped = replace(small, documents=np.load(tmp_path / "v.npy", mmap_mode="r"))
    expected = {}
    for data in (small, mapped):
        for recipe in (IVF(lists=16), HNSW(store="sq8"), RaBitQ(bits=2), PCASQ8(code_bytes=8), Binary()):
            hits = recipe.run(data).build().search(queries, 5)
            assert np.array_equal(expected.setdefault(type(recipe), hits.ids), hits.ids)
        monkeypatch.setattr("limbeck.quantisers.faiss_build.BLOCK_ROWS", 97)


def test_the_same_seed_makes_the_same_index(small, queries):
    for recipe in (IVF(lists=16), HNSW(), LSH(code_bytes=4), RaBitQ(), ITQ(code_bytes=4)):
        first, second = (recipe.run(small).build().search(queries, 10) for _ in range(2))
        assert np.array_equal(first.ids, second.ids)
    other = LSH(code_bytes=4, seed=1).run(small).build().search(queries, 10)
    assert not np.array_equal(other.ids, LSH(code_bytes=4).run(small).build().search(queries, 10).ids)


def test_differing_sign_bits_are_angle_over_pi_of_all(small):
    code_bytes = 256  # 2,048 hyperplanes: a standard error of 0.011 for one pair, 0.0006 for the mean of 400
    index = LSH(code_bytes=code_bytes).run(small).build()
    hits = index.search(Reps.single(small.dev_queries), len(index), effort=1.0)
    cosine = np.take_along_axis(small.dev_queries @ small.documents.T, hits.ids, axis=1)
    expected = np.arccos(np.clip(cosine, -1, 1)) / np.pi
    found = -hits.scores / (8 * code_bytes)
    assert abs((found - expected).mean()) < 0.005
    assert np.abs(found - expected).max() < 0.08


def test_more_bits_tell_angles_better(small, queries):
    expected = Flat(small.documents).search(queries, 10)
    shares = [
        overlap(LSH(code_bytes=size).run(small).build().search(queries, 10), expected) for size in (2, 8, 32)
    ]
    assert shares == sorted(shares)


def test_the_rotation_of_itq_is_orthogonal_and_its_loss_never_rises(small):
    learned = learn_cube_rotation(small.documents, 16, iterations=50, seed=0)
    assert np.allclose(learned.matrix @ learned.matrix.T, np.eye(16), atol=1e-5)
    losses = np.array(learned.losses)
    assert len(losses) == 51
    assert (np.diff(losses) <= 1e-6 * losses[0]).all()
    assert losses[-1] < 0.98 * losses[0]
    again = learn_cube_rotation(small.documents, 16, iterations=7, seed=0)
    assert again.losses == learned.losses[:8]


def test_bits_of_itq_are_the_signs_of_the_turned_vectors(small, queries):
    learned = learn_cube_rotation(small.documents, 16, iterations=50, seed=0)
    hits = ITQ(code_bytes=2).run(small).build().search(queries, 1)
    signs = [part @ learned.matrix.T + learned.offset >= 0 for part in (small.dev_queries, small.documents)]
    assert ((signs[0] != signs[1][hits.ids[:, 0]]).sum(axis=1) == -hits.scores[:, 0]).all()


def test_a_learned_rotation_beats_random_hyperplanes(small, queries):
    expected = Flat(small.documents).search(queries, 10)
    learned, drawn = (kind(code_bytes=4).run(small).build().search(queries, 10) for kind in (ITQ, LSH))
    assert overlap(learned, expected) > overlap(drawn, expected)


def test_int8_is_off_by_at_most_half_a_step(small):
    index = SQ8().run(small).build()
    decoded = innermost(index.engine).reconstruct_n(0, len(index))
    step = np.ptp(small.documents, axis=0) / 255
    assert (np.abs(decoded - small.documents) <= step / 2 * (1 + 1e-4) + 1e-7).all()
    assert index.code_bytes == DIM


def test_binary_scores_are_of_the_nearest_scaled_signs(small, queries):
    hits = Binary().run(small).build().search(queries, 10)
    decoded = np.where(small.documents >= 0, 1.0, -1.0) * np.abs(small.documents).mean()
    truth = small.dev_queries @ decoded.T
    assert np.allclose(hits.scores, -np.sort(-truth, axis=1)[:, :10], atol=1e-5)


def test_rescoring_and_better_vectors_lift_binary(small, queries):
    expected = Flat(small.documents).search(queries, 10)
    shares = {
        rescore: overlap(Binary(rescore=rescore).run(small).build().search(queries, 10), expected)
        for rescore in ("none", "signs", "sq8", "float")
    }
    assert shares["none"] < shares["signs"] < shares["sq8"] <= shares["float"]


def test_each_bit_of_rabitq_brings_it_nearer(small, queries):
    expected = Flat(small.documents).search(queries, 10)
    shares = [
        overlap(RaBitQ(bits=bits).run(small).build().search(queries, 10), expected) for bits in (1, 2, 4)
    ]
    assert shares == sorted(shares)
    assert shares[-1] > 0.85


def test_the_rotation_of_rabitq_keeps_inner_products(small):
    rotation = random_rotation(DIM, seed=3)
    turned = rotation.apply(small.documents[:50])
    assert np.allclose(turned @ turned.T, small.documents[:50] @ small.documents[:50].T, atol=1e-5)


def test_all_principal_axes_keep_every_score(small):
    for metric in ("ip", "l2"):
        axes = principal_axes(small.documents, DIM, metric=metric, seed=0)
        turned = axes.apply(small.documents[:60])
        assert np.allclose(turned @ turned.T, small.documents[:60] @ small.documents[:60].T, atol=1e-5)


def test_principal_axes_keep_more_than_the_first_dimensions(small):
    turned = principal_axes(small.documents, 8, metric="ip", seed=0).apply(small.documents)
    assert np.square(turned).sum() >= np.square(small.documents[:, :8]).sum()
    energy = np.square(turned).sum(axis=0)
    assert (np.diff(energy) <= 1e-3).all()


def test_a_matryoshka_cut_is_unit_again_where_vectors_were(small):
    chain = first_dimensions(small.documents, 8, metric="ip")
    cut = small.documents
    for step in chain:
        cut = step.apply(cut)
    expected = small.documents[:, :8] / np.linalg.norm(small.documents[:, :8], axis=1, keepdims=True)
    assert np.allclose(cut, expected, atol=1e-6)
    assert len(first_dimensions(uneven(small).documents, 8, metric="ip")) == 1


@pytest.mark.parametrize("lists", [None, 4])
def test_residual_scores_are_inner_products_with_the_sum_of_codewords(lists, small, queries):
    index = ResidualVQ(code_bytes=4, lists=lists).run(small).build()
    hits = index.search(queries, 10, effort=1.0)
    engine = innermost(index.engine)
    if lists is not None:
        engine.make_direct_map()
    decoded = engine.reconstruct_n(0, len(index))
    truth = small.dev_queries.astype(np.float64) @ decoded.T.astype(np.float64)
    assert np.allclose(hits.scores, -np.sort(-truth, axis=1)[:, :10], atol=1e-4)


def test_longer_residual_codes_lose_less(small):
    errors = []
    for size in (1, 2, 4):
        index = ResidualVQ(code_bytes=size).run(small).build()
        decoded = innermost(index.engine).reconstruct_n(0, len(index))
        errors.append(np.square(decoded - small.documents).sum())
    assert errors == sorted(errors, reverse=True)


def test_distances_of_residual_codes_spend_one_byte_on_the_norm(small):
    index = ResidualVQ(code_bytes=4).run(replace(small, metric="l2")).build()
    assert index.code_bytes == 4
    assert innermost(index.engine).rq.M == 3
    with pytest.raises(ConfigError, match="norm"):
        ResidualVQ(code_bytes=1).run(replace(small, metric="l2")).build()


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (ITQ(code_bytes=5), r"Use 1\.\.4"),
        (PCASQ8(code_bytes=33), r"Use 1\.\.32"),
        (LSH(code_bytes=0), "at least 1"),
        (IVFOPQ(code_bytes=7), "Nearest"),
        (HNSWOPQ(code_bytes=7), "Nearest"),
        (IVFOPQ(code_bytes=8, lists=900), "1..700"),
        (IVF(lists=900), "1..700"),
        (IVF(lists=16, probes=17), "probes"),
        (SQ8(lists=0), "1..700"),
        (IMI(bits=10), "multi-index"),
        (HNSW(links=1), "2..512"),
        (RaBitQ(bits=5), "1, 2, 3 or 4"),
        (RaBitQ(query_bits=9), "0..8"),
        (RaBitQ(lists=900), "1..700"),
        (ResidualVQ(lists=900), "1..700"),
        (LSH(refine="float", factor=0.5), "factor"),
    ],
    ids=str,
)
def test_sizes_that_do_not_exist_are_refused_with_those_that_do(recipe, says, small):
    with pytest.raises(ConfigError, match=says):
        recipe.run(small).build()


def test_sign_bits_need_whole_bytes_and_residual_codes_enough_documents(small):
    odd = replace(small, documents=small.documents[:, :30], queries=small.queries[:, :30], dev_queries=None)
    with pytest.raises(ConfigError, match="multiple of 8"):
        Binary().run(odd).build()
    few = replace(small, documents=small.documents[:200])
    with pytest.raises(ConfigError, match="256 documents"):
        ResidualVQ().run(few).build()


@pytest.mark.parametrize("recipe", [HNSW(), RaBitQ(bits=1, refine="sq8"), ResidualVQ(code_bytes=4)], ids=str)
def test_an_artefact_of_an_engine_answers_as_the_engine(recipe, small, tmp_path):
    ids = Ids.from_iterable(f"d{row}" for row in range(len(small.documents)))
    made = distil(Vectors(ids, small.documents), out=tmp_path / "i", recipe=recipe, similarity="dot")
    searcher = limbeck.open(tmp_path / "i")
    expected = recipe.run(small).build().search(Reps.single(small.dev_queries), 5)
    assert np.array_equal(searcher.search_vectors(small.dev_queries, 5).ids, expected.ids)
    assert made.manifest.content["index"] == "engine"
    assert type(recipe).__name__ in repr(searcher)
    with pytest.raises(ConfigError, match="kind 'engine'"):
        _ = searcher.codes


def test_code_bytes_are_taken_by_recipes_that_have_a_size():
    recipe: Recipe = LSH()
    assert with_code_bytes(recipe, 5) == LSH(code_bytes=5)
    with pytest.raises(ConfigError, match="HNSW has no `code_bytes`"):
        with_code_bytes(HNSW(), 5)


def test_what_cannot_work_is_refused_before_anything_is_encoded(small, tmp_path):
    ids = Ids.from_iterable(map(str, range(len(small.documents))))
    for recipe in (ITQ(code_bytes=9), IVF(lists=10_000), IVFOPQ(code_bytes=5)):
        with pytest.raises(ConfigError):
            distil(Vectors(ids, small.documents), out=tmp_path / "i", recipe=recipe, similarity="dot")
    assert not (tmp_path / "i").exists()
