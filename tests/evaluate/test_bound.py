"""Five terms that add up to the gap, within bounds that a loop over pairs confirms."""

import io
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data.labels import Labels
from limbeck.errors import ConfigError, DataError, ShapeError
from limbeck.evaluate import bound
from limbeck.evaluate.bound import TERMS, Pairs, Sample, draw_pairs, rank_correlation, telescope
from limbeck.evaluate.bound_plot import draw, plot_bound
from limbeck.evaluate.bound_report import as_json, correlations, summary

ROUNDING = 1e-12  # float64, means of up to hundreds of terms near 1


def sample(seed, *, size=1.0, error=0.3, pairs=40, own_documents=False, dim=6):
    """Pairs of 12 queries and 20 documents; the student's vectors are the teacher's with noise."""
    drawn = np.random.default_rng(seed)
    queries, documents = (size * drawn.normal(size=(rows, dim)).astype("f4") for rows in (12, 20))
    return Sample(
        pairs=Pairs(drawn.integers(0, 12, pairs), drawn.integers(0, 20, pairs), drawn.random(pairs) < 0.4),
        student_queries=queries + error * drawn.normal(size=queries.shape).astype("f4"),
        teacher_queries=queries,
        teacher_documents=documents,
        student_documents=documents + error * drawn.normal(size=documents.shape).astype("f4")
        if own_documents
        else None,
    )


def naive_terms(train, test, scale=1.0):
    """T1 and T4 in their closed forms, the others pair by pair."""

    def rows(part):
        own = part.teacher_documents if part.student_documents is None else part.student_documents
        for query, document, y in zip(
            part.pairs.queries, part.pairs.documents, part.pairs.is_relevant, strict=True
        ):
            student = scale * math.fsum(
                float(a) * float(b) for a, b in zip(part.student_queries[query], own[document], strict=True)
            )
            teacher = scale * math.fsum(
                float(a) * float(b)
                for a, b in zip(part.teacher_queries[query], part.teacher_documents[document], strict=True)
            )
            yield student, teacher, float(y)

    def odds(score):
        return 1 / (1 + math.exp(-score))

    def loss(score, target):
        return max(score, 0) + math.log1p(math.exp(-abs(score))) - target * score

    def mean(part, of):
        found = [of(*row) for row in rows(part)]
        return math.fsum(found) / len(found)

    return (
        mean(test, lambda s, t, y: (odds(t) - y) * s),
        mean(test, lambda s, t, y: loss(s, odds(t))) - mean(train, lambda s, t, y: loss(s, odds(t))),
        mean(train, lambda s, t, y: loss(s, odds(t)) - loss(t, odds(t))),
        mean(train, lambda s, t, y: -(odds(t) - y) * t),
        mean(train, lambda s, t, y: loss(t, y)) - mean(test, lambda s, t, y: loss(t, y)),
    )


@pytest.mark.parametrize("own_documents", [False, True])
@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_the_terms_are_those_of_a_loop_over_pairs(own_documents, scale):
    train, test = (sample(seed, own_documents=own_documents) for seed in (0, 1))
    found = telescope(train, test, scale=scale)
    assert found.terms == pytest.approx(naive_terms(train, test, scale), abs=1e-10)
    assert (found.train_pairs, found.test_pairs) == (40, 40)


