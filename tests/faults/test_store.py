import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from limbeck.errors import ArtefactError, CorruptArtefact, DataError, StorageError, VersionMismatch
from limbeck.index import store
from limbeck.storage import durable
from limbeck.storage.lock import LOCK
from limbeck.version import __version__

OLD, NEW = b"old" * 1000, b"new" * 2000


def write(data):
    def fill(folder):
        (folder / "inner").mkdir()
        durable.write_file(folder / "index.faiss", data)
        (folder / "inner" / "text").write_bytes(data)

    return fill


@pytest.fixture
def folder(tmp_path):
    target = tmp_path / "deep" / "artefact"
    store.publish(target, write(OLD), {"recipe": "old"})
    return target


def content(folder):
    generation, manifest = store.open_current(folder)
    assert (generation / "index.faiss").read_bytes() == (generation / "inner" / "text").read_bytes()
    return manifest.content["recipe"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_published_opens_with_its_manifest(folder):
    generation, manifest = store.open_current(folder)
    assert manifest.content == {"recipe": "old"}
    assert manifest.format_version == store.FORMAT_VERSION
    assert manifest.written_by == __version__
    assert sorted(manifest.files) == ["index.faiss", "inner/text"]
    assert manifest.files["index.faiss"].size == len(OLD)
    assert (generation / "index.faiss").read_bytes() == OLD
    assert store.verify(folder) == []


def test_a_reader_keeps_its_generation_while_a_new_one_comes(folder):
    first, _ = store.open_current(folder)
    second = store.publish(folder, write(NEW), {"recipe": "new"})
    assert content(folder) == "new"
    assert (first / "index.faiss").read_bytes() == OLD
    third = store.publish(folder, write(NEW), {"recipe": "newer"})
    assert not first.exists()
    assert names(folder) == sorted([".lock", "CURRENT", second.name, third.name])


def test_opening_writes_nothing(folder):
    before = {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}
    store.open_current(folder)
    store.verify(folder)
    assert {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]} == before


# Failing disks


def primitives_of_a_publish(folder, monkeypatch):
    seen = []
    monkeypatch.setattr(durable, "fault", lambda primitive, path: seen.append((primitive, path)))
    store.publish(folder, write(NEW), {"recipe": "counted"})
    monkeypatch.setattr(durable, "fault", None)
    return seen


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errno.ENOSPC, "disk full writing"),
        (errno.EDQUOT, "disk full"),
        (errno.EIO, "cannot write"),
        (errno.EROFS, "as uid"),
    ],
)
def test_an_error_at_any_primitive_leaves_a_whole_artefact_and_no_temporaries(
    tmp_path, monkeypatch, code, text
):
    count = len(primitives_of_a_publish(tmp_path / "counted", monkeypatch))
    for point in range(count):
        folder = tmp_path / f"artefact-{point}"
        store.publish(folder, write(OLD), {"recipe": "old"})
        left = [point]

        def fail(primitive, path, left=left):
            if left[0] == 0:
                raise OSError(code, os.strerror(code))
            left[0] -= 1

        monkeypatch.setattr(durable, "fault", fail)
        with pytest.raises(StorageError, match=text) as caught:
            store.publish(folder, write(NEW), {"recipe": "new"})
        monkeypatch.setattr(durable, "fault", None)
        assert caught.value.exit_code == 4
        # only the very last sync comes after the change
        assert content(folder) == ("new" if point == count - 1 else "old")
        assert [name for name in names(folder) if name.startswith(store.TEMPORARY)] == []
        store.publish(folder, write(NEW), {"recipe": "later"})
        assert content(folder) == "later"


def test_a_full_disk_says_what_was_needed_and_what_there_is(folder, monkeypatch):
    def full(primitive, path):
        if primitive == "write" and "index.faiss" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable, "fault", full)
    with pytest.raises(
        StorageError, match=r"disk full writing .*index\.faiss \(needs ~2\.0 MB, [\d.]+ MB free\)"
    ):
        store.publish(folder, write(b"x" * 2_000_000), {})
    assert content(folder) == "old"


