"""Query students held against their teacher through the program: what is told, what is written, what is refused."""

import json

import numpy as np
import pytest

from limbeck.evaluate.bound import TERMS


def model(folder, *, seed):
    """A sentence-transformers model of one narrow layer with random weights, behind MiniLM's tokenizer."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from transformers import AutoTokenizer, BertConfig, BertModel

    from limbeck.encoders.default_teacher import default_teacher

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(seed)
    BertModel(BertConfig(vocab_size=30522, **sizes)).save_pretrained(folder / "bert")
    AutoTokenizer.from_pretrained(default_teacher(), local_files_only=True).save_pretrained(folder / "bert")
    layers = [
        modules.Transformer(str(folder / "bert"), max_seq_length=64),
        modules.Pooling(32, "mean"),
        modules.Normalize(),
    ]
    SentenceTransformer(modules=layers, device="cpu").save_pretrained(str(folder / "model"))
    return folder / "model"


@pytest.fixture(scope="module")
def teacher(has_model, tmp_path_factory):
    return model(tmp_path_factory.mktemp("teacher"), seed=0)


@pytest.fixture(scope="module")
def students(teacher, commands, tmp_path_factory):
    """Two checkpoints of one student: after one step, and after sixty."""
    import limbeck
    from limbeck.recipes.static_student import StaticQueries

    folder = tmp_path_factory.mktemp("students")
    for name, steps in (("early", 1), ("late", 60)):
        recipe = StaticQueries(epochs=1, least_steps=steps, patience=100)
        limbeck.distil_encoder(
            corpus=commands, teacher=teacher, out=folder / name, recipe=recipe, progress=False
        )
    return folder / "early", folder / "late"


@pytest.fixture(scope="module")
def diagnosed(run, commands, teacher, students, tmp_path_factory):
    """What the verb printed about both, and the folder that it wrote."""
    out = tmp_path_factory.mktemp("diagnosed") / "out"
    words = [word for folder in students for word in ("--query-encoder", folder)]
    done = run("diagnose", "--corpus", commands, "--teacher", teacher, *words, "--out", out, "--quiet")
    assert done.exit_code == 0, done.stderr
    return done.stdout, out


def test_the_terms_of_each_student_are_told_and_add_up(diagnosed):
    told, out = diagnosed
    written = json.loads((out / "diagnosis.json").read_text())
    assert (written["train_split"], written["test_split"], written["negatives"]) == ("train", "test", 1)
    assert [student["name"] for student in written["students"]] == ["early", "late"]
    for student in written["students"]:
        assert sum(student["terms"].values()) == pytest.approx(student["gap"], abs=1e-10)
        assert student["train_pairs"] == student["test_pairs"] == 120  # 60 queries with one label each
        assert min(student["slack"].values()) > 0
        (line,) = [
            line for line in told.splitlines() if line.strip().startswith(student["name"]) and "±" in line
        ]
        shown = [float(cell) for cell in line.split()[-5:]]
        assert shown == pytest.approx([1000 * student["terms"][term] for term in TERMS], abs=0.006)
    assert "over 2 students" in told
    assert (out / "diagnosis.png").read_bytes().startswith(b"\x89PNG")


def test_training_brings_a_student_nearer_and_documents_stay_the_teachers(diagnosed):
    early, late = json.loads((diagnosed[1] / "diagnosis.json").read_text())["students"]
    assert late["query_distance"] < 0.9 * early["query_distance"]
    assert early["document_distance"] == late["document_distance"] == 0


def test_the_figures_are_those_of_the_students_own_vectors(diagnosed, commands, teacher, students):
    from limbeck.data.dataset import Dataset
    from limbeck.encoders.opening import open_encoder
    from limbeck.encoders.sentence import SentenceEncoder

    texts = Dataset.open(commands).split("train")[0].texts
    mine = open_encoder(students[1]).encode_query(texts)
    theirs = SentenceEncoder.open(teacher).encode(texts, side="query").flat
    late = json.loads((diagnosed[1] / "diagnosis.json").read_text())["students"][1]
    expected = np.linalg.norm(mine - theirs, axis=1).mean()
    assert late["query_distance"] == pytest.approx(expected, rel=1e-4)  # encoded in other batches


def test_students_that_encode_documents_themselves_inherit_nothing(run, commands, teacher, students):
    words = ("--teacher", teacher, "--query-encoder", students[1], "--student-documents", "--json", "--quiet")
    done = run("diagnose", "--corpus", commands, *words)
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["inherited_documents"] is False
    assert found["students"][0]["document_distance"] > 0.01
    assert found["rank_correlation"] == {"train": None, "test": None}


def test_a_student_of_another_teacher_is_refused(run, commands, students, tmp_path):
    other = model(tmp_path, seed=1)
    refused = run("diagnose", "--corpus", commands, "--teacher", other, "--query-encoder", students[0])
    assert refused.exit_code == 3
    assert f"{students[0]}: this student was distilled from another teacher" in refused.stderr
    assert "give as --teacher" in refused.stderr


def test_a_split_or_folder_that_is_not_there_is_named(run, commands, teacher, students):
    words = ("diagnose", "--corpus", commands, "--teacher", teacher, "--query-encoder")
    for more, said in (
        ((students[0], "--test-split", "tset"), "one of its splits (test, train), found 'tset'"),
        ((commands,), "is no query encoder"),
    ):
        refused = run(*words, *more)
        assert refused.exit_code == 2
        assert said in refused.stderr


def test_folders_of_one_name_are_told_apart_by_their_paths(students, tmp_path):
    from limbeck.jobs.diagnose import _named

    a, b = tmp_path / "a" / "student", tmp_path / "b" / "student"
    assert list(_named([a, b, a, students[0]])) == [str(a), str(b), "early"]
