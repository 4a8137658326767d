"""What hosts are tested on: functions of the standard library, their MiniLM vectors, and an index with ONNX queries.

python tests/integrations/make_index.py FOLDER       # corpus, documents.npy, queries.npy, index; about a minute
"""

import json
import sys
from pathlib import Path

import numpy as np

import limbeck
from limbeck.data import Dataset
from limbeck.data.python_api import harvest
from limbeck.encoders.collection import encode_texts


def make(folder):
    write_corpus(folder / "corpus")
    data = Dataset.open(folder / "corpus")
    encoder = limbeck.SentenceEncoder.open(max_length=128)
    recipe = limbeck.OPQ(code_bytes=16, lists=8)
    limbeck.distil(folder / "corpus", out=folder / "index", teacher=encoder, recipe=recipe, progress=False)
    np.save(folder / "documents.npy", encode_texts(data.corpus, encoder, "doc", progress=False))
    np.save(
        folder / "queries.npy", encode_texts(data.split("test")[0].texts, encoder, "query", progress=False)
    )


def write_corpus(folder):
    """The harvest, with the module and the number of lines as metadata."""
    documents = list(harvest(folder, size=600, packages=()).corpus)
    records = [
        {
            "_id": document.id,
            "title": document.title,
            "text": document.text,
            "metadata": {"module": document.id.split(".")[0], "lines": document.text.count("\n") + 1},
        }
        for document in documents
    ]
    lines = (json.dumps(record) + "\n" for record in records)
    (folder / "corpus.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