@pytest.mark.parametrize("missing", [1, 10, 4096, 200_000])
def test_a_file_size_limit_is_a_full_disk_even_in_its_last_bytes(folder, missing):
    size = 400_000
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from limbeck.index import store; from limbeck.storage import durable\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size - missing}, {size - missing}))\n"
        "def write(p): durable.write_file(p / 'index.faiss', bytes(400_000))\n"
        "try: store.publish(Path(sys.argv[1]), write, {})\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", script, folder], capture_output=True, text=True, timeout=60
    )
    assert output.stdout.startswith("StorageError disk full writing"), output
    assert content(folder) == "old"


def test_an_error_of_the_caller_passes_through_and_leaves_nothing(folder):
    def broken(temporary):
        (temporary / "half").write_bytes(b"half")
        raise KeyError("caller")

    with pytest.raises(KeyError):
        store.publish(folder, broken, {})
    assert content(folder) == "old"
    assert len(names(folder)) == 3


def test_a_library_that_meets_a_full_disk_in_the_callback_is_explained(folder):
    def full(temporary):
        (temporary / "half").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError, match="disk full"):
        store.publish(folder, full, {})
    assert content(folder) == "old"


# Places that cannot be written


def test_two_writers_never_meet(folder):
    with (folder / LOCK).open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4321\n")
        lock.flush()
        with pytest.raises(StorageError, match="locked by pid 4321"):
            store.publish(folder, write(NEW), {})
    assert content(folder) == "old"


def test_links_devices_and_files_in_the_way_are_refused(folder, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("a file")
    with pytest.raises(StorageError):
        store.publish(plain, write(NEW), {})
    (tmp_path / "link").symlink_to(plain)
    with pytest.raises(StorageError, match="plain file"):
        durable.write_file(tmp_path / "link", b"data")
    with pytest.raises(StorageError):
        durable.write_file(plain / "below a file", b"data")
    assert plain.read_text() == "a file"
    (folder / store.CURRENT).unlink()
    (folder / store.CURRENT).symlink_to(plain)
    with pytest.raises(StorageError, match="plain file"):
        store.publish(folder, write(NEW), {})


def test_an_artefact_holds_plain_files_under_names_of_its_own(folder):
    with pytest.raises(StorageError, match="link or a device"):
        store.publish(folder, lambda temporary: (temporary / "link").symlink_to("/etc/hostname"), {})
    with pytest.raises(StorageError, match="taken by the store"):
        store.publish(folder, lambda temporary: (temporary / "manifest.json").write_text("{}"), {})
    assert content(folder) == "old"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_names_the_user(folder):
    folder.chmod(0o555)
    try:
        with pytest.raises(StorageError, match=f"uid {os.getuid()}"):
            store.publish(folder, write(NEW), {})
        assert content(folder) == "old"
    finally:
        folder.chmod(0o755)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32(1), b"bytes", {1, 2}])
def test_a_manifest_is_strict_json(folder, value):
    with pytest.raises(DataError, match="manifest"):
        store.publish(folder, write(NEW), {"value": value})
    assert content(folder) == "old"


# Opening


def test_each_kind_of_damage_has_a_message_of_its_own(folder):
    generation, _ = store.open_current(folder)
    target = generation / "index.faiss"
    cases = [
        (lambda: target.unlink(), "index.faiss is missing"),
        (lambda: target.write_bytes(OLD[:-10]), r"index.faiss: 2990 bytes, manifest says 3000 \(truncated\)"),
        (lambda: target.write_bytes(OLD + b"!"), "longer than written"),
        (lambda: target.write_bytes(b"X" + OLD[1:]), "index.faiss: checksum mismatch"),
        (lambda: (generation / "extra").write_bytes(b""), "extra is not in the manifest"),
    ]
    for damage, text in cases:
        damage()
        with pytest.raises(CorruptArtefact, match=text) as caught:
            store.open_current(folder)
        assert caught.value.exit_code == 3
        assert len(store.verify(folder)) == 1
        target.write_bytes(OLD)
        (generation / "extra").unlink(missing_ok=True)
    assert content(folder) == "old"


def test_verify_names_all_bad_files(folder):
    generation, _ = store.open_current(folder)
    (generation / "index.faiss").write_bytes(b"short")
    (generation / "inner" / "text").write_bytes(b"X" + OLD[1:])
    (generation / "inner" / "more").write_bytes(b"")
    problems = store.verify(folder)
    assert [problem.split()[0].rstrip(":") for problem in problems] == [
        "index.faiss",
        "inner/more",
        "inner/text",
    ]