@given(
    seed=st.integers(0, 10_000),
    size=st.floats(0.01, 5),
    error=st.floats(0, 3),
    scale=st.sampled_from([0.1, 1.0, 30.0]),
    own_documents=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_terms_add_up_to_the_gap_and_stay_within_their_bounds(seed, size, error, scale, own_documents):
    train, test = (
        sample(seed + side, size=size, error=error, own_documents=own_documents) for side in (0, 1)
    )
    found = telescope(train, test, scale=scale)
    room = ROUNDING * max(1.0, found.student_risk, found.teacher_risk, *found.bounds.values())
    assert sum(found.terms) == pytest.approx(found.gap, abs=1e-10 * max(1.0, found.student_risk))
    assert found.terms[2] >= -room
    assert min(found.slack.values()) >= -room
    assert found.gap <= found.bound + room <= found.paper_bound + 2 * room
    assert found.gap_interval.mean == pytest.approx(found.gap, abs=room)


def test_a_student_that_is_its_teacher_has_no_distance_and_no_third_term():
    train, test = sample(0, error=0), sample(1, error=0)
    found = telescope(train, test)
    assert (found.query_distance, found.document_distance, found.terms[2], found.gap) == (0, 0, 0, 0)


def test_inherited_documents_are_at_distance_zero_exactly():
    train, test = sample(0), sample(1)
    assert telescope(train, test).document_distance == 0
    assert telescope(sample(0, own_documents=True), test).document_distance > 0


def test_distances_count_a_query_as_often_as_it_has_pairs():
    train = sample(0)
    moved = np.linalg.norm(train.student_queries - train.teacher_queries, axis=1)
    found = telescope(train, sample(1))
    assert found.query_distance == pytest.approx(moved[train.pairs.queries].mean(), rel=1e-6)


def test_the_factor_k_of_matching_cannot_be_smaller():
    pairs = Pairs(np.zeros(1, int), np.zeros(1, int), np.zeros(1, bool))
    one = np.ones((1, 1), "f4")
    steep = Sample(pairs, one, -1e-4 * one, one)  # scores of a million, and of minus a hundred
    found = telescope(steep, steep, scale=1e6)
    assert 0.99 * found.bounds["T3"] < found.terms[2] <= found.bounds["T3"]


def test_a_scale_is_longer_vectors():
    train, test = sample(0, own_documents=True), sample(1, own_documents=True)

    def longer(part):
        sides = (part.student_queries, part.teacher_queries, part.teacher_documents, part.student_documents)
        return Sample(part.pairs, *(3 * side for side in sides))

    scaled, long = telescope(train, test, scale=9), telescope(longer(train), longer(test))
    assert scaled.terms == pytest.approx(long.terms, abs=1e-5)  # tripled in float32
    assert scaled.bounds == pytest.approx(long.bounds, rel=1e-5)
    assert long.query_distance == pytest.approx(3 * scaled.query_distance, rel=1e-6)


def test_turning_the_students_whole_space_changes_distances_and_no_risk():
    train, test = sample(0, own_documents=True), sample(1, own_documents=True)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(6, 6)))[0]

    def turned(part, *, teacher_too):
        def side(vectors, is_turned=True):
            return vectors.astype(np.float64) @ turn if is_turned else vectors

        return Sample(
            part.pairs,
            side(part.student_queries),
            side(part.teacher_queries, teacher_too),
            side(part.teacher_documents, teacher_too),
            side(part.student_documents),
        )

    before = telescope(train, test)
    alone = telescope(turned(train, teacher_too=False), turned(test, teacher_too=False))
    both = telescope(turned(train, teacher_too=True), turned(test, teacher_too=True))
    assert both.terms == pytest.approx(before.terms, abs=1e-12)
    assert alone.terms == pytest.approx(before.terms, abs=1e-12)
    assert both.query_distance == pytest.approx(before.query_distance, rel=1e-12)
    assert alone.query_distance > before.query_distance + 0.1


def test_slices_of_pairs_change_nothing(monkeypatch):
    train, test = sample(0), sample(1)
    whole = telescope(train, test)
    monkeypatch.setattr(bound, "TOGETHER", 7)
    assert telescope(train, test) == whole


def test_what_does_not_fit_together_is_refused():
    good = sample(0)
    empty = Pairs(*(np.zeros(0, kind) for kind in (int, int, bool)))
    with pytest.raises(DataError, match="test split has no pairs"):
        telescope(good, Sample(empty, good.student_queries, good.teacher_queries, good.teacher_documents))
    narrow = good.student_queries[:, :3]
    with pytest.raises(ShapeError, match=r"`student_queries` has shape \(12, 3\)"):
        telescope(Sample(good.pairs, narrow, good.teacher_queries, good.teacher_documents), good)
    with pytest.raises(ShapeError, match="`teacher_documents` has 5"):
        telescope(good, Sample(good.pairs, *(good.student_queries,) * 2, good.teacher_documents[:5]))
    uneven = Pairs(good.pairs.queries, good.pairs.documents[:3], good.pairs.is_relevant)
    with pytest.raises(ShapeError, match=r"\[3, 40\] entries"):
        telescope(Sample(uneven, *(good.student_queries,) * 2, good.teacher_documents), good)
    with pytest.raises(ConfigError, match="above 0, found 0"):
        telescope(good, good, scale=0)


LABELS = Labels(np.array([0, 2, 2, 5]), np.array([1, 4, 0, 2, 5]), np.array([1, 0, 3, -1, 1], "f4"))


def test_pairs_are_all_judgements_and_others_that_nobody_judged():
    pairs = draw_pairs(LABELS, 6, negatives=2, seed=0)
    known = list(zip(pairs.queries[:5], pairs.documents[:5], pairs.is_relevant[:5], strict=True))
    assert known == [(0, 1, True), (0, 4, False), (2, 0, True), (2, 2, False), (2, 5, True)]
    assert not pairs.is_relevant[5:].any()
    assert pairs.queries[5:].tolist() == [0, 0, 1, 1, 2, 2]
    for query in range(3):
        drawn = pairs.documents[5:][pairs.queries[5:] == query].tolist()
        assert len(set(drawn)) == 2
        assert not set(drawn) & set(LABELS.of(query)[0].tolist())


