"""What no hash can tell: files that fit their hashes but not each other, or that lead beyond their ends."""

import io
import json
import shutil
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
from safetensors.numpy import load, save

from limbeck.errors import CorruptArtefact
from limbeck.index import store
from limbeck.index.kept import KeptVectors
from limbeck.quantisers.faiss_io import read_faiss

sys.path.insert(0, str(Path(__file__).parent))
import small_artefacts  # beside this file, as the two below
from mutations import after_sql, mended
from opener import contents, use

ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM r)"


def with_file(artefacts, folder, kind, name, edit):
    """A copy of an artefact in which one file is another one, with all hashes right."""
    shutil.copytree(artefacts / kind, folder)
    held = contents(folder)
    full = next(file for file in held if file.partition("/")[2] == name)
    for file, data in mended(held, full, edit(held[full])).items():
        (folder / file).write_bytes(data)
    return folder


def refused(artefacts, folder, kind, name, edit, *, because):
    with pytest.raises(CorruptArtefact, match=because):
        use(with_file(artefacts, folder, kind, name, edit))


def sql(script):
    return lambda data: after_sql(data, script)


def fields(**values):
    return lambda data: json.dumps({**json.loads(data), **values}).encode()


def described(**values):
    """An edit of what Limbeck says in the header of a safetensors file."""

    def edit(data):
        length = int.from_bytes(data[:8], "little")
        told = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["limbeck"])
        told = (
            {**told, **values}
            if "settings" not in values
            else {**told, "settings": {**told["settings"], **values["settings"]}}
        )
        return save(load(data), metadata={"limbeck": json.dumps(told)})

    return edit


def test_with_all_hashes_right_a_changed_file_is_read(artefacts, tmp_path):
    folder = with_file(
        artefacts, tmp_path / "one", "lists", "documents.sqlite", sql("PRAGMA user_version = 7")
    )
    assert store.verify(folder) == []
    assert use(folder) > 0


@pytest.mark.parametrize(
    ("script", "because"),
    [
        ("DELETE FROM documents WHERE row >= 290", "holds documents 0 to 289; the index holds 0 to 299"),
        ("INSERT INTO documents VALUES (300, 'more', '', '', '{}')", "holds documents 0 to 300"),
        ("DELETE FROM documents WHERE row BETWEEN 5 AND 250", "holds no document for rows"),
        ("UPDATE documents SET text = x'00ff'", "must be texts"),
        ("UPDATE documents SET title = CAST(x'ff' AS TEXT)", "cannot be read"),
        ("UPDATE documents SET metadata = '[1]'", "must be an object"),
        ("UPDATE documents SET metadata = '{\"a\":'", "metadata of 'd"),
        (f"UPDATE documents SET metadata = '{'[' * 100_000}'", "metadata of 'd"),
        ("UPDATE facts SET row = 2000000000 WHERE row = 7", "facts are of rows"),
        ("UPDATE facts SET row = -1 WHERE row = 7", "facts are of rows"),
        ("UPDATE facts SET row = 'x' WHERE row = 7", "a fact is of no row"),
        ("INSERT INTO facts VALUES (x'00', 1, 1)", "names of fields must be texts"),
        ("INSERT INTO facts VALUES ('other', x'00', 1)", "must be texts and numbers"),
        ("DROP TABLE facts", "no such table"),
        ("DROP TABLE documents", "are not those of documents"),
        (
            f"DROP TABLE facts; CREATE VIEW facts AS {ENDLESS} SELECT n AS row FROM r",
            "are not those of documents",
        ),
    ],
)
def test_documents_that_are_not_those_of_the_index_are_refused(artefacts, tmp_path, script, because):
    refused(artefacts, tmp_path / "one", "codes", "documents.sqlite", sql(script), because=because)


def array_file(array):
    def edit(data):
        out = io.BytesIO()
        np.save(out, array)
        return out.getvalue()

    return edit


@pytest.mark.parametrize(
    ("array", "because"),
    [
        (np.zeros((300, 8), np.float16), "300 vectors of width 8; the index holds 300 of 16"),
        (np.zeros((299, 16), np.float16), "299 vectors"),
        (np.full((300, 16), np.nan, np.float16), "NaN"),
        (np.full((300, 16), -np.inf, np.float16), "NaN"),
        (np.zeros((300, 16), np.float32), "must be float16 or int8"),
        (np.zeros((300, 0), np.float16), r"shape \(300, 0\)"),
    ],
)
def test_kept_vectors_of_another_index_are_refused(artefacts, tmp_path, array, because):
    refused(
        artefacts, tmp_path / "one", "lists", "kept_vectors/vectors.npy", array_file(array), because=because
    )


