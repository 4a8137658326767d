"""A query encoder distilled for an index that exists: it answers without torch, and only for its teacher's index."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import limbeck
from limbeck.encoders.opening import open_encoder
from limbeck.errors import EncoderMismatch
from limbeck.evaluate import Report

QUESTION = "restart the device"


@pytest.fixture(scope="module")
def student(text_index, commands, run, tmp_path_factory):
    """Distilled from the 300 documents and 60 queries."""
    out = tmp_path_factory.mktemp("made") / "student"
    made = run("distil-encoder", "--corpus", commands, "--out", out, "--quiet")
    assert made.exit_code == 0, made.stderr
    assert "MB" in made.stdout
    return out


def test_it_answers_much_as_the_teacher_does_on_queries_that_it_never_saw(student, text_index, commands):
    lines = (commands / "queries.jsonl").read_text().splitlines()
    asked = {record["_id"]: record["text"] for record in map(json.loads, lines)}
    rows = (commands / "qrels" / "test.tsv").read_text().splitlines()[1:]
    texts = [asked[row.split("\t")[0]] for row in rows]
    teacher = limbeck.open(text_index).search(texts, 10).ids
    found = limbeck.open(text_index, encoder=open_encoder(student)).search(texts, 10).ids
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(teacher, found, strict=True)])
    assert shared > 0.4  # a tenth by chance would be .03


def test_it_answers_with_torch_blocked(student, text_index, run, without_torch):
    words = ("search", text_index, QUESTION, "--query-encoder", student, "--json")
    ran = without_torch(*words)
    assert ran.returncode == 0, ran.stderr
    (found,) = json.loads(ran.stdout)
    assert [answer["rank"] for answer in found["answers"]] == list(range(1, 11))
    assert ran.stdout == run(*words).stdout


def test_the_index_is_not_touched(student, text_index):
    generation = next(text_index.glob("gen-*"))
    assert json.loads((generation / "manifest.json").read_text())["content"]["encoder"]["precision"] != "int8"
    assert limbeck.open(text_index).encoder.fingerprint.pooling == "mean"


def test_an_index_of_another_teacher_refuses_it(student, text_index):
    encoder = open_encoder(student)
    encoder.space = replace(encoder.space, weights="0" * 64)
    with pytest.raises(EncoderMismatch, match="weights"):
        limbeck.open(text_index, encoder=encoder)


def test_the_same_command_gives_the_same_bytes(student, commands, run, tmp_path):
    again = run("distil-encoder", "--corpus", commands, "--out", tmp_path / "again", "--quiet")
    assert again.exit_code == 0, again.stderr
    for name in ("tokens.safetensors", "tokenizer.json", "encoder.json"):
        assert (tmp_path / "again" / name).read_bytes() == (student / name).read_bytes()


def test_other_files_are_never_replaced(run, commands, has_model):
    before = sorted(commands.rglob("*"))
    refused = run("distil-encoder", "--corpus", commands, "--out", commands)
    assert refused.exit_code == 2
    assert "holds other files" in refused.stderr
    assert sorted(commands.rglob("*")) == before


def test_without_queries_it_says_what_to_give(run, commands, has_model, tmp_path):
    shutil.copy(commands / "corpus.jsonl", tmp_path / "corpus.jsonl")
    refused = run("distil-encoder", "--corpus", tmp_path / "corpus.jsonl", "--out", tmp_path / "student")
    assert refused.exit_code == 2
    assert "--queries FILE" in refused.stderr
    assert not (tmp_path / "student").exists()


def test_a_folder_that_is_no_encoder_is_refused(run, text_index, commands):
    refused = run("search", text_index, QUESTION, "--query-encoder", commands)
    assert refused.exit_code == 2
    assert "is no query encoder" in refused.stderr


def test_vectors_need_no_encoder(run, index, vectors, tmp_path):
    words = ("search", index, "--vectors", vectors / "three.npy", "--query-encoder", tmp_path)
    refused = run(*words)
    assert refused.exit_code == 2
    assert "vectors need no encoder" in refused.stderr


def test_some_of_the_teachers_layers_answer_too(run, without_torch, text_index, commands, tmp_path):
    made = run(
        *("distil-encoder", "--corpus", commands, "--student", "layers", "--layers", "0,5", "--epochs", 1),
        *("--out", tmp_path / "student", "--quiet"),
    )
    assert made.exit_code == 0, made.stderr
    ran = without_torch("search", text_index, QUESTION, "--query-encoder", tmp_path / "student", "--json")
    assert ran.returncode == 0, ran.stderr
    (found,) = json.loads(ran.stdout)
    assert len(found["answers"]) == 10


def test_a_narrow_transformer_and_another_model_answer_too(run, text_index, commands, has_model, tmp_path):
    from limbeck.encoders.default_teacher import default_teacher

    for name, words in (
        ("narrow", ("--width", "64")),
        ("model", ("--model", default_teacher(), "--layers", "0")),
    ):
        out = tmp_path / name
        words = ("distil-encoder", "--corpus", commands, "--student", name, *words, "--epochs", 1)
        made = run(*words, "--out", out, "--quiet")
        assert made.exit_code == 0, made.stderr
        (answers,) = limbeck.open(text_index, encoder=out).answers([QUESTION], 3)
        assert len(answers) == 3


def test_options_of_other_students_are_refused(run, commands, tmp_path):
    for words, said in (
        (("--layers", "0,5"), "--student layers or --student narrow or --student model"),
        (("--student", "layers", "--layers", "x"), "0,5"),
        (("--student", "layers", "--width", "64"), "--student static or --student narrow"),
        (("--model", "m"), "--student model"),
        (("--student", "model"), "--model FOLDER_OR_HUB_NAME"),
        (("--student", "narrow", "--width", "100"), "a multiple of 32"),
    ):
        refused = run("distil-encoder", "--corpus", commands, "--out", tmp_path / "student", *words)
        assert refused.exit_code == 2
        assert said in refused.stderr


def test_labels_and_more_queries_are_learned_from_as_well(text_index, commands, run, tmp_path):
    more = tmp_path / "more.jsonl"
    more.write_text('{"_id": "m1", "text": "reboot the machine at once"}\n{"_id": "m2", "text": "halt it"}\n')
    out = tmp_path / "student"
    words = ("distil-encoder", "--corpus", commands, "--out", out, "--more-queries", more, "--quiet")
    made = run(*words, "--labels", commands / "qrels" / "train.tsv")
    assert made.exit_code == 0, made.stderr
    (answers,) = limbeck.open(text_index, encoder=out).answers([QUESTION], 3)
    assert len(answers) == 3
    without = run("distil-encoder", "--corpus", commands, "--out", tmp_path / "other", "--quiet")
    assert without.exit_code == 0
    assert not np.array_equal(
        open_encoder(out).encode_query([QUESTION]), open_encoder(tmp_path / "other").encode_query([QUESTION])
    )


def test_a_narrow_student_is_smaller_and_answers(text_index, commands, run, student, tmp_path):
    out = tmp_path / "narrow"
    made = run("distil-encoder", "--corpus", commands, "--width", "64", "--out", out, "--quiet")
    assert made.exit_code == 0, made.stderr
    size, whole = ((folder / "tokens.safetensors").stat().st_size for folder in (out, student))
    assert size < 0.4 * whole
    (answers,) = limbeck.open(text_index, encoder=out).answers([QUESTION], 3)
    assert len(answers) == 3


@pytest.fixture(scope="module")
def fitting(text_index, commands, run, tmp_path_factory):
    """An encoder taught over the index's codes, and the index whose codewords moved along."""
    folder = tmp_path_factory.mktemp("made")
    made = run(
        *("distil-encoder", "--corpus", commands, "--index", text_index, "--new-index", folder / "index"),
        *("--out", folder / "student", "--quiet"),
    )
    assert made.exit_code == 0, made.stderr
    assert f"limbeck search {folder / 'index'} --query-encoder {folder / 'student'}" in made.stdout
    return folder


