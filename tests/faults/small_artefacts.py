"""A small artefact of each kind of index, with all that an artefact may hold: documents, BM25, vectors, an encoder."""

from __future__ import annotations

from dataclasses import replace

import faiss
import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from limbeck.data.records import Document
from limbeck.encoders.fingerprint import Fingerprint
from limbeck.encoders.static import StaticEncoder, TokenTable
from limbeck.fusion import Fusion
from limbeck.index import CodeIndex, Flat, store
from limbeck.index.document_store import FILE, DocumentStore
from limbeck.index.engine import EngineIndex
from limbeck.index.kept import FOLDER, keep
from limbeck.index.lexical import LexicalIndex
from limbeck.index.opening import kind_of
from limbeck.index.sums import SumIndex
from limbeck.index.two_stage import TwoStageIndex
from limbeck.lexical_part import LexicalPart
from limbeck.quantisers import ProductQuantiser
from limbeck.quantisers.faiss_build import filled, graph, on_graph
from limbeck.quantisers.sums import SumQuantiser
from limbeck.retrieve import QUERY_ENCODER
from limbeck.testing import clustered

ROWS, DIM, WORDS = 300, 16, 60


def codes(vectors):
    quantiser = ProductQuantiser(code_bytes=4, rotate=True).fit(vectors, seed=0)
    return CodeIndex(quantiser, quantiser.encode(vectors), query_map=np.eye(DIM, dtype=np.float32))


def lists(vectors):
    quantiser = ProductQuantiser(code_bytes=4, lists=8, metric="l2").fit(vectors, seed=0)
    moved = quantiser.with_parts({"routing": quantiser.parts()["base"] + np.float32(0.01)})
    return CodeIndex(moved, quantiser.encode(vectors))


def sums(vectors):
    quantiser = SumQuantiser(code_bytes=4).fit(vectors, seed=0)
    return SumIndex(quantiser.rounded(), quantiser.encode(vectors))


def stages(vectors):
    first = ProductQuantiser(code_bytes=4, bits=4, rotate=True, lists=8).fit(vectors, seed=0)
    found = first.encode(vectors)
    left = first.rotate_vectors(vectors) - first.decode_rotated(found)
    second = ProductQuantiser(code_bytes=4).fit(left, seed=0)
    return TwoStageIndex(first, found, second=second, second_codes=second.encode(left))


def flat(vectors):
    return Flat(vectors)


def hnsw(vectors):
    engine = faiss.IndexHNSWFlat(DIM, 8, faiss.METRIC_INNER_PRODUCT)
    filled(faiss.downcast_index(engine.storage), vectors)
    built = graph(vectors, links=8, ef_construction=40, metric="ip", seed=0)
    return EngineIndex(on_graph(engine, built), metric="ip", default_effort=0.2)


INDEXES = (codes, lists, sums, stages, flat, hnsw)


def encoder():
    """A table of random vectors over 60 words."""
    words = ["[NONE]", "[START]", "[END]", *(f"word{number}" for number in range(WORDS))]
    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(words)}, unk_token="[NONE]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[START] $A [END]", special_tokens=[("[START]", 1), ("[END]", 2)]
    )
    generator = np.random.default_rng(0)
    vectors, look = generator.normal(size=(len(words), DIM)), generator.normal(size=(3, DIM))
    gates, weights = generator.normal(size=(len(words), 3)), np.ones(len(words), np.float32)
    table = TokenTable.rounded(vectors.astype(np.float32), weights, gates, look)
    teacher = Fingerprint(weights="0" * 64, dim=DIM, pooling="mean", max_length=64)
    return StaticEncoder(table, tokenizer, replace(teacher, weights=table.digest, precision="int8"), teacher)


def documents():
    """As many as there are rows, with metadata to filter by."""
    for row in range(ROWS):
        text = " ".join(f"word{row * step % WORDS}" for step in range(1, 9))
        yield Document(f"d{row}", f"title {row}", text, {"kind": ["a", "b", "c"][row % 3], "size": row})


def publish(folder, make):
    """The artefact with the index that `make` gives, in the folder."""
    vectors = clustered(ROWS, DIM, seed=0)
    index = make(vectors)
    query_side = encoder()
    precision = "int8" if make in (codes, sums, flat) else "float16"

    def write(inside):
        index.save(inside)
        DocumentStore.write(inside / FILE, documents())
        texts = (document.content for document in documents())
        words = LexicalIndex.build(texts, analyser="words", progress=False)
        LexicalPart(words, Fusion(), {"data": "none"}).save(inside)
        keep(inside / FOLDER, iter([vectors]), rows=ROWS, dim=DIM, precision=precision)
        (inside / QUERY_ENCODER).mkdir()
        query_side.save(inside / QUERY_ENCODER)

    content = {"index": kind_of(index), "encoder": query_side.space.to_json(), "metric": _metric(index)}
    store.publish(folder, write, content)
    return folder


def _metric(index):
    return getattr(getattr(index, "quantiser", index), "metric", "ip")
