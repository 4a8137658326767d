"""No damaged byte of an artefact reaches faiss, which loads a quarter of such files and answers wrongly."""

import random
import shutil
import sys
from pathlib import Path

import pytest

from limbeck.errors import ArtefactError
from limbeck.index import CodeIndex, Flat, files, store
from limbeck.quantisers import ProductQuantiser
from limbeck.storage.lock import LOCK
from limbeck.testing import clustered

sys.path.insert(0, str(Path(__file__).parent))
from mutations import bit_flipped, damaged  # beside this file

MUTATIONS = 200


@pytest.fixture(scope="module")
def artefact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage") / "artefact"
    vectors = clustered(1500, 16, seed=0)
    quantiser = ProductQuantiser(code_bytes=8, lists=12, rotate=True).fit(vectors, seed=0)

    def write(temporary):
        CodeIndex(quantiser, quantiser.encode(vectors)).save(temporary)
        Flat(vectors).save(temporary / "exact")
        (temporary / "documents.sqlite").write_bytes(bytes(range(256)) * 64)

    store.publish(folder, write, {"recipe": "test"})
    return folder


def mutations(artefact, count, *, seed):
    """Files of all kinds with their damaged bytes, `count` of them, each different from the original."""
    rng = random.Random(seed)
    paths = [path for path in sorted(artefact.rglob("*")) if path.is_file() and path.name != LOCK]
    assert {path.name for path in paths} > {
        "CURRENT",
        "manifest.json",
        "index.faiss",
        "quantiser.safetensors",
    }
    for number in range(count):
        path = paths[number % len(paths)]
        original = path.read_bytes()
        kind, data = damaged(path.name, original, rng)
        yield path, kind, original, data


def check_mutations(artefact, monkeypatch, count, *, seed):
    reached = []
    monkeypatch.setattr(files, "read_faiss", lambda data: reached.append(len(data)))
    for path, kind, original, data in mutations(artefact, count, seed=seed):
        path.write_bytes(data)
        with pytest.raises(ArtefactError):
            CodeIndex.open(store.open_current(artefact)[0])
        assert store.verify(artefact), (path, kind)
        path.write_bytes(original)
    assert reached == []
    assert store.verify(artefact) == []


def test_no_damage_of_any_file_reaches_faiss(artefact, monkeypatch):
    check_mutations(artefact, monkeypatch, MUTATIONS, seed=0)


@pytest.mark.long
def test_no_damage_of_any_file_reaches_faiss_in_three_thousand_tries(artefact, monkeypatch):
    check_mutations(artefact, monkeypatch, 3000, seed=1)


def test_verify_names_the_damaged_file(artefact, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(artefact, folder)
    generation = store.open_current(folder)[0]
    for name in store.open_current(folder)[1].files:
        original = (generation / name).read_bytes()
        (generation / name).write_bytes(bit_flipped(original, random.Random(0)))
        assert store.verify(folder) == [f"{name}: checksum mismatch"]
        (generation / name).write_bytes(original)


def test_even_a_bare_folder_refuses_a_damaged_faiss_file(artefact, tmp_path, monkeypatch):
    generation = store.open_current(artefact)[0]
    shutil.copytree(generation, tmp_path / "bare")
    reached = []
    monkeypatch.setattr(files, "read_faiss", lambda data: reached.append(len(data)))
    rng = random.Random(3)
    original = (generation / "index.faiss").read_bytes()
    for _ in range(30):
        (tmp_path / "bare" / "index.faiss").write_bytes(bit_flipped(original, rng))
        with pytest.raises(ArtefactError, match="checksum"):
            CodeIndex.open(tmp_path / "bare")
    assert reached == []