def test_over_the_codes_of_an_index_another_encoder_is_taught_and_the_index_stays(
    text_index, student, commands, run, tmp_path
):
    before = {path: path.read_bytes() for path in text_index.rglob("*") if path.is_file()}
    words = ("distil-encoder", "--corpus", commands, "--index", text_index, "--quiet")
    made = run(*words, "--out", tmp_path / "student")
    assert made.exit_code == 0, made.stderr
    assert {path: path.read_bytes() for path in text_index.rglob("*") if path.is_file()} == before
    (answers,) = limbeck.open(text_index, encoder=tmp_path / "student").answers([QUESTION], 3)
    assert len(answers) == 3
    assert not np.array_equal(
        open_encoder(tmp_path / "student").encode_query([QUESTION]),
        open_encoder(student).encode_query([QUESTION]),
    )


def test_the_index_that_fits_has_the_same_codes_and_other_codewords(fitting, text_index):
    old, new = limbeck.open(text_index), limbeck.open(fitting / "index", encoder=fitting / "student")
    np.testing.assert_array_equal(new.index.codes.codes, old.index.codes.codes)
    parts = [searcher.index.quantiser.parts()["score.codewords"] for searcher in (old, new)]
    assert not np.array_equal(*parts)
    rows = list(range(len(old)))
    assert new.documents.documents(rows) == old.documents.documents(rows)
    made_from = new.manifest.content["made_from"]["name"]
    assert (new.manifest.content["recipe"]["name"], made_from) == ("ThroughCodes", "DistillVQ")
    (answers,) = new.answers([QUESTION], 3)
    assert len(answers) == 3


