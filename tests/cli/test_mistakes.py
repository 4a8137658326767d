"""The likely mistakes of new users are answered with what to type."""

import numpy as np
import pytest


def refused(run, *words, stdin=None):
    """What is said, on one line, when these words end with exit code 2."""
    shown = run(*words, stdin=stdin)
    assert shown.exit_code == 2, shown.output
    assert "Traceback" not in shown.output
    return " ".join(shown.stderr.replace("│", " ").split())


@pytest.fixture
def beir(tmp_path):
    """A tiny data set folder."""
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "text": "a"}\n{"_id": "d2", "text": "b"}\n')
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "a"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    return folder


def test_a_path_with_a_typo_is_answered_with_its_neighbour(run, vectors):
    says = refused(run, "build", "--corpus", vectors / "dosc.npy", "--similarity", "dot", "--out", "x")
    assert f"did you mean {vectors / 'docs.npy'}" in says


def test_a_missing_folder_is_named(run, tmp_path):
    says = refused(run, "distil", "--corpus", tmp_path / "no" / "docs.jsonl", "--out", "x")
    assert f"the folder {tmp_path / 'no'} is not there" in says


def test_vectors_need_a_similarity(run, vectors):
    says = refused(run, "distil", "--corpus", vectors / "docs.npy", "--out", "x")
    assert "cosine" in says


def test_vectors_of_other_lengths_are_not_cosine(run, tmp_path):
    np.save(tmp_path / "long.npy", np.full((300, 8), 2, np.float32))
    says = refused(
        run, "build", "--corpus", tmp_path / "long.npy", "--similarity", "cosine", "--bytes", 4, "--out", "x"
    )
    assert "length" in says
    assert "dot" in says


def test_bytes_that_do_not_divide_the_width_are_answered_with_those_that_do(run, vectors):
    says = refused(
        run, "build", "--corpus", vectors / "docs.npy", "--similarity", "dot", "--bytes", 5, "--out", "x"
    )
    assert "[2, 4, 8]" in says


def test_too_few_documents_are_refused_before_they_are_encoded(run, tmp_path):
    np.save(tmp_path / "few.npy", np.eye(8, dtype=np.float32))
    says = refused(
        run, "build", "--corpus", tmp_path / "few.npy", "--similarity", "dot", "--bytes", 8, "--out", "x"
    )
    assert "256" in says


def test_more_lists_than_documents_are_refused(run, vectors):
    says = refused(
        *(run, "build", "--corpus", vectors / "docs.npy", "--similarity", "dot"),
        *("--bytes", 4, "--lists", 900, "--out", "x"),
    )
    assert "600" in says


def test_build_says_that_distil_takes_queries(run, vectors):
    words = ("build", "--corpus", vectors / "docs.npy", "--queries", vectors / "queries.npy", "--out", "x")
    assert "limbeck distil" in refused(run, *words)


def test_an_index_is_no_corpus(run, index):
    assert "limbeck search" in refused(run, "distil", "--corpus", index, "--out", "x")


def test_a_data_set_is_no_file_of_queries(run, vectors, beir):
    says = refused(run, "distil", "--corpus", beir, "--queries", beir, "--out", "x")
    assert "queries.jsonl" in says


def test_text_queries_do_not_go_with_a_corpus_of_vectors(run, vectors, beir):
    says = refused(
        *(run, "distil", "--corpus", vectors / "docs.npy", "--similarity", "dot"),
        *("--queries", beir / "queries.jsonl", "--out", "x"),
    )
    assert "vectors" in says


def test_a_teacher_has_nothing_to_do_for_vectors(run, vectors):
    words = ("build", "--corpus", vectors / "docs.npy", "--similarity", "dot", "--teacher", "x", "--out", "y")
    assert "teacher" in refused(run, *words)


def test_a_data_set_is_no_index(run, beir):
    assert "limbeck distil" in refused(run, "search", beir, "text")


