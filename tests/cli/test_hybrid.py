"""`limbeck hybrid`, and searches by words and by both."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from limbeck.data import Dataset
from limbeck.encoders.fingerprint import Fingerprint
from limbeck.encoders.static import StaticEncoder, TokenTable
from limbeck.index.document_store import FILE, DocumentStore
from limbeck.index.flat import Flat
from limbeck.index.store import publish
from limbeck.retrieve import QUERY_ENCODER

WORDS = [
    "and",
    "the",
    "of",
    "to",
    *(f"{a}{b}" for a in ("lis", "fil", "par", "sor", "cop") for b in ("ten", "ing")),
]
QUESTION = "listen and parten number7"
DIM = 16


@pytest.fixture(scope="module")
def beir(tmp_path_factory):
    """200 documents of words that many share and a number of their own; 40 queries, for every other with the number."""
    folder = tmp_path_factory.mktemp("beir") / "words"
    (folder / "qrels").mkdir(parents=True)
    drawn = np.random.default_rng(0)
    texts = [" ".join(drawn.choice(WORDS, 8)) + f" number{row}" for row in range(200)]
    asked = [" ".join(text.split()[0 if row % 2 else 5 : 8 + row % 2]) for row, text in enumerate(texts[:40])]
    for name, lines in (("corpus", texts), ("queries", asked)):
        records = [{"_id": f"{name[0]}{row}", "text": line} for row, line in enumerate(lines)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    rows = [f"q{row}\tc{row}\t1\n" for row in range(40)]
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    return folder


def table_of_words():
    """An encoder that knows the common words, and no number: a vector for each, drawn at random."""
    words = {word: row for row, word in enumerate(["[NONE]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[NONE]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    drawn = np.random.default_rng(0)
    vectors, weights = drawn.normal(size=(len(words), DIM)), np.ones(len(words), dtype=np.float32)
    table = TokenTable.rounded(
        vectors.astype(np.float32), weights, drawn.normal(size=(len(words), 2)), np.zeros((2, DIM))
    )
    teacher = Fingerprint(weights="0" * 64, dim=DIM, pooling="mean", max_length=64)
    own = replace(teacher, weights=table.digest, precision="int8", normalise=True)
    return StaticEncoder(table, tokenizer, own, teacher), teacher


@pytest.fixture(scope="module")
def plain_index(beir, tmp_path_factory):
    """An index that answers text, with its encoder inside."""
    encoder, teacher = table_of_words()
    dataset = Dataset.open(beir)
    index = Flat(encoder.encode(dataset.corpus.texts(), side="doc").flat)

    def write(folder):
        index.save(folder)
        DocumentStore.write(folder / FILE, dataset.corpus)
        (folder / QUERY_ENCODER).mkdir()
        encoder.save(folder / QUERY_ENCODER)

    data = {"fingerprint": dataset.corpus.fingerprint}
    folder = tmp_path_factory.mktemp("plain") / "index"
    publish(folder, write, {"index": "flat", "encoder": teacher.to_json(), "data": data})
    return folder


@pytest.fixture(scope="module")
def hybrid_index(run, plain_index, beir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hybrid") / "index"
    shutil.copytree(plain_index, folder)
    made = run("hybrid", folder, "--queries-of", beir)
    assert made.exit_code == 0, made.stderr
    return folder, made.stdout


def test_the_figures_and_the_weight_are_shown(hybrid_index):
    _, shown = hybrid_index
    assert "BM25 by 'english'" in shown
    assert "nDCG@10 on the 40 queries of dev" in shown
    assert "Vectors weigh" in shown


def test_words_answer_without_torch_or_bm25s(hybrid_index, without_torch):
    folder, _ = hybrid_index
    for mode in ("lexical", "hybrid"):
        ran = without_torch("search", folder, QUESTION, "--mode", mode, "-k", 3, "--json")
        assert ran.returncode == 0, ran.stderr
        (found,) = json.loads(ran.stdout)
        assert len(found["answers"]) == 3


def test_the_modes_are_not_the_same(run, hybrid_index):
    folder, _ = hybrid_index
    scores = {
        mode: json.loads(run("search", folder, QUESTION, "--mode", mode, "--json").stdout)[0]["answers"][0][
            "score"
        ]
        for mode in ("dense", "lexical", "hybrid")
    }
    assert len(set(scores.values())) == 3
    assert 0 < scores["hybrid"] <= 1


def test_an_index_without_bm25_names_the_command(run, plain_index):
    shown = run("search", plain_index, QUESTION, "--mode", "hybrid")
    assert shown.exit_code == 2
    assert "limbeck hybrid" in shown.stderr


def test_words_need_texts(run, hybrid_index, vectors):
    shown = run("search", hybrid_index[0], "--vectors", vectors / "three.npy", "--mode", "lexical")
    assert shown.exit_code == 2
    assert "words need texts" in shown.stderr


def test_a_split_without_its_folder_is_refused(run, plain_index):
    shown = run("hybrid", plain_index, "--split", "dev")
    assert shown.exit_code == 2
    assert "--queries-of" in shown.stderr


def test_an_index_of_vectors_is_refused(run, index):
    shown = run("hybrid", index, "--quiet")
    assert shown.exit_code == 2
    assert "made from vectors" in shown.stderr


def test_ranks_are_used_where_no_labels_are_given(run, plain_index, tmp_path):
    folder = tmp_path / "index"
    shutil.copytree(plain_index, folder)
    shown = run("hybrid", folder, "--analyser", "words")
    assert shown.exit_code == 0, shown.stderr
    assert "'words'" in shown.stdout
    assert "by their ranks" in shown.stdout
