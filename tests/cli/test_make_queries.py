"""New queries in a file: none that is known, none that is kept apart, and the same ones each time."""

from __future__ import annotations

import json

import pytest

import limbeck.data
from limbeck.data.queries import Queries
from limbeck.encoders.generator import QueryGenerator
from limbeck.recipes.query_generation import QueryGeneration

EPOCHS = ("--epochs", 1)  # 20 steps: it does not repeat yet, and says so


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def key(text):
    return "".join(text.lower().split())


@pytest.fixture(scope="module")
def generator(has_model, run, commands, tmp_path_factory):
    """Made from MiniLM and 16 of the queries by the program itself."""
    folder = tmp_path_factory.mktemp("generator")
    lines = (commands / "queries.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "few.jsonl").write_text("".join(lines[:16]), encoding="utf-8")
    ran = run(
        *(
            "make-queries",
            "--queries",
            folder / "few.jsonl",
            *EPOCHS,
            "--save-generator",
            folder / "generator",
        ),
        *("--out", folder / "new.jsonl"),
    )
    assert ran.exit_code == 0, ran.stderr
    assert f"{len(records(folder / 'new.jsonl'))} new queries from 16." in ran.stdout
    assert "repeats" in ran.stderr
    return folder / "generator"


@pytest.fixture(scope="module")
def again(run, commands, generator, tmp_path_factory):
    """again(name, ...) makes queries from the 60 training queries in a file and gives it, and what was said."""
    folder = tmp_path_factory.mktemp("made")

    def invoke(name, *words):
        ran = run(
            *("make-queries", "--corpus", commands, "--generator", generator),
            *("--out", folder / name, "--quiet", *words),
        )
        assert ran.exit_code == 0, ran.stderr
        return folder / name, ran.stdout

    return invoke


@pytest.fixture(scope="module")
def new(again):
    """A file of new queries."""
    return again("new.jsonl")[0]


def test_the_file_is_one_of_queries(new):
    queries = Queries.open(new)
    assert len(queries) == len(records(new)) > 0
    assert all(queries.texts)


def test_each_says_which_query_and_noise_it_comes_from(new, commands):
    asked = {row.split("\t")[0] for row in (commands / "qrels" / "train.tsv").read_text().splitlines()[1:]}
    for record in records(new):
        assert record["from"] in asked
        assert record["noise"] in (0.1, 0.2)
        assert record["_id"] == f"{record['from']}~{record['noise']:g}"


def test_no_two_are_equal_and_none_is_a_query_of_the_folder(new, commands):
    found = [key(record["text"]) for record in records(new)]
    assert len(set(found)) == len(found)
    assert not set(found) & {key(record["text"]) for record in records(commands / "queries.jsonl")}


def test_the_same_generator_and_seed_write_the_same_bytes(again, new):
    assert again("again.jsonl")[0].read_bytes() == new.read_bytes()
    assert again("other.jsonl", "--seed", 5)[0].read_bytes() != new.read_bytes()


def test_what_is_left_out_is_what_a_naive_loop_leaves_out(again, new, generator, commands):
    held = [{**record, "text": record["text"].upper()} for record in records(new)[::2]]
    apart = new.with_name("held.jsonl")
    apart.write_text("".join(json.dumps(record) + "\n" for record in held), encoding="utf-8")
    rest, said = again("rest.jsonl", "--never", apart, "--noise", "0,0.5")

    asked = limbeck.data.Dataset.open(commands).split("train")[0]
    opened = QueryGenerator.open(generator)
    other = limbeck.data.Dataset.open(commands).split("test")[0]
    known, avoided = {key(text) for text in asked.texts}, {key(r["text"]) for r in held}
    avoided |= {key(text) for text in other.texts}
    kept, left_out = {}, {"known": 0, "held": 0, "repeated": 0}
    for place, noise in enumerate((0.0, 0.5)):
        for row, text in enumerate(opened.again(asked.texts, noise=noise, seed=place)):
            where = {"known": known, "held": avoided, "repeated": {*kept, ""}}
            reason = next((name for name, texts in where.items() if key(text) in texts), None)
            if reason:
                left_out[reason] += 1
            else:
                kept[key(text)] = (asked.ids[row], noise, text)
    assert [(r["from"], r["noise"], r["text"]) for r in records(rest)] == list(kept.values())
    counts = "{known} equal to a training query, {held} to one that is kept apart, {repeated} to"
    assert counts.format(**left_out) in said
    assert left_out["held"] > 0


def test_stopped_it_leaves_the_file_as_it_was(run, generator, commands, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(QueryGeneration, "make", stop)
    (tmp_path / "kept.jsonl").write_text("before")
    ran = run(
        *("make-queries", "--corpus", commands, "--generator", generator, "--out", tmp_path / "kept.jsonl")
    )
    assert ran.exit_code == 5
    assert (tmp_path / "kept.jsonl").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.jsonl"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "new.tsv"), ".jsonl"),
        (("--out", "new.jsonl", "--noise", "much"), "0.1,0.2"),
        (("--out", "new.jsonl", "--noise", "-1"), "0 or more"),
        (("--out", "new.jsonl", "--teacher", "x"), "not both"),
        (("--out", "new.jsonl", "--never", "nowhere.jsonl"), "no such file of queries"),
    ],
)
def test_what_cannot_be_is_refused(run, generator, commands, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    ran = run("make-queries", "--corpus", commands, "--generator", generator, *words)
    assert ran.exit_code == 2
    assert said in " ".join(ran.stderr.split())
    assert not any(tmp_path.iterdir())


def test_without_queries_it_says_what_to_give(run, generator, commands, tmp_path):
    ran = run(
        *("make-queries", "--corpus", commands / "corpus.jsonl", "--generator", generator),
        *("--out", tmp_path / "new.jsonl"),
    )
    assert ran.exit_code == 2
    assert "--queries FILE" in ran.stderr
