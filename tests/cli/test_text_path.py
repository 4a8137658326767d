"""From text to an index that answers text, without torch where it answers."""

import json
import shutil
from contextlib import closing

import pytest

import limbeck
from limbeck.data import Dataset, Run
from limbeck.index.journal import Journal
from limbeck.jobs.changes import apply_changes

QUESTION = "restart the device"


def test_the_index_answers_a_text(run, text_index):
    (found,) = json.loads(run("search", text_index, QUESTION, "-k", 3, "--json").stdout)
    assert found["query"] == QUESTION
    assert [answer["rank"] for answer in found["answers"]] == [1, 2, 3]
    assert all(answer["text"] for answer in found["answers"])


def test_lines_of_stdin_are_queries(run, text_index):
    found = json.loads(run("search", text_index, "--json", stdin=f"{QUESTION}\n\nlist files\n").stdout)
    assert [one["query"] for one in found] == [QUESTION, "list files"]


def test_a_query_is_answered_with_torch_blocked(run, without_torch, text_index):
    ran = without_torch("search", text_index, QUESTION, "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == json.loads(run("search", text_index, QUESTION, "--json").stdout)


def test_evaluate_measures_and_compares_with_exact_search(run, text_index, commands, tmp_path):
    shown = run(
        "evaluate", text_index, commands, "--exact", "--json", "--run-to", tmp_path / "run.trec", "--quiet"
    )
    assert shown.exit_code == 0, shown.stderr
    report = limbeck_report(shown.stdout)
    exact, distilled = report.rows
    assert (exact.system, distilled.system) == ("exact", "DistillVQ")
    assert distilled.measures["RR@10"].mean > 0.3  # of 300 documents by 32 bytes; measured far above
    assert distilled.measures["overlap@10"].mean > 0.5
    assert {found.measure for found in report.comparisons} == {"RR@10", "R@100"}
    assert len((tmp_path / "run.trec").read_text().splitlines()) == 100 * report.queries


def test_a_run_that_evaluate_wrote_is_equal_to_itself(run, text_index, commands, tmp_path):
    path = tmp_path / "run.trec"
    run("evaluate", text_index, commands, "--run-to", path, "--quiet")
    shown = run("compare", path, path, "--qrels", commands / "qrels" / "test.tsv", "--json")
    rows = json.loads(shown.stdout)["comparisons"]
    assert all(row["difference"]["mean"] == 0 and row["is_equivalent"] for row in rows)


def test_evaluate_shows_a_table(run, text_index, commands):
    shown = run("evaluate", text_index, commands, "--quiet")
    assert shown.exit_code == 0, shown.stderr
    assert "DistillVQ" in shown.stdout
    assert "RR@10" in shown.stdout


@pytest.fixture(scope="module")
def with_words(run, text_index, commands, tmp_path_factory):
    """The index with BM25 beside its vectors."""
    folder = tmp_path_factory.mktemp("words") / "index"
    shutil.copytree(text_index, folder)
    made = run("hybrid", folder, "--queries-of", commands, "--split", "train")
    assert made.exit_code == 0, made.stderr
    return folder


@pytest.mark.parametrize(("mode", "name"), [("lexical", "BM25"), ("hybrid", "DistillVQ + BM25")])
def test_evaluate_measures_what_a_search_in_that_mode_finds(run, with_words, commands, tmp_path, mode, name):
    path = tmp_path / "run.trec"
    shown = run("evaluate", with_words, commands, "--mode", mode, "--json", "--quiet", "--run-to", path)
    assert shown.exit_code == 0, shown.stderr
    (row,) = limbeck_report(shown.stdout).rows
    searcher, dataset = limbeck.open(with_words), Dataset.open(commands)
    held = searcher.lexical.nbytes + (searcher.index.nbytes if mode == "hybrid" else 0)
    assert (row.system, row.cost.speeds) == (name, ())
    assert row.cost.bytes_per_document == held / 300
    queries, qrels = dataset.split("test")
    found = searcher.search(queries.texts, 100, mode=mode)
    expected = Run.from_hits(queries.ids, dataset.corpus.ids, found)
    written = Run.open(path).as_dict()
    assert {query: list(hits) for query, hits in written.items()} == {
        query: list(hits) for query, hits in expected.as_dict().items()
    }
    first = {query: next(iter(hits)) for query, hits in written.items()}
    right = [first.get(query) in labels for query, labels in qrels.as_dict().items()]
    assert 0.2 < sum(right) / len(right) <= row.measures["RR@10"].mean


def test_words_and_vectors_are_compared_with_exact_search(run, with_words, commands):
    shown = run("evaluate", with_words, commands, "--mode", "hybrid", "--exact", "--json", "--quiet")
    report = limbeck_report(shown.stdout)
    assert [row.system for row in report.rows] == ["exact", "DistillVQ + BM25"]
    assert {found.system for found in report.comparisons} == {"DistillVQ + BM25"}


def test_a_mode_that_the_index_cannot_answer_in_names_the_command_before_any_work(
    run, text_index, commands, monkeypatch
):
    monkeypatch.delattr("limbeck.encoders.collection.encode_texts")
    for mode in ("lexical", "hybrid"):
        shown = run("evaluate", text_index, commands, "--mode", mode, "--exact")
        assert shown.exit_code == 2
        assert "limbeck hybrid" in shown.stderr


def test_a_measure_that_nobody_knows_is_refused_before_any_work(run, text_index, commands, monkeypatch):
    monkeypatch.delattr("limbeck.encoders.collection.encode_texts")
    shown = run("evaluate", text_index, commands, "--exact", "-m", "recall@10")
    assert shown.exit_code == 2
    assert "RR@10" in shown.stderr


def test_evaluate_names_the_splits_there_are(run, text_index, commands):
    shown = run("evaluate", text_index, commands, "--split", "dev")
    assert shown.exit_code == 2
    assert "test, train" in shown.stderr


def test_evaluate_refuses_another_corpus(run, text_index, commands, tmp_path):
    (tmp_path / "qrels").mkdir()
    for name in ("queries.jsonl", "qrels/test.tsv"):
        (tmp_path / name).write_text((commands / name).read_text(encoding="utf-8"), encoding="utf-8")
    lines = (commands / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines[1:]) + "\n", encoding="utf-8")
    shown = run("evaluate", text_index, tmp_path)
    assert shown.exit_code == 2
    assert "299" in shown.stderr


