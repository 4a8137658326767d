import hashlib

import pytest

from limbeck.encoders.model_folder import find_model, weights_digest, weights_files
from limbeck.errors import ConfigError, DataError


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/model", "~/nowhere", "a/b/c"])
def test_a_path_that_is_not_there_is_not_looked_for_in_the_hub(name):
    with pytest.raises(ConfigError, match="no such folder"):
        find_model(name)


def test_a_folder_is_taken_as_it_is(tmp_path):
    assert find_model(str(tmp_path)) == tmp_path


@pytest.fixture
def hub(monkeypatch):
    """A hub whose answers the test gives; holds the calls."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    calls, answers = [], {}

    def snapshot_download(name, *, revision, local_files_only, **_):
        calls.append((name, revision, local_files_only))
        answer = answers[local_files_only]
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls, answers


def test_what_the_hubs_cache_holds_is_used_without_the_network(hub, tmp_path):
    calls, answers = hub
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    answers[True] = tmp_path
    assert find_model("someone/model", revision="abc") == tmp_path
    assert calls == [("someone/model", "abc", True)]


@pytest.mark.parametrize("cached", ["nothing", "no weights"])
def test_what_is_missing_in_the_cache_is_downloaded(hub, tmp_path, cached):
    calls, answers = hub
    (tmp_path / "config.json").write_text("{}")
    answers[True] = FileNotFoundError("not cached") if cached == "nothing" else tmp_path
    answers[False] = tmp_path / "complete"
    assert find_model("someone/model") == tmp_path / "complete"
    assert [call[2] for call in calls] == [True, False]


def test_without_network_the_error_says_how_to_get_the_model(hub):
    _, answers = hub
    answers.update({True: FileNotFoundError("not cached"), False: ConnectionError("offline\nmore")})
    with pytest.raises(ConfigError, match=r"offline\n\nHint: .*hf download someone/model"):
        find_model("someone/model")


def test_one_file_of_weights_has_its_own_hash(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "pytorch_model.bin").write_bytes(b"the same in another format")
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.safetensors").write_bytes(b"an export")
    assert weights_files(tmp_path) == ["model.safetensors"]
    assert weights_digest(tmp_path) == hashlib.sha256(b"weights").hexdigest()


def test_several_files_of_weights_have_the_hash_of_their_list(tmp_path):
    (tmp_path / "2_Dense").mkdir()
    (tmp_path / "model.safetensors").write_bytes(b"one")
    (tmp_path / "2_Dense" / "model.safetensors").write_bytes(b"two")
    lines = "".join(
        f"{name} {hashlib.sha256(data).hexdigest()}\n"
        for name, data in (("2_Dense/model.safetensors", b"two"), ("model.safetensors", b"one"))
    )
    assert weights_digest(tmp_path) == hashlib.sha256(lines.encode()).hexdigest()


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"model\.safetensors"):
        weights_files(tmp_path)
