"""Small real and ready-made data, indexes made of them once, and the program run in this process."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from limbeck.cli.app import app
from limbeck.data import Ids, Vectors

TORCH_FREE = """
import sys
for name in ("torch", "sentence_transformers", "transformers"):
    sys.modules[name] = None
from limbeck.cli import main
main()
"""

DATA = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture(scope="session")
def run():
    """run("verb", ...) gives exit_code, stdout and stderr."""

    def invoke(*words, stdin=None):
        return CliRunner().invoke(app, [str(word) for word in words], input=stdin, prog_name="limbeck")

    return invoke


@pytest.fixture(scope="session")
def without_torch():
    """without_torch("verb", ...) runs the program in a process of its own in which torch cannot be imported."""

    def invoke(*words):
        command = [sys.executable, "-c", TORCH_FREE, *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True)

    return invoke


@pytest.fixture(scope="session")
def vectors(tmp_path_factory):
    """A folder with docs.npy (600 x 16, ids d0 ...) and queries.npy, all of length 1."""
    folder = tmp_path_factory.mktemp("vectors")
    drawn = np.random.default_rng(0)
    documents = drawn.standard_normal((600, 16)).astype(np.float32)
    documents /= np.linalg.norm(documents, axis=1, keepdims=True)
    queries = documents[drawn.integers(0, 600, 200)] + 0.1 * drawn.standard_normal((200, 16))
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    Vectors(Ids.from_iterable(f"d{row}" for row in range(600)), documents).save(folder / "docs.npy")
    np.save(folder / "queries.npy", queries)
    np.save(folder / "three.npy", queries[:3])
    return folder


@pytest.fixture(scope="session")
def index(run, vectors, tmp_path_factory):
    """An index distilled from the vectors by the program itself."""
    out = tmp_path_factory.mktemp("made") / "index"
    made = run(
        *("distil", "--corpus", vectors / "docs.npy", "--queries", vectors / "queries.npy"),
        *("--similarity", "cosine", "--bytes", 4, "--epochs", 1, "--out", out),
    )
    assert made.exit_code == 0, made.stderr
    return out


@pytest.fixture(scope="session")
def commands(tmp_path_factory):
    """A BEIR folder: 300 documents of tldr with 60 training and 60 test queries that ask for them."""
    source = DATA / "tldr"
    if not source.is_dir():
        pytest.skip(f"{source} is not there")
    folder = tmp_path_factory.mktemp("beir") / "commands"
    (folder / "qrels").mkdir(parents=True)
    documents = _lines(source / "corpus.jsonl.gz")[:300]
    ids = {document["_id"] for document in documents}
    asked = set()
    for split in ("train", "test"):
        head, *rows = (source / "qrels" / f"{split}.tsv").read_text(encoding="utf-8").splitlines()
        kept = [row for row in rows if row.split("\t")[1] in ids][:60]  # few: the export is checked on each
        asked |= {row.split("\t")[0] for row in kept}
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join([head, *kept]) + "\n", encoding="utf-8")
    queries = [query for query in _lines(source / "queries.jsonl.gz") if query["_id"] in asked]
    for name, records in (("corpus", documents), ("queries", queries)):
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def has_model():
    """Skips where the default teacher is not on this machine."""
    from limbeck.encoders.default_teacher import default_teacher
    from limbeck.errors import MissingExtra

    pytest.importorskip("sentence_transformers")
    try:
        default_teacher()
    except MissingExtra as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def text_index(has_model, run, commands, tmp_path_factory):
    """An index that answers text, distilled from the 300 documents with MiniLM."""
    out = tmp_path_factory.mktemp("made") / "text-index"
    made = run("distil", "--corpus", commands, "--bytes", 32, "--epochs", 1, "--quiet", "--out", out)
    assert made.exit_code == 0, made.stderr
    return out


def _lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]
