"""compare and doctor: what they say of small files whose truth is known."""

import json

import pytest


@pytest.fixture
def runs(tmp_path):
    """Labels, a run that is always right, and one that is right on the second place."""
    queries = [f"q{n}" for n in range(40)]
    labels = "".join(f"{q}\tgood\t1\n" for q in queries)
    (tmp_path / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + labels)
    for name, order in (("first", ("good", "bad")), ("second", ("bad", "good"))):
        lines = [f"{q} Q0 {d} {r} {2 - r} x\n" for q in queries for r, d in enumerate(order)]
        (tmp_path / f"{name}.trec").write_text("".join(lines))
    return tmp_path


def compared(run, folder, one, other, *options):
    return run(
        *("compare", folder / f"{one}.trec", folder / f"{other}.trec", "--qrels", folder / "test.tsv"),
        *options,
    )


def test_a_worse_run_is_called_worse(run, runs):
    found = json.loads(compared(run, runs, "first", "second", "--json").stdout)
    by_measure = {row["measure"]: row for row in found["comparisons"]}
    assert found["queries"] == 40
    assert by_measure["RR@10"]["difference"]["mean"] == -0.5
    assert by_measure["RR@10"]["p_adjusted"] < 0.01
    assert by_measure["R@100"]["is_equivalent"]
    shown = compared(run, runs, "first", "second").stdout
    assert "worse (p < 0.01)" in shown
    assert "equal within 0.5 points at 95%" in shown


def test_measures_may_be_given_in_any_way(run, runs):
    for options in (["-m", "nDCG@10", "-m", "P@1"], ["-m", "nDCG@10 P@1"], ["-m", "nDCG@10,P@1"]):
        rows = json.loads(compared(run, runs, "first", "second", "--json", *options).stdout)["comparisons"]
        assert [row["measure"] for row in rows] == ["nDCG@10", "P@1"]


def test_a_measure_that_nobody_knows_is_refused(run, runs):
    shown = compared(run, runs, "first", "second", "-m", "MRR@ten")
    assert shown.exit_code == 2
    assert "RR@10" in shown.stderr


def test_in_words_says_no_more_than_the_figures():
    from limbeck.cli.compare import in_words
    from limbeck.evaluate import Comparison, Equivalence, Interval

    def words(low, high, p):
        between = Interval((low + high) / 2, low, high)
        return in_words(
            Comparison("b", "a", "RR@10", 0.5, 0.5, between, p, p, Equivalence(between, 0.005, 0.95))
        )

    assert words(0.01, 0.03, 0.001) == "better (p < 0.01)"
    assert words(0.001, 0.003, 0.001) == "better (p < 0.01), by less than 0.5 points"
    assert words(-0.001, 0.003, 0.4) == "equal within 0.5 points at 95%"
    assert words(-0.004, 0.02, 0.2) == "not worse by more than 0.5 points"
    assert words(-0.02, 0.02, 0.9).startswith("undecided")


def test_the_doctor_finds_all_faults_at_once_and_says_what_to_do(run, tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_bytes(
        b'{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}\nnot json\n'
    )
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "x"}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\tnowhere\t1\n")
    shown = run("doctor", tmp_path)
    assert shown.exit_code == 2
    found = json.loads(run("doctor", tmp_path, "--json").stdout)
    assert {finding["level"] for finding in found} >= {"error"}
    assert all(finding["fix"] for finding in found)
    assert sum(finding["level"] == "error" for finding in found) >= 2


def test_the_doctor_passes_sound_data(run, vectors):
    shown = run("doctor", vectors / "docs.npy")
    assert shown.exit_code == 0
    assert "nothing wrong" in shown.stdout