def test_the_folder_above_an_index_is_answered_with_the_index(run, index):
    assert f"did you mean {index}" in refused(run, "search", index.parent, "text")


def test_a_faiss_file_is_answered_with_import(run, tmp_path):
    (tmp_path / "x.faiss").touch()
    assert "limbeck import" in refused(run, "search", tmp_path / "x.faiss", "text")


def test_the_pointer_file_is_answered_with_its_folder(run, index):
    assert f"did you mean the folder {index}" in refused(run, "verify", index / "CURRENT")


def test_texts_are_refused_by_an_index_of_vectors(run, index):
    assert "made from vectors" in refused(run, "search", index, "a question")


def test_a_search_for_nothing_is_refused(run, index):
    assert "no query" in refused(run, "search", index, stdin="\n\n")


def test_texts_and_vectors_together_are_refused(run, index, vectors):
    assert "not both" in refused(run, "search", index, "text", "--vectors", vectors / "three.npy")


def test_query_vectors_of_another_width_are_refused(run, index, tmp_path):
    np.save(tmp_path / "wide.npy", np.ones((2, 17), np.float32))
    says = refused(run, "search", index, "--vectors", tmp_path / "wide.npy")
    assert "17" in says
    assert "16" in says


def test_effort_above_one_is_refused(run, index, vectors):
    assert "effort" in refused(run, "search", index, "--vectors", vectors / "three.npy", "--effort", 2)


def test_evaluate_notices_swapped_arguments(run, index, beir):
    assert "data set" in refused(run, "evaluate", beir, index)


def test_evaluate_wants_a_data_set_not_an_index(run, index):
    assert "limbeck evaluate INDEX DATA" in refused(run, "evaluate", index, index)


def test_evaluate_wants_a_folder(run, index, beir):
    assert "corpus.jsonl" in refused(run, "evaluate", index, beir / "queries.jsonl")


def test_evaluate_needs_an_index_that_reads_text(run, index, beir):
    assert "query encoder" in refused(run, "evaluate", index, beir)


def test_export_wants_a_file(run, index, tmp_path):
    assert ".faiss" in refused(run, "export", index, tmp_path)


def test_import_of_vectors_is_answered_with_build(run, vectors, tmp_path):
    assert "limbeck build" in refused(run, "import", vectors / "docs.npy", tmp_path / "i")


def test_import_of_a_folder_is_refused(run, index, tmp_path):
    assert "expected a faiss file" in refused(run, "import", index, tmp_path / "i")


def test_import_with_ids_that_do_not_count_up_is_refused(run, index, tmp_path):
    run("export", index, tmp_path / "x.faiss", "--quiet")
    (tmp_path / "ids.txt").write_text("a\nb\n")
    says = refused(run, "import", tmp_path / "x.faiss", tmp_path / "i", "--ids", tmp_path / "ids.txt")
    assert "2 ids" in says


def test_import_refuses_another_similarity(run, index, tmp_path):
    run("export", index, tmp_path / "x.faiss", "--quiet")
    assert "l2" in refused(run, "import", tmp_path / "x.faiss", tmp_path / "i", "--similarity", "l2")


def test_compare_wants_labels(run, beir):
    assert "--qrels" in refused(run, "compare", beir / "corpus.jsonl", beir / "corpus.jsonl")


def test_compare_names_the_line_that_is_no_run(run, beir):
    words = ("compare", beir / "corpus.jsonl", beir / "corpus.jsonl")
    assert "corpus.jsonl:1" in refused(run, *words, "--qrels", beir / "qrels" / "test.tsv")


def test_doctor_of_an_index_is_answered_with_verify(run, index):
    assert "limbeck verify" in refused(run, "doctor", index)


def test_encode_refuses_splits_of_documents(run, beir, tmp_path):
    assert "--side query" in refused(run, "encode", beir, tmp_path / "out", "--split", "test")


def test_quickstart_refuses_sizes_that_cannot_be_measured(run):
    assert "256" in refused(run, "quickstart", "--documents", 10)
