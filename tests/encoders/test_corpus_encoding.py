"""Killed anywhere, started again, the bytes are those of a run that nobody disturbed."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from limbeck.encoders import Fingerprint, StoredVectors, cache_folder, encode_corpus, text_fingerprint
from limbeck.encoders.texts import TextList
from limbeck.errors import ConfigError, DataError, EncoderMismatch, StorageError
from limbeck.storage.lock import locked
from limbeck.testing import HashEncoder
from limbeck.types import Reps

TEXTS = [f"text number {i} " + "word " * (i * 5 % 11) for i in range(60)]

# A child that encodes the same texts and, as told, stops for good after some calls or dies at a system call.
CHILD = """
import os, signal, sys
from limbeck.encoders import encode_corpus
from limbeck.testing import HashEncoder

folder, way, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
texts = [f"text number {i} " + "word " * (i * 5 % 11) for i in range(60)]
seen = 0

class Blocking(HashEncoder):
    def encode(self, texts, *, side, batch_size=64):
        global seen
        seen += way == "block"
        if way == "block" and seen > number:
            print("blocked", flush=True)
            sys.stdin.read()  # until killed
        return super().encode(texts, side=side, batch_size=batch_size)

def dies_at(name):
    real = getattr(os, name)
    def wrapped(*args, **settings):
        global seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **settings)
    setattr(os, name, wrapped)

if way == "die":
    for name in ("fsync", "replace", "rename", "chmod", "open", "close"):
        dies_at(name)
