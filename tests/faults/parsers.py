"""Every parser of files that users bring or artefacts hold, as bytes in and all of the result read; and examples."""

import hashlib
import json

from limbeck.data.corpus import Corpus
from limbeck.data.ids import Ids
from limbeck.data.labels import Qrels
from limbeck.data.queries import Queries
from limbeck.data.run import Run
from limbeck.data.vectors import read_ids
from limbeck.encoders.opening import open_encoder
from limbeck.index import store
from limbeck.index.lexical_files import open_postings
from limbeck.lexical_part import FOLDER, LexicalPart

GENERATION = f"{store.GENERATION}0"
SHA = hashlib.sha256(b"").hexdigest()


def corpus(path):
    opened = Corpus.open(path)
    return [document.content for document in opened], opened.fingerprint


def tolerant_corpus(path):
    return list(Corpus.open(path, on_error="skip", duplicates="last", rejects=path.parent / "rejects"))


def queries(path):
    return Queries.open(path).fingerprint


def qrels(path):
    found = Qrels.open(path)
    return found.fingerprint, found.rows(Ids.from_iterable(found.query_ids), Ids.numbered(3))


def run(path):
    return Run.open(path).as_dict()


def ids(path):
    return list(read_ids(path))


def current(path):
    return store.open_current(path.parent)


def manifest(path):
    """Under a CURRENT that names its sha256, as whoever made it could write it."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    pointer = {"format_version": store.FORMAT_VERSION, "generation": GENERATION, "manifest_sha256": digest}
    (path.parents[1] / store.CURRENT).write_text(json.dumps(pointer) + "\n")
    return store.open_current(path.parents[1])


def fusion(path):
    return LexicalPart.open(path.parents[1], documents=1)


def words(path):
    return open_postings(path.parent)


def encoder(path):
    return open_encoder(path.parent)


PARSERS = {  # name of the file to its parser
    "corpus.jsonl": corpus,
    "corpus.tsv": corpus,
    "rough.jsonl": tolerant_corpus,
    "rough.tsv": tolerant_corpus,
    "queries.jsonl": queries,
    "queries.tsv": queries,
    "qrels.tsv": qrels,
    "run.trec": run,
    "ids.txt": ids,
    "ids.jsonl": ids,
    "CURRENT": current,
    f"{GENERATION}/manifest.json": manifest,
    f"{FOLDER}/fusion.json": fusion,
    f"{FOLDER}/bm25.json": words,
    "encoder/encoder.json": encoder,
}
_MODEL = {"weights": SHA, "dim": 4, "pooling": "mean", "prompts": {}, "max_length": None, "normalise": True}
_PRINT = {**_MODEL, "precision": "int8", "similarity": "cosine"}
_KNOWN = {"tokens.safetensors": SHA, "tokenizer.json": SHA}
_STATIC = {"format": 1, "kind": "static", "fingerprint": _PRINT, "space": _PRINT, "files": _KNOWN}
_POINTER = {"format_version": 1, "generation": GENERATION, "manifest_sha256": SHA}
_MANIFEST = {
    "format_version": 1,
    "written_by": "1",
    "files": {"x": {"size": 0, "sha256": SHA}},
    "content": {"a": 1},
}
_COUNTS = {"letters": 1, "ends": 1, "starts": 2, "rows": 1, "scores": 1}
_WORDS = {"analyser": "words", "documents": 1, "k1": 1.2, "b": 0.75, "counts": _COUNTS}
EXAMPLES = {  # by the end of the name: whole files, to begin from
    ".jsonl": b'\xef\xbb\xbf{"_id": "d1", "title": "t", "text": "x\\u00e9", "n": [1.5, {"m": null}]}\r\n"d2"\n',
    ".tsv": b"query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t-2.0\n",
    ".trec": b"q1 Q0 d1 1 2.5 tag\nq1 Q0 d2 2 2.5 tag\n",
    ".txt": b"d1\nd2\n\n",
    "CURRENT": json.dumps(_POINTER).encode() + b"\n",
    "manifest.json": json.dumps(_MANIFEST).encode(),
    "fusion.json": b'{"method": "scores", "weight": 0.5, "depth": 100, "fitted_on": {}}',
    "bm25.json": json.dumps(_WORDS).encode(),
    "encoder.json": json.dumps(_STATIC).encode(),
}


def example(name):
    return next(held for end, held in EXAMPLES.items() if name.endswith(end))


def prepared(folder):
    """The folder with all that the parsers need beside their files."""
    for name in PARSERS:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
    (folder / GENERATION / "x").touch()
    for name, size in {
        "terms.utf8": 1,
        "ends.int64": 8,
        "starts.int64": 16,
        "rows.int32": 4,
        "scores.float32": 4,
    }.items():
        (folder / FOLDER / name).write_bytes(bytes(size))
    for name in _KNOWN:
        (folder / "encoder" / name).touch()
    return folder


def parse(folder, name, data):
    """What the parser of this file makes of the bytes; its errors are passed on."""
    path = folder / name
    path.write_bytes(data)
    return PARSERS[name](path)
