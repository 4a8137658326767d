"""From ready vectors to an index, out to faiss, back, and what happens when something is in the way."""

import json
import shutil

import numpy as np
import pytest


def answers(run, folder, vectors, *options):
    found = run("search", folder, "--vectors", vectors / "three.npy", "-k", 5, "--json", *options)
    assert found.exit_code == 0, found.stderr
    return json.loads(found.stdout)


def test_the_index_answers_what_exact_search_would(run, index, vectors):
    found = answers(run, index, vectors)
    documents, queries = np.load(vectors / "docs.npy"), np.load(vectors / "three.npy")
    best = (queries @ documents.T).argmax(axis=1)
    listed = [[answer["id"] for answer in query["answers"]] for query in found]
    assert sum(f"d{row}" in ids for row, ids in zip(best, listed, strict=True)) >= 2  # 4 bytes for 16 numbers
    assert [len(ids) for ids in listed] == [5, 5, 5]


def test_distil_says_what_it_made_and_what_to_type_next(run, vectors, tmp_path):
    made = run(
        *("distil", "--corpus", vectors / "docs.npy", "--queries", vectors / "queries.npy"),
        *("--similarity", "dot", "--bytes", 2, "--epochs", 1, "--out", tmp_path / "i"),
    )
    assert "600 documents, DistillVQ" in made.stdout
    assert f"limbeck search {tmp_path / 'i'} --vectors" in made.stdout


@pytest.mark.parametrize("method", ["pq", "opq"])
def test_build_needs_no_queries(run, vectors, tmp_path, method):
    made = run(
        *("build", "--corpus", vectors / "docs.npy", "--similarity", "l2", "--method", method),
        *("--bytes", 4, "--lists", 4, "--out", tmp_path / "i"),
    )
    assert made.exit_code == 0, made.stderr
    assert f"600 documents, {method.upper()}" in made.stdout
    all_lists = answers(run, tmp_path / "i", vectors, "--effort", 1)
    assert all(len(query["answers"]) == 5 for query in all_lists)


@pytest.mark.parametrize(
    ("method", "flags"),
    [
        ("hnsw", ["--links", 8, "--store", "sq8"]),
        ("RaBitQ", ["--bits", 2, "--lists", 4, "--refine", "sq8", "--factor", 2.5]),
        ("pca-sq8", ["--bytes", 8, "--cut", "matryoshka"]),
        ("lsh", ["--bytes", 4]),
        ("ivf", ["--lists", 4, "--probes", "none"]),
        ("scannvq", ["--bytes", 2, "--rotate", "no"]),
    ],
)
def test_build_makes_any_engine_by_name_with_its_own_flags(run, vectors, tmp_path, method, flags):
    made = run(
        *("build", "--corpus", vectors / "docs.npy", "--similarity", "dot", "--method", method, *flags),
        *("--out", tmp_path / "i"),
    )
    assert made.exit_code == 0, made.stderr
    assert method.lower().replace("-", "") in made.stdout.lower()
    assert all(len(query["answers"]) == 5 for query in answers(run, tmp_path / "i", vectors, "--effort", 1))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--method", "hnws"], "'hnws' is not one of"),
        (["--method", "hnsw", "--bytes", 8], "HNSW has none"),
        (["--method", "ivf", "--lists", "many"], "'many'"),
        (["--method", "rabitq", "--bits", "9"], "not one of 1, 2, 3, 4"),
        (["--method", "lsh", "--refine", "zip"], "'zip' is not one of none, sq8"),
        (["--method", "hnsw", "--links", "x"], "'x' is not a whole number"),
        (["--method", "itq", "--bytes", 3], "Use 1..2"),
        (["--method", "scannvq", "--rotate", "perhaps"], "'perhaps' is not true or false"),
    ],
    ids=str,
)
def test_build_says_what_a_method_has(run, vectors, words, says, tmp_path):
    made = run(
        *("build", "--corpus", vectors / "docs.npy", "--similarity", "dot", "--out", tmp_path / "i", *words)
    )
    assert made.exit_code == 2
    assert says in " ".join(made.stderr.replace("│", " ").split())
    assert not (tmp_path / "i").exists()


def test_export_and_import_keep_every_answer_and_score(run, index, vectors, tmp_path):
    exported = run("export", index, tmp_path / "plain.faiss", "--quiet")
    assert exported.exit_code == 0, exported.stderr
    imported = run("import", tmp_path / "plain.faiss", tmp_path / "i", "--ids", tmp_path / "plain.ids.jsonl")
    assert imported.exit_code == 0, imported.stderr
    assert answers(run, tmp_path / "i", vectors) == answers(run, index, vectors)


def test_import_without_ids_names_rows(run, index, vectors, tmp_path):
    run("export", index, tmp_path / "plain.faiss", "--quiet")
    run("import", tmp_path / "plain.faiss", tmp_path / "i", "--similarity", "cosine")
    by_row = answers(run, tmp_path / "i", vectors)
    by_id = answers(run, index, vectors)
    assert [f"d{a['id']}" for q in by_row for a in q["answers"]] == [
        a["id"] for q in by_id for a in q["answers"]
    ]


def test_learned_routing_leaves_only_when_asked(run, vectors, tmp_path):
    made = run(
        *("distil", "--corpus", vectors / "docs.npy", "--queries", vectors / "queries.npy"),
        *("--similarity", "cosine", "--bytes", 4, "--lists", 8, "--epochs", 1, "--out", tmp_path / "i"),
    )
    assert made.exit_code == 0, made.stderr
    refused = run("export", tmp_path / "i", tmp_path / "plain.faiss")
    assert refused.exit_code == 2
    assert "--drop-routing" in refused.stderr
    assert run("export", tmp_path / "i", tmp_path / "plain.faiss", "--drop-routing", "--quiet").exit_code == 0