def test_every_document_that_nobody_judged_may_be_drawn_and_no_more_than_there_are():
    pairs = draw_pairs(LABELS, 6, negatives=9, seed=0)
    drawn = [pairs.documents[5:][pairs.queries[5:] == query].tolist() for query in range(3)]
    assert drawn == [[0, 2, 3, 5], [0, 1, 2, 3, 4, 5], [1, 3, 4]]


def test_a_seed_draws_the_same_pairs_again_and_another_seed_others():
    first, again, other = (
        draw_pairs(LABELS, 600, negatives=3, seed=seed).documents.tolist() for seed in (0, 0, 1)
    )
    assert first == again != other
    with pytest.raises(ConfigError, match="0 or more, found -1"):
        draw_pairs(LABELS, 6, negatives=-1, seed=0)


@given(st.permutations(range(7)))
def test_rank_correlation_without_equals_is_the_textbooks(order):
    squares = sum((place - rank) ** 2 for place, rank in enumerate(order))
    expected = 1 - 6 * squares / (7 * 48)
    assert rank_correlation([math.exp(place) for place in range(7)], order) == pytest.approx(expected)


def test_equals_share_their_mean_rank_and_what_does_not_vary_has_no_correlation():
    # ranks 1.5, 1.5, 3 against 1, 2, 3: covariance 1.5, variances 1.5 and 2
    assert rank_correlation([5, 5, 9], [1, 2, 3]) == pytest.approx(1.5 / math.sqrt(3))
    assert rank_correlation([1, 2], [4, 4]) is None
    assert rank_correlation([1], [4]) is None


@pytest.fixture(scope="module")
def students():
    """Three students, each further from the teacher than the one before."""
    return {
        f"student {place}": telescope(sample(0, error=error), sample(1, error=error))
        for place, error in enumerate((0.05, 0.4, 1.5))
    }


def test_json_holds_every_figure_of_every_student(students):
    found = json.loads(as_json(students, about={"data": "made up"}))
    assert (found["format"], found["data"]) == ("limbeck-diagnosis", "made up")
    assert found["rank_correlation"] == correlations(students)
    for values, (name, expected) in zip(found["students"], students.items(), strict=True):
        assert values["name"] == name
        assert tuple(values["terms"][term] for term in TERMS) == expected.terms
        assert sum(values["terms"].values()) == pytest.approx(values["gap"], abs=1e-10)
        for term, slack in values["slack"].items():
            assert slack == pytest.approx(values["bounds"][term] - abs(values["terms"][term]))


def test_the_summary_names_students_terms_and_the_correlation(students):
    from rich.console import Console

    console = Console(file=io.StringIO(), width=160)
    console.print(summary(students))
    shown = console.file.getvalue()
    for name, found in students.items():
        (line,) = [line for line in shown.splitlines() if line.strip().startswith(name) and "±" in line]
        cells = [float(cell) for cell in line.split()[-5:]]
        assert cells == pytest.approx([1000 * term for term in found.terms], abs=0.006)
    assert f"over 3 students: {correlations(students)['train']:+.2f} (train)" in shown
    alone = Console(file=io.StringIO(), width=160)
    alone.print(summary({"one": students["student 1"]}))
    assert "correlation" not in alone.file.getvalue()


def test_the_bars_of_each_student_end_at_its_gap(students):
    pytest.importorskip("matplotlib")
    distances, *panels = draw(students, "made up").axes
    gaps = [1000 * found.gap for found in students.values()]
    for panel in panels:
        bars = np.array([[bar.get_width() for bar in container] for container in panel.containers])
        assert bars.sum(axis=0) == pytest.approx(gaps)
        (marks,) = [line for line in panel.lines if line.get_label() == "the gap"]
        assert list(marks.get_xdata()) == pytest.approx(gaps)
    assert [len(panel.containers) for panel in panels] == [5, 4]
    on_train = next(line for line in distances.lines if "training" in str(line.get_label()))
    assert list(on_train.get_xdata()) == [found.query_distance for found in students.values()]
    assert list(on_train.get_ydata()) == pytest.approx(gaps)


def test_the_plot_is_written_for_a_single_student_too(students, tmp_path):
    pytest.importorskip("matplotlib")
    one = {"one": students["student 0"]}
    assert plot_bound(one, tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
