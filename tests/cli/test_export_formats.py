"""`limbeck export` in the forms of other programs."""

import sys

import faiss
import pytest


def test_a_pyserini_folder_is_written_and_comes_back(run, index, tmp_path):
    made = run("export", index, tmp_path / "p", "--format", "pyserini")
    assert made.exit_code == 0, made.stderr
    assert "FaissSearcher" in made.stdout
    theirs = faiss.read_index(str(tmp_path / "p" / "index"))
    assert theirs.ntotal == len((tmp_path / "p" / "docid").read_text().splitlines())
    again = run("import", tmp_path / "p" / "index", tmp_path / "i", "--ids", tmp_path / "p" / "docid")
    assert again.exit_code == 0, again.stderr


def test_learned_routing_leaves_only_when_asked_in_every_form(run, vectors, tmp_path):
    made = run(
        *("distil", "--corpus", vectors / "docs.npy", "--queries", vectors / "queries.npy"),
        *("--similarity", "l2", "--bytes", 4, "--lists", 8, "--epochs", 1, "--out", tmp_path / "i"),
    )
    assert made.exit_code == 0, made.stderr
    for kind in ("pyserini", "lance"):
        refused = run("export", tmp_path / "i", tmp_path / kind, "--format", kind)
        assert refused.exit_code == 2
        assert "--drop-routing" in refused.stderr
    assert (
        run(
            "export", tmp_path / "i", tmp_path / "pyserini", "--format", "pyserini", "--drop-routing"
        ).exit_code
        == 0
    )


def test_lance_is_known_by_its_ending_and_asks_for_its_extra(run, index, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lance", None)
    missing = run("export", index, tmp_path / "x.lance")
    assert missing.exit_code == 2
    assert "limbeck[lance]" in missing.stderr


def test_a_lance_dataset_is_written_with_what_its_queries_need(run, index, tmp_path):
    pytest.importorskip("lance")
    made = run("export", index, tmp_path / "x.lance")
    assert made.exit_code == 0, made.stderr
    assert "nprobes=1" in made.stdout


@pytest.mark.parametrize("kind", ["faiss", "codebook", "lance"])
def test_effort_is_for_pyserini_alone(run, index, tmp_path, kind):
    refused = run("export", index, tmp_path / "x", "--format", kind, "--effort", 0.5)
    assert refused.exit_code == 2
    assert "--effort is for Pyserini" in refused.stderr