def test_without_hashes_only_names_and_sizes_are_checked(folder):
    generation, _ = store.open_current(folder)
    (generation / "index.faiss").write_bytes(b"X" + OLD[1:])
    store.open_current(folder, verify=False)
    (generation / "index.faiss").write_bytes(b"X")
    with pytest.raises(CorruptArtefact):
        store.open_current(folder, verify=False)


@pytest.mark.parametrize(
    ("version", "text"), [(2, "upgrade Limbeck"), (0, "build the artefact again"), ("1", "again")]
)
def test_other_formats_are_named_and_not_called_damage(folder, version, text):
    name, digest = store._read_pointer(folder)
    (folder / store.CURRENT).write_bytes(store._pointer(name, digest, version))
    with pytest.raises(VersionMismatch, match=text):
        store.open_current(folder)
    assert "reads 1 to 1" in store.verify(folder)[0]


def rewrite_manifest(folder, change):
    """A manifest that its own hash agrees with, whatever it says."""
    import hashlib

    generation, _ = store.open_current(folder)
    fields = json.loads((generation / store.MANIFEST).read_text())
    data = json.dumps(change(fields)).encode()
    (generation / store.MANIFEST).write_bytes(data)
    (folder / store.CURRENT).write_bytes(store._pointer(generation.name, hashlib.sha256(data).hexdigest()))


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (
            lambda f: {**f, "format_version": 9, "written_by": "7.1"},
            VersionMismatch,
            r"Limbeck 7\.1 in format 9",
        ),
        (lambda f: {**f, "files": []}, CorruptArtefact, "no manifest"),
        (lambda f: {"format_version": 1}, CorruptArtefact, "no manifest"),
        (
            lambda f: {**f, "files": {"../../etc/hostname": {"size": 1, "sha256": ""}}},
            CorruptArtefact,
            "outside",
        ),
        (lambda f: {**f, "files": {"/etc/hostname": {"size": 1, "sha256": ""}}}, CorruptArtefact, "outside"),
    ],
)
def test_manifests_that_make_no_sense_are_refused(folder, change, kind, text):
    rewrite_manifest(folder, change)
    with pytest.raises(kind, match=text):
        store.open_current(folder)


@pytest.mark.parametrize(
    "pointer",
    [b"", b"{}", b"null", b"[1]", b"\xff", b'{"format_version": 1, "generation": 3, "manifest_sha256": "x"}'],
)
def test_a_damaged_pointer_is_corrupt_and_a_new_publish_repairs_it(folder, pointer):
    (folder / store.CURRENT).write_bytes(pointer)
    with pytest.raises(CorruptArtefact, match="damaged"):
        store.open_current(folder)
    store.publish(folder, write(NEW), {"recipe": "new"})
    assert content(folder) == "new"


def test_a_pointer_out_of_the_folder_is_refused(folder):
    (folder / store.CURRENT).write_bytes(store._pointer("../elsewhere", "0" * 64))
    with pytest.raises(CorruptArtefact, match="generation of this folder"):
        store.open_current(folder)


def test_missing_folders_pointers_and_generations_are_told_apart(folder, tmp_path):
    for path, text in ((tmp_path / "nowhere", "does not exist"), (tmp_path, "no artefact folder")):
        with pytest.raises(ArtefactError, match=text):
            store.open_current(path)
    generation, _ = store.open_current(folder)
    (generation / store.MANIFEST).unlink()
    with pytest.raises(CorruptArtefact, match=r"manifest\.json is missing"):
        store.open_current(folder)


def test_a_reader_follows_a_pointer_that_changes_under_it(folder, monkeypatch):
    real, calls = store._read_small, []

    def once_too_late(path):
        calls.append(path)
        if len(calls) == 2:  # the manifest of the first generation
            store.publish(folder, write(NEW), {"recipe": "new"})
            return None
        return real(path)

    monkeypatch.setattr(store, "_read_small", once_too_late)
    assert content(folder) == "new"
    assert isinstance(calls[0], Path)