encode_corpus(texts, Blocking(8), folder, shard_size=16, batch_size=4, progress=False)
"""


TEACHER = """
import json, sys, torch
from limbeck.encoders import SentenceEncoder, encode_corpus
folder, model, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
encoder = SentenceEncoder.open(model, precision="float32")
encode_corpus(json.load(sys.stdin), encoder, folder, shard_size=64, batch_size=16, progress=False)
"""


def child(folder, way, number):
    command = [sys.executable, "-c", CHILD, str(folder), way, str(number)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def encode(folder, *, texts=TEXTS, encoder=None, shard_size=16, batch_size=4, **settings):
    encoder = HashEncoder(8) if encoder is None else encoder
    settings = {"progress": False, **settings}
    return encode_corpus(texts, encoder, folder, shard_size=shard_size, batch_size=batch_size, **settings)


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.name != ".lock"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    encode(folder / "v")
    return contents(folder / "v")


def markers(folder):
    return sorted(path.name for path in Path(folder).glob("*.done"))


def test_killed_after_each_shard_in_turn_the_bytes_are_the_same(tmp_path, undisturbed):
    for done in range(4):
        running = child(tmp_path / "v", "block", 1)  # one more shard, then wait to be killed
        assert running.stdout.readline() == (b"blocked\n" if done < 3 else b"")
        assert len(markers(tmp_path / "v")) == done + 1
        running.kill()
        running.communicate(timeout=30)
    assert contents(tmp_path / "v") == undisturbed


@pytest.mark.parametrize("number", [*range(1, 9), *range(11, 92, 16)])  # of 92, alike for each shard
def test_killed_at_a_system_call_that_writes_the_bytes_are_the_same(tmp_path, undisturbed, number):
    running = child(tmp_path / "v", "die", number)
    running.communicate(timeout=60)
    assert running.returncode == -signal.SIGKILL
    encode(tmp_path / "v")
    assert contents(tmp_path / "v") == undisturbed


@pytest.mark.long
def test_killed_at_any_system_call_at_all_the_bytes_are_the_same(tmp_path, undisturbed):
    for number in range(1, 1000):
        running = child(tmp_path / str(number), "die", number)
        running.communicate(timeout=60)
        if running.returncode == 0:
            return
        encode(tmp_path / str(number))
        assert contents(tmp_path / str(number)) == undisturbed
    pytest.fail("the child never came to its end")


@pytest.mark.parametrize(
    "shard", [pytest.param(0, marks=pytest.mark.long), 1, pytest.param(2, marks=pytest.mark.long)]
)
def test_the_real_teacher_killed_when_a_marker_appears_ends_with_the_same_bytes(
    tmp_path, teacher, tldr_queries, shard
):
    import torch  # as many threads there as here: sums over other parts differ in the last digit

    texts = tldr_queries[:256]
    command = [
        sys.executable,
        "-c",
        TEACHER,
        str(tmp_path / "v"),
        str(teacher.folder),
        str(torch.get_num_threads()),
    ]
    running = subprocess.Popen(command, stdin=subprocess.PIPE)
    running.stdin.write(json.dumps(texts).encode())
    running.stdin.close()
    wait_for(tmp_path / "v" / f"shard-0000{shard}-of-00004.done", running)
    running.kill()
    running.wait(timeout=30)
    assert len(markers(tmp_path / "v")) < 4
    for folder in ("v", "undisturbed"):
        encode(tmp_path / folder, texts=texts, encoder=teacher, shard_size=64, batch_size=16)
    assert contents(tmp_path / "v") == contents(tmp_path / "undisturbed")


def wait_for(path, running):
    deadline = time.monotonic() + 120
    while not path.exists():
        if time.monotonic() > deadline:
            pytest.fail(f"{path} did not appear")
        try:
            running.wait(timeout=0.002)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail("the child ended too soon")


def test_a_finished_folder_is_not_encoded_again(tmp_path):
    encode(tmp_path / "v")
    again = encode(tmp_path / "v", encoder=Refusing(8), shard_size=7, batch_size=3)
    assert again.manifest.shard_size == 16


def test_ctrl_c_leaves_what_is_done_and_frees_the_folder(tmp_path, undisturbed):
    with pytest.raises(KeyboardInterrupt):
        encode(tmp_path / "v", encoder=Interrupted(8))
    assert len(markers(tmp_path / "v")) == 2
    encode(tmp_path / "v")
    assert contents(tmp_path / "v") == undisturbed


def test_a_damaged_shard_is_encoded_again(tmp_path, undisturbed):
    encode(tmp_path / "v")
    shard = tmp_path / "v" / "shard-00001-of-00004.npy"
    shard.write_bytes(shard.read_bytes()[:-4] + b"\0\0\0\0")
    encode(tmp_path / "v")
    assert contents(tmp_path / "v") == undisturbed


class Refusing(HashEncoder):
    def encode(self, texts, *, side, batch_size=64):
        raise AssertionError("nothing was left to encode")


class Interrupted(HashEncoder):
    calls = 0

    def encode(self, texts, *, side, batch_size=64):
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt
        return super().encode(texts, side=side, batch_size=batch_size)


class Holey(HashEncoder):
    def encode(self, texts, *, side, batch_size=64):
        vectors = super().encode(texts, side=side).vectors
        vectors[[text.startswith("text number 37 ") for text in texts], :, 2:5] = np.inf
        return Reps(vectors)


def test_a_vector_that_is_not_finite_names_row_and_text_and_writes_nothing(tmp_path):
    with pytest.raises(DataError, match=r"(?s)row 37: .* 3 values that are NaN or infinite.*text number 37"):
        encode(tmp_path / "v", encoder=Holey(8))
    assert "shard-00002-of-00004.npy" not in contents(tmp_path / "v")


def test_the_document_is_named_by_its_id_where_there_are_ids(tmp_path):
    texts = TextList(TEXTS, ids=[f"d{i}" for i in range(60)])
    with pytest.raises(DataError, match=r"document 'd37' \(row 37\)"):
        encode(tmp_path / "v", texts=texts, encoder=Holey(8))


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"encoder": HashEncoder(8, seed=1)}, EncoderMismatch, "`weights`"),
        ({"encoder": HashEncoder(8, prompts={"query": "q "})}, EncoderMismatch, "`prompts`"),
        ({"encoder": HashEncoder(16)}, EncoderMismatch, "`weights`"),
        ({"texts": [*TEXTS[:-1], "another"]}, DataError, "`texts`"),
        ({"texts": TEXTS[:-1]}, DataError, "`count`"),
        ({"side": "query"}, DataError, "`side`"),
    ],
)
def test_a_folder_of_other_vectors_is_refused(tmp_path, undisturbed, change, error, said):
    encode(tmp_path / "v")
    with pytest.raises(error, match=said):
        encode(tmp_path / "v", **change)
    assert contents(tmp_path / "v") == undisturbed


@pytest.mark.parametrize("change", [{"shard_size": 8}, {"batch_size": 8}])
def test_an_unfinished_folder_goes_on_with_its_own_sizes_only(tmp_path, change):
    with pytest.raises(KeyboardInterrupt):
        encode(tmp_path / "v", encoder=Interrupted(8))
    with pytest.raises(ConfigError, match="shard_size=16, batch_size=4"):
        encode(tmp_path / "v", **change)


@pytest.mark.parametrize("name", ["shard_size", "batch_size"])
def test_sizes_are_at_least_one(tmp_path, name):
    with pytest.raises(ConfigError, match=name):
        encode(tmp_path / "v", **{name: 0})


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"thesis\.tex"):
        encode(tmp_path)
    assert set(contents(tmp_path)) == {"thesis.tex"}


def test_a_second_writer_is_told_who_holds_the_folder(tmp_path):
    (tmp_path / "v").mkdir()
    with locked(tmp_path / "v"), pytest.raises(StorageError, match=f"locked by pid {os.getpid()}"):
        encode(tmp_path / "v")
    encode(tmp_path / "v")


def test_a_second_process_is_told_who_holds_the_folder(tmp_path):
    running = child(tmp_path / "v", "block", 0)
    assert running.stdout.readline() == b"blocked\n"
    with pytest.raises(StorageError, match=f"locked by pid {running.pid}"):
        encode(tmp_path / "v")
    running.kill()
    running.communicate(timeout=30)
    encode(tmp_path / "v")


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "v").write_text("a file")
    with pytest.raises(StorageError, match="cannot be made a folder"):
        encode(tmp_path / "v")


def test_a_disk_that_is_too_small_is_noticed_before_the_first_text(tmp_path, monkeypatch):
    monkeypatch.setattr("limbeck.encoders.corpus_encoding.shutil.disk_usage", lambda _: Full())
    with pytest.raises(StorageError, match="MB are free"):
        encode(tmp_path / "v", encoder=Refusing(8))


class Full:
    free = 100


def test_a_disk_that_fills_up_leaves_no_half_files_and_can_go_on(tmp_path, undisturbed, monkeypatch):
    real, calls = os.fsync, []

    def full_at_the_tenth(handle):
        calls.append(handle)
        if len(calls) == 10:
            raise OSError(errno.ENOSPC, "disk full on device")
        return real(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_at_the_tenth)
        with pytest.raises(StorageError, match="disk full"):
            encode(tmp_path / "v")
    assert set(contents(tmp_path / "v")) < set(undisturbed)
    encode(tmp_path / "v")
    assert contents(tmp_path / "v") == undisturbed


def test_files_of_a_killed_run_are_cleared_away(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        encode(tmp_path / "v", encoder=Interrupted(8))
    orphan = tmp_path / "v" / ".shard-00003-of-00004.npy.abc.part"
    orphan.write_bytes(b"half")
    encode(tmp_path / "v")
    assert not orphan.exists()


def test_the_bar_says_how_many_how_fast_and_how_long(tmp_path, capfd):
    encode(tmp_path / "v", progress=True)
    shown = capfd.readouterr().err
    assert "encoding: 100%" in shown
    assert "60/60" in shown
    assert "documents/s" in shown


def test_a_bar_that_goes_on_begins_where_the_work_does(tmp_path, capfd):
    with pytest.raises(KeyboardInterrupt):
        encode(tmp_path / "v", encoder=Interrupted(8))
    encode(tmp_path / "v", progress=True)
    assert "32/60" in capfd.readouterr().err


def test_queries_are_encoded_as_queries(tmp_path):
    encoder = HashEncoder(8, prompts={"query": "ask: "})
    stored = encode(tmp_path / "v", encoder=encoder, side="query")
    np.testing.assert_array_equal(stored.array(), encoder.encode_query(TEXTS))


def test_the_cache_has_a_place_for_each_encoder_text_and_side(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path))
    texts = text_fingerprint(TextList(TEXTS))
    places = {
        cache_folder(encoder, fingerprint, side)
        for encoder in (HashEncoder(8), HashEncoder(8, seed=1))
        for fingerprint in (texts, "0" * 64)
        for side in ("query", "doc")
    }
    assert len(places) == 8
    assert all(place.is_relative_to(tmp_path) for place in places)
    place = cache_folder(HashEncoder(8), texts, "doc")
    encode(place)
    assert StoredVectors.open(place).fingerprint == HashEncoder(8).fingerprint


def test_without_the_variable_the_cache_is_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("LIMBECK_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder(HashEncoder(8), "0" * 64, "doc").is_relative_to(tmp_path / ".cache" / "limbeck")


def test_the_manifest_holds_the_encoders_fingerprint(tmp_path):
    manifest = encode(tmp_path / "v").manifest
    assert Fingerprint.from_json(manifest.encoder.to_json()) == HashEncoder(8).fingerprint
    assert manifest.texts == text_fingerprint(TextList(TEXTS))


def test_what_is_encoded_already_is_opened_while_another_process_holds_the_lock(tmp_path):
    texts, folder = ["one two", "three"], tmp_path / "v"
    first = encode_corpus(texts, HashEncoder(dim=8), folder, progress=False).array()
    with locked(folder):
        np.testing.assert_array_equal(encode_corpus(texts, HashEncoder(dim=8), folder).array(), first)
