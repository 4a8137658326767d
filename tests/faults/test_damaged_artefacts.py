"""No damaged byte of an artefact reaches faiss, which loads a quarter of such files and answers wrongly."""

import random
import shutil

import pytest

from limbeck.errors import ArtefactError
from limbeck.index import CodeIndex, Flat, files, store
from limbeck.quantisers import ProductQuantiser
from limbeck.storage.lock import LOCK
from limbeck.testing import clustered

MUTATIONS = 200
PAGE = 4096


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


def flip_a_bit(data, rng):
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]


def flip_a_bit_of_the_header(data, rng):
    return flip_a_bit(data[:256], rng) + data[256:]


def truncate(data, rng):
    return data[: rng.choice([0, 1, len(data) // 2, len(data) - 1, rng.randrange(len(data))])]


def zero_a_sector(data, rng):
    start = 512 * rng.randrange(max(1, len(data) // 512))
    return data[:start] + bytes(len(data[start : start + 512])) + data[start + 512 :]


def swap_two_pages(data, rng):
    pages = [data[start : start + PAGE] for start in range(0, len(data), PAGE)]
    first, second = rng.randrange(len(pages)), rng.randrange(len(pages))
    pages[first], pages[second] = pages[second], pages[first]
    return b"".join(pages)


def lengthen(data, rng):
    return data + rng.randbytes(rng.choice([1, 512]))


KINDS = [flip_a_bit, flip_a_bit_of_the_header, truncate, zero_a_sector, swap_two_pages, lengthen]


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
    made = 0
    while made < count:
        path, kind = paths[made % len(paths)], rng.choice(KINDS)
        original = path.read_bytes()
        damaged = kind(original, rng)
        if damaged != original:
            made += 1
            yield path, kind.__name__, original, damaged


def check_mutations(artefact, monkeypatch, count, *, seed):
    reached = []
    monkeypatch.setattr(files, "read_faiss", lambda data: reached.append(len(data)))
    for path, kind, original, damaged in mutations(artefact, count, seed=seed):
        path.write_bytes(damaged)
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
        (generation / name).write_bytes(flip_a_bit(original, random.Random(0)))
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
        (tmp_path / "bare" / "index.faiss").write_bytes(flip_a_bit(original, rng))
        with pytest.raises(ArtefactError, match="checksum"):
            CodeIndex.open(tmp_path / "bare")
    assert reached == []