@pytest.mark.parametrize("name", ["folder", "documents.npy"])
def test_encoded_vectors_make_an_index_in_either_form(has_model, run, commands, tmp_path, name):
    out = tmp_path / name
    encoded = run("encode", commands, out, "--quiet")
    assert encoded.exit_code == 0, encoded.stderr
    assert "300 vectors of width 384" in encoded.stdout
    again = run("encode", commands, out, "--quiet")
    assert again.exit_code == 0, again.stderr
    made = run("build", "--corpus", out, "--similarity", "cosine", "--out", tmp_path / "i")
    assert made.exit_code == 0, made.stderr
    queries = tmp_path / "queries.npy"
    run("encode", commands, queries, "--side", "query", "--split", "test", "--quiet")
    found = json.loads(run("search", tmp_path / "i", "--vectors", queries, "-k", 1, "--json").stdout)
    lines = (commands / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    ids = {json.loads(line)["_id"] for line in lines}
    assert {answer["id"] for one in found for answer in one["answers"]} <= ids


def test_the_five_lines_of_the_readme(text_index):
    searcher = limbeck.open(text_index)
    for answer in searcher.answers([QUESTION], k=3)[0]:
        assert answer.score > -1
        assert answer.id


def limbeck_report(text):
    from limbeck.evaluate import Report

    return Report.from_json(text)


def test_an_index_whose_documents_changed_is_measured_on_what_it_holds_now_alone(
    text_index, commands, run, tmp_path
):
    index, data = tmp_path / "index", tmp_path / "data"
    shutil.copytree(text_index, index)
    shutil.copytree(commands, data)
    first, *rest = (data / "corpus.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    with closing(Journal(index)) as journal:
        journal.delete(json.loads(first)["_id"])
    apply_changes(index)
    refused = run("evaluate", index, data)
    assert refused.exit_code == 2
    assert "rows would not mean the same documents" in refused.stderr
    (data / "corpus.jsonl").write_text("".join(rest), encoding="utf-8")
    kept = [
        line
        for line in (data / "qrels" / "test.tsv").read_text().splitlines()
        if json.loads(first)["_id"] not in line
    ]
    (data / "qrels" / "test.tsv").write_text("\n".join(kept) + "\n")
    measured = run("evaluate", index, data)
    assert measured.exit_code == 0, measured.stderr
