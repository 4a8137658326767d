"""`limbeck plan` and `limbeck autopsy`, on vectors and on text."""

import json

import pytest


def planned(run, vectors, *options):
    return run(
        *("plan", vectors / "docs.npy", "--queries", vectors / "queries.npy", "--similarity", "cosine"),
        *("--methods", "exact,opq", "--bytes", "2,4", "--quiet", *options),
    )


def test_plan_shows_a_table_and_the_command_of_the_best(run, vectors):
    found = planned(run, vectors, "--documents", 100_000, "--memory", "2MB", "--latency", 500)
    assert found.exit_code == 0, found.stderr
    for word in ("OPQ", "exact", "overlap@10", "misses memory", "best", "Measured on 600 documents"):
        assert word in found.stdout
    last = found.stdout.splitlines()[-1]
    assert f"limbeck build --corpus {vectors / 'docs.npy'} --similarity cosine --out INDEX --bytes 4" in last


def test_what_plan_tells_to_type_builds_that_index(run, vectors, tmp_path):
    content = json.loads(planned(run, vectors, "--json").stdout)
    rows = {row["code_bytes"]: row for row in content["rows"]}
    words = rows[4]["command"].replace("INDEX", str(tmp_path / "i")).split()[1:]
    assert run(*words).exit_code == 0
    shown = run("search", tmp_path / "i", "--vectors", vectors / "three.npy", "-k", 2)
    assert shown.exit_code == 0, shown.stderr


def test_plan_writes_markdown(run, vectors):
    text = planned(run, vectors, "--markdown", "--quality", 0.2).stdout
    assert text.startswith("**600 documents of 16 dimensions**")
    assert text.count("\n1. `limbeck build") == 1


def test_without_limits_the_frontier_is_shown(run, vectors):
    assert "On the frontier:" in planned(run, vectors).stdout


def test_impossible_limits_are_said_so(run, vectors):
    assert "No design keeps to all of this" in planned(run, vectors, "--memory", "1kB").stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--memory", "much"), "such as 500MB"),
        (("--bytes", "eight"), "expected whole numbers"),
        (("--methods", "annoyance"), "there are no designs annoyance"),
        (("--quality", 2), "share in (0, 1]"),
    ],
)
def test_plan_answers_mistakes(run, vectors, options, says):
    refused = planned(run, vectors, *options)
    assert refused.exit_code == 2
    assert says in " ".join(refused.stderr.split())


def test_autopsy_says_why_and_writes_both_files(run, index, vectors, tmp_path):
    pytest.importorskip("matplotlib")
    data = (vectors / "docs.npy", "--queries", vectors / "queries.npy")
    found = run("autopsy", index, *data, "--out", tmp_path / "a")
    assert found.exit_code == 0, found.stderr
    for word in ("DistillVQ over vectors", "200 queries", "lost to", "codes", "Codewords:", "autopsy.png"):
        assert word in found.stdout
    content = json.loads((tmp_path / "a" / "autopsy.json").read_text())
    assert len(content["lost"]) == sum(content["lost_by_cause"].values())
    assert (tmp_path / "a" / "autopsy.png").stat().st_size > 10_000


def test_autopsy_as_json(run, index, vectors):
    found = run(
        "autopsy", index, vectors / "docs.npy", "--queries", vectors / "queries.npy", "--json", "-k", 5
    )
    content = json.loads(found.stdout)
    assert content["k"] == 5
    assert content["lost"][0]["document_id"].startswith("d")


def test_autopsy_answers_mistakes(run, index, vectors):
    refused = run("autopsy", index, vectors / "docs.npy")
    assert refused.exit_code == 2
    assert "--queries QUERIES.npy" in refused.stderr
    other = run("autopsy", index, vectors / "queries.npy", "--queries", vectors / "three.npy")
    assert other.exit_code == 2
    assert "the index was made of" in other.stderr


def test_plan_and_autopsy_read_texts(run, text_index, commands):
    found = run("plan", commands, "--methods", "exact,opq", "--bytes", 8, "--quiet")
    assert found.exit_code == 0, found.stderr
    assert "RR@10 kept" in found.stdout
    shown = run("autopsy", text_index, commands, "--quiet")
    assert shown.exit_code == 0, shown.stderr
    assert "over commands, test" in shown.stdout
    refused = run("autopsy", text_index, commands, "--queries", commands / "queries.jsonl")
    assert "brings its own queries" in " ".join(refused.stderr.split())
