import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.data import Ids, Run
from limbeck.data.run import strictly_falling
from limbeck.errors import DataError, ShapeError
from limbeck.types import Hits

QUERIES = Ids.from_iterable(["q1", "q2"])
DOCUMENTS = Ids.from_iterable(["a", "b", "c", "d"])


def hits(ids, scores):
    return Hits(np.array(ids, np.int64), np.array(scores, np.float32))


def test_equal_scores_are_ordered_by_row_and_made_to_fall():
    run = Run.from_hits(
        QUERIES, DOCUMENTS, hits([[3, 1, 0], [2, -1, -1]], [[1, 1, 2], [0.5, -np.inf, -np.inf]])
    )
    found = run.as_dict()
    assert {query: list(answers) for query, answers in found.items()} == {"q1": ["a", "b", "d"], "q2": ["c"]}
    scores = list(found["q1"].values())
    assert scores[0] == 2
    assert scores[1] == 1
    assert scores[2] == np.nextafter(np.float32(1), np.float32(0))
    assert len(run) == 2


def test_padding_with_a_finite_score_is_dropped():
    run = Run.from_hits(QUERIES, DOCUMENTS, hits([[-1, 0], [-1, -1]], [[5048.4, 1], [9, 9]]))
    assert run.as_dict() == {"q1": {"a": 1.0}, "q2": {}}


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.integers(0, 40))
def test_falling_scores_keep_the_order_even_where_steps_meet(values, ulps):
    base = np.float32(1)
    for _ in range(ulps % 4):
        base = np.nextafter(base, np.float32(2))
    scores = np.sort(np.array([base + np.float32(v) * np.finfo(np.float32).eps for v in values], np.float32))[
        ::-1
    ]
    falling = strictly_falling(scores)
    assert (np.diff(falling) < 0).all()
    assert (falling <= scores).all()
    naive = scores.copy()
    for place in range(1, len(naive)):
        naive[place] = min(naive[place], np.nextafter(naive[place - 1], np.float32(-np.inf)))
    np.testing.assert_array_equal(falling, naive)


@given(st.data())
def test_the_tie_rule_equals_a_naive_sort(data):
    count = data.draw(st.integers(0, 4))
    rows = data.draw(st.permutations(range(4)))[:count]
    scores = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=count, max_size=count))
    run = Run.from_hits(Ids.from_iterable(["q"]), DOCUMENTS, hits([rows], [scores]))
    naive = [row for _, row in sorted(zip([-s for s in scores], rows, strict=True))]
    assert run.rows.tolist() == naive


def test_a_saved_run_comes_back_with_its_order_and_scores(tmp_path):
    rng = np.random.default_rng(0)
    ids = np.stack([rng.permutation(50)[:20] for _ in range(30)])
    scores = -np.sort(-rng.choice([0.1, 0.2, 1e-40, -3.3, 0.0], (30, 20)), axis=1)
    run = Run.from_hits(Ids.numbered(30), Ids.numbered(50), hits(ids, scores))
    run.save(tmp_path / "run.trec", tag="test")
    back = Run.open(tmp_path / "run.trec")
    assert back.as_dict() == run.as_dict()
    assert [list(answers) for _, answers in back.items()] == [list(answers) for _, answers in run.items()]
    assert (tmp_path / "run.trec").read_text().splitlines()[0].split()[1::2] == ["Q0", "1", "test"]


def test_reading_sorts_by_score_and_breaks_ties_by_the_order_of_lines(tmp_path):
    path = tmp_path / "run"
    path.write_text("q1 Q0 x 1 0.5 t\nq1 Q0 z 2 0.9 t\n\nq1 Q0 y 3 0.9 t\nq0 Q0 y 1 1 t\n")
    assert {query: list(answers) for query, answers in Run.open(path).items()} == {
        "q1": ["z", "y", "x"],
        "q0": ["y"],
    }


def test_other_tools_see_the_same_order(tmp_path):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    documents = Ids.from_iterable(f"d{row}" for row in range(200))
    ids = np.arange(200)[None, :]
    run = Run.from_hits(Ids.from_iterable(["q"]), documents, hits(ids, np.full((1, 200), 0.7)))
    for row in (0, 17, 199):  # all scores are tied: without the rule, trec_eval would order by id
        measured = pytrec_eval.RelevanceEvaluator({"q": {f"d{row}": 1}}, {"recip_rank"}).evaluate(
            run.as_dict()
        )
        assert measured["q"]["recip_rank"] == pytest.approx(1 / (row + 1))


@pytest.mark.parametrize("name", ["a b", "a\tb", "a\nb", ""])
def test_ids_that_trec_cannot_hold_are_refused_and_nothing_is_written(tmp_path, name):
    run = Run.from_hits(Ids.from_iterable(["q"]), Ids.from_iterable([name]), hits([[0]], [[1]]))
    with pytest.raises(DataError, match="expected no white space"):
        run.save(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="expected a tag without white space"):
        run.save(tmp_path / "run", tag="a b")


@pytest.mark.parametrize(
    ("found", "error", "reason"),
    [
        (hits([[0]], [[1]]), ShapeError, "Q = 2"),
        (hits([[0], [9]], [[1], [1]]), DataError, "expected rows below 4, the number of documents, found 9"),
        (
            hits([[0], [1]], [[1], [np.nan]]),
            DataError,
            "query 'q2', document 'b': expected a finite score, found nan",
        ),
        (hits([[0], [1]], [[np.inf], [1]]), DataError, "found inf"),
        (
            hits([[0, 0], [1, 2]], [[1, 1], [1, 1]]),
            DataError,
            "query 'q1': expected each document once, found 'a'",
        ),
    ],
)
def test_hits_that_make_no_run_are_refused(found, error, reason):
    with pytest.raises(error, match=reason):
        Run.from_hits(QUERIES, DOCUMENTS, found)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"q1 Q0 a 1 0.5\n", "run:2: expected 6 columns `qid Q0 docid rank score tag`, found 5"),
        (b"q1 Q0 a 1 nan t\n", "run:2: expected a finite score in column 5, found 'nan'"),
        (b"q1 Q0 a 1 high t\n", "run:2: expected a finite score"),
        (b"q1 Q0 x 1 0.1 t\n", "query 'q1': expected each document once, found 'x' twice"),
        (b"q1 Q0 a 1 1e300 t\n", "expected a finite score"),
    ],
)
def test_bad_runs_are_refused(tmp_path, line, reason):
    (tmp_path / "run").write_bytes(b"q1 Q0 x 1 0.5 t\n" + line)
    with pytest.raises(DataError, match=reason):
        Run.open(tmp_path / "run")


def test_an_empty_run_is_empty(tmp_path):
    (tmp_path / "run").write_bytes(b"\n")
    assert Run.open(tmp_path / "run").as_dict() == {}