def test_the_teacher_still_answers_from_it_and_all_else_in_it_is_kept(
    fitting, text_index, commands, run, tmp_path
):
    with_words = tmp_path / "with-words"
    shutil.copytree(text_index, with_words)
    assert run("hybrid", with_words, "--quiet").exit_code == 0
    words = ("distil-encoder", "--corpus", commands, "--index", with_words, "--new-index", with_words)
    made = run(*words, "--out", tmp_path / "student", "--quiet")
    assert made.exit_code == 0, made.stderr
    assert run("verify", with_words).exit_code == 0
    assert limbeck.open(with_words).search([QUESTION], 3, mode="lexical").ids.shape == (1, 3)
    again = limbeck.open(with_words).search([QUESTION], 10)
    np.testing.assert_array_equal(again.ids, limbeck.open(fitting / "index").search([QUESTION], 10).ids)


def test_evaluate_asks_with_it_and_holds_it_against_the_teachers_exact_search(
    student, text_index, commands, run
):
    found = {}
    for name, words in {"own": (), "student": ("--query-encoder", student)}.items():
        ran = run("evaluate", text_index, commands, "--exact", "--json", "--quiet", *words)
        assert ran.exit_code == 0, ran.stderr
        found[name] = {row.system: row.measures for row in Report.from_json(ran.stdout).rows}
    exact, same = (rows["exact"]["RR@10"].mean for rows in found.values())
    assert exact == pytest.approx(same, abs=0.02)
    overlaps = [rows["DistillVQ"]["overlap@10"].mean for rows in found.values()]
    assert overlaps[0] > overlaps[1]


def test_what_does_not_fit_the_index_is_refused_before_any_training(
    text_index, index, commands, run, tmp_path
):
    other = tmp_path / "other"
    shutil.copytree(commands, other)
    lines = (other / "corpus.jsonl").read_text().splitlines(keepends=True)
    (other / "corpus.jsonl").write_text("".join([*lines[1:], lines[0]]))
    queries = commands / "queries.jsonl"
    for words, said in (
        (("--corpus", other, "--index", text_index), "the corpus that the index was made from"),
        (("--queries", queries, "--index", text_index), "give --corpus, what the index was made from"),
        (("--corpus", commands, "--new-index", tmp_path / "new"), "give --index as well"),
        (
            ("--corpus", commands, "--index", text_index, "--labels", commands / "qrels" / "train.tsv"),
            "leave the labels or the index out",
        ),
        (("--corpus", commands, "--index", text_index, "--new-index", commands), "holds other files"),
        (("--corpus", commands, "--index", commands), "is not the folder of an index"),
        (("--corpus", commands, "--index", index), "vectors of width"),
        (
            ("--corpus", commands, "--index", text_index, "--new-index", tmp_path / "student"),
            "cannot share a folder",
        ),
    ):
        refused = run("distil-encoder", *words, "--out", tmp_path / "student")
        assert refused.exit_code == 2, refused.stderr
        assert said in refused.stderr


def test_an_index_of_ready_vectors_is_known_by_its_ids(commands, has_model, run, tmp_path):
    vectors = tmp_path / "vectors.npy"
    assert run("encode", commands, vectors, "--quiet").exit_code == 0
    made = run(
        "build", "--corpus", vectors, "--similarity", "cosine", "--bytes", 16, "--out", tmp_path / "index"
    )
    assert made.exit_code == 0, made.stderr
    words = ("distil-encoder", "--index", tmp_path / "index", "--epochs", 1, "--quiet")
    assert run(*words, "--corpus", commands, "--out", tmp_path / "student").exit_code == 0
    turned = tmp_path / "turned"
    shutil.copytree(commands, turned)
    lines = (turned / "corpus.jsonl").read_text().splitlines(keepends=True)
    (turned / "corpus.jsonl").write_text("".join(lines[::-1]))
    refused = run(*words, "--corpus", turned, "--out", tmp_path / "other")
    assert refused.exit_code == 2
    assert "rows would not mean the same documents" in refused.stderr


def test_the_epochs_asked_for_are_those_that_are_made(commands, run, tmp_path):
    words = ("distil-encoder", "--corpus", commands, "--out", tmp_path / "student", "--verbose")
    made = run(*words, "--epochs", 2)
    assert made.exit_code == 0, made.stderr
    assert "epoch 2:" in made.stderr
    assert "epoch 3:" not in made.stderr


def test_labels_of_other_documents_are_refused(commands, run, tmp_path):
    labels = tmp_path / "labels.tsv"
    labels.write_text("query-id\tcorpus-id\tscore\nnobody\tnothing\t1\n")
    made = run("distil-encoder", "--corpus", commands, "--labels", labels, "--out", tmp_path / "student")
    assert made.exit_code != 0
    assert "name no pair" in made.stderr
    assert not (tmp_path / "student").exists()


def test_labels_without_a_corpus_are_refused(commands, run, tmp_path):
    words = ("distil-encoder", "--queries", commands / "queries.jsonl", "--out", tmp_path / "student")
    made = run(*words, "--labels", commands / "qrels" / "train.tsv")
    assert made.exit_code != 0
    assert "--corpus" in made.stderr