def test_scales_that_are_no_numbers_are_refused(artefacts, tmp_path):
    edit = array_file(np.full(300, np.inf, np.float32))
    refused(artefacts, tmp_path / "one", "flat", "kept_vectors/scales.npy", edit, because="NaN, infinite")


def graph_with(change):
    def edit(data):
        index = read_faiss(data)
        change(index.hnsw)
        return faiss.serialize_index(index).tobytes()

    return edit


def links_to(row):
    def change(graph):
        links = faiss.vector_to_array(graph.neighbors)
        links[5] = row
        faiss.copy_array_to_vector(links, graph.neighbors)

    return change


@pytest.mark.parametrize("row", [300, -2, 2**31 - 1])
def test_a_graph_whose_links_lead_nowhere_is_refused(artefacts, tmp_path, row):
    edit = graph_with(links_to(row))
    refused(
        artefacts,
        tmp_path / "one",
        "hnsw",
        "index.faiss",
        edit,
        because="links lead to documents|cannot read",
    )


def test_a_graph_whose_search_begins_nowhere_is_refused(artefacts, tmp_path):
    edit = graph_with(lambda graph: setattr(graph, "entry_point", 10**6))
    refused(artefacts, tmp_path / "one", "hnsw", "index.faiss", edit, because="begins at|cannot read")


@pytest.mark.parametrize(
    "name",
    [
        "engine.json",
        "manifest.json",
        "lexical/fusion.json",
        "query_encoder/encoder.json",
        "query_encoder/tokenizer.json",
    ],
)
def test_brackets_without_end_are_refused(artefacts, tmp_path, name):
    refused(artefacts, tmp_path / "one", "hnsw", name, lambda data: b"[" * 100_000, because=name)


@pytest.mark.parametrize(
    ("kind", "name", "edit", "because"),
    [
        ("codes", "quantiser.safetensors", described(settings={"code_bytes": 4.0}), "`code_bytes` is 4.0"),
        ("codes", "quantiser.safetensors", described(settings={"bits": True}), "`bits` is True"),
        ("sums", "quantiser.safetensors", described(settings={"slices": "1"}), "`slices` is '1'"),
        ("stages", "second.safetensors", described(factor="4"), "`factor` must be at least 1"),
        ("hnsw", "engine.json", fields(default_effort=0), "effort"),
        ("hnsw", "engine.json", fields(metric=["ip"]), "metric"),
        ("flat", "flat.json", fields(metric="cosine"), "metric"),
        ("flat", "manifest.json", fields(content=[1]), "is no manifest"),
        ("flat", "manifest.json", fields(files={"x\0": {"size": 1, "sha256": ""}}), "outside"),
        ("flat", "manifest.json", fields(files={"x" * 300: {"size": 1, "sha256": ""}}), "outside"),
        (
            "flat",
            "manifest.json",
            fields(files={"x": {"size": float("inf"), "sha256": ""}}),
            "is no manifest",
        ),
        ("flat", "query_encoder/encoder.json", fields(fingerprint=7), "fingerprint"),
        ("flat", "vectors.npy", array_file(np.zeros((300, 0), np.float32)), r"shape \(300, 0\)"),
        ("flat", "vectors.npy", array_file(np.full((300, 16), 1e30, np.float32)), "beyond"),
    ],
)
def test_settings_that_no_build_writes_are_refused(artefacts, tmp_path, kind, name, edit, because):
    refused(artefacts, tmp_path / "one", kind, name, edit, because=because)


def test_a_large_factor_of_two_stages_looks_at_all_documents(artefacts, tmp_path):
    assert (
        use(with_file(artefacts, tmp_path / "one", "stages", "second.safetensors", described(factor=1e308)))
        > 0
    )


def test_a_tokenizer_whose_tokens_the_table_lacks_is_refused(artefacts, tmp_path):
    def edit(data):
        told = json.loads(data)
        told["post_processor"]["special_tokens"]["[START]"]["ids"] = [70_000]
        return json.dumps(told).encode()

    refused(
        artefacts,
        tmp_path / "one",
        "codes",
        "query_encoder/tokenizer.json",
        edit,
        because="tokens that the table does not hold",
    )


def test_a_tokenizer_that_pads_without_end_is_read_without_padding(artefacts, tmp_path):
    padding = {"strategy": {"Fixed": 2**40}, "direction": "Right", "pad_to_multiple_of": None}
    edit = fields(padding={**padding, "pad_id": 0, "pad_type_id": 0, "pad_token": "x"})
    assert use(with_file(artefacts, tmp_path / "one", "codes", "query_encoder/tokenizer.json", edit)) > 0


def test_kept_vectors_open_without_an_index(artefacts):
    generation, _ = store.open_current(artefacts / "codes")
    assert len(KeptVectors.open(generation / "kept_vectors", metric="ip")) == small_artefacts.ROWS