def test_text_answers_are_lines_of_rank_score_and_id(run, index, vectors):
    lines = run("search", index, "--vectors", vectors / "three.npy", "-k", 2).stdout.splitlines()
    assert [line.split()[0] for line in lines if line.strip()] == [
        "0",
        "1",
        "2",
        "1",
        "1",
        "2",
        "2",
        "1",
        "2",
    ]


def test_verify_passes_a_whole_index_and_names_every_bad_file(run, index, tmp_path):
    assert run("verify", index).exit_code == 0
    copy = tmp_path / "copy"
    shutil.copytree(index, copy)
    files = [path for path in copy.glob("gen-*/*") if path.name != "manifest.json" and path.is_file()]
    for path in files[:2]:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    shown = run("verify", copy)
    assert shown.exit_code == 3
    assert all(path.name in shown.stderr for path in files[:2])
    found = json.loads(run("verify", copy, "--json").stdout)
    assert not found["is_whole"]
    assert len(found["problems"]) == 2


def test_a_damaged_index_does_not_answer(run, index, vectors, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(index, copy)
    (file,) = copy.glob("gen-*/documents.sqlite")
    file.write_bytes(file.read_bytes()[:-1])
    shown = run("search", copy, "--vectors", vectors / "three.npy")
    assert shown.exit_code == 3
    assert "documents.sqlite" in shown.stderr
    assert "limbeck verify" in shown.stderr


def test_a_place_that_cannot_be_written_is_refused_before_any_work(run, vectors, tmp_path):
    (tmp_path / "file").touch()
    shown = run(
        *("build", "--corpus", vectors / "docs.npy", "--similarity", "dot"),
        *("--out", tmp_path / "file" / "index"),
    )
    assert shown.exit_code == 4
    assert str(tmp_path / "file") in shown.stderr


def test_a_folder_with_other_files_is_left_alone(run, vectors, tmp_path):
    (tmp_path / "thesis.tex").touch()
    shown = run("build", "--corpus", vectors / "docs.npy", "--similarity", "dot", "--out", tmp_path)
    assert shown.exit_code == 2
    assert "thesis.tex" in shown.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_index_that_is_there_is_replaced(run, vectors, index, tmp_path):
    out = tmp_path / "i"
    shutil.copytree(index, out)
    words = ("build", "--corpus", vectors / "docs.npy", "--similarity", "cosine", "--bytes", 2, "--out", out)
    assert run(*words).exit_code == 0
    assert "2 bytes" in run("import", "nowhere", out).stderr or run("verify", out).exit_code == 0


def test_a_codebook_leaves_an_index_and_codes_a_corpus_alike(run, index, vectors, tmp_path):
    exported = run("export", index, tmp_path / "codebook.safetensors")
    assert exported.exit_code == 0, exported.stderr
    assert "limbeck import" in exported.stdout
    made = run(
        *("import", tmp_path / "codebook.safetensors", tmp_path / "i", "--corpus", vectors / "docs.npy"),
        *("--similarity", "cosine"),
    )
    assert made.exit_code == 0, made.stderr
    assert answers(run, tmp_path / "i", vectors) == answers(run, index, vectors)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("export", "INDEX", "c.safetensors", "--drop-routing"), "holds routing vectors too"),
        (("export", "INDEX", ".", "--format", "codebook"), "expected a file to write"),
        (("import", "CODEBOOK", "i"), "--corpus DATA"),
        (("import", "CODEBOOK", "i", "--corpus", "DOCS", "--ids", "x"), "brings its ids"),
        (("import", "DOCS", "i"), "limbeck build"),
        (("import", "FAISS", "i", "--corpus", "DOCS"), "go with a codebook"),
    ],
)
def test_words_that_do_not_go_together_are_answered(run, index, vectors, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    places = {
        "INDEX": index,
        "CODEBOOK": tmp_path / "c.safetensors",
        "DOCS": vectors / "docs.npy",
        "FAISS": tmp_path / "p.faiss",
    }
    for path in ("CODEBOOK", "FAISS"):
        assert run("export", index, places[path], "--quiet").exit_code == 0
    refused = run(*(places.get(word, word) for word in words))
    assert refused.exit_code == 2
    assert says in " ".join(refused.stderr.split())


def test_limbecks_own_codes_are_distilled_saved_and_searched(run, vectors, tmp_path):
    made = run(
        *("distil", "--method", "limbeck", "--corpus", vectors / "docs.npy"),
        *("--queries", vectors / "queries.npy", "--similarity", "cosine", "--out", tmp_path / "i"),
        *("--bytes", 8, "--epochs", 1, "--least-steps", 10, "--quiet"),
    )
    assert made.exit_code == 0, made.stderr
    assert "Limbeck" in made.stdout
    found = run("search", tmp_path / "i", "--vectors", vectors / "queries.npy", "--json")
    assert found.exit_code == 0, found.stderr


@pytest.mark.parametrize(
    ("verb", "method", "says"),
    [("distil", "opq", "limbeck build --method opq"), ("build", "jpq", "limbeck distil --method jpq")],
)
def test_a_method_of_the_other_verb_is_pointed_to(run, vectors, verb, method, says):
    shown = run(verb, "--method", method, "--corpus", vectors / "docs.npy", "--out", "y")
    assert shown.exit_code == 2
    assert says in " ".join(shown.stderr.replace("│", " ").split())
