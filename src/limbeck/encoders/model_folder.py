"""From a model's name to a folder on disk, and from the folder to the hash of its weights."""

from __future__ import annotations

from pathlib import Path

from limbeck.encoders.default_teacher import DEFAULT_TEACHER, default_teacher
from limbeck.errors import ConfigError, DataError
from limbeck.storage.hashing import sha256_files

_WANTED = ["*.json", "*.txt", "*.model", "*.safetensors", "*.bin", "*.jinja"]
_UNWANTED = ["onnx/*", "openvino/*", "*.onnx", "training_args.bin", "optimizer.bin"]


def find_model(name_or_path: str | Path, *, revision: str | None = None) -> Path:
    """The folder of a sentence-transformers model.

    A folder is taken as it is. The default teacher is found without network and checked against its published
    hash. Any other name is a hub name: what the hub's cache holds is used without asking the network (so that
    a run can be repeated), and downloaded only if it is not there.

    raises  ConfigError if there is no such model
    """
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return folder
    name = str(name_or_path)
    if name == DEFAULT_TEACHER and revision is None:
        return default_teacher()
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ConfigError(
            f"{name}: there is no such folder.\n\nHint: give the folder that holds `modules.json`."
        )
    return _from_hub(name, revision)


def weights_files(folder: Path) -> list[str]:
    """The files that hold parameters, relative to the folder: all .safetensors, else all .bin.

    Exports to other formats lie in folders of their own and do not count.
    """
    for pattern in ("*.safetensors", "pytorch_model*.bin"):
        found = [path.relative_to(folder) for path in folder.rglob(pattern)]
        kept = sorted(path.as_posix() for path in found if path.parts[0] not in ("onnx", "openvino"))
        if kept:
            return kept
    raise DataError(f"{folder}: no weights there; expected `model.safetensors` or `pytorch_model.bin`.")


def weights_digest(folder: Path) -> str:
    """sha256 hex of the weights: of the file as published if there is one, else of the list of them all."""
    return sha256_files(folder, weights_files(folder))


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    def snapshot(*, local_files_only: bool) -> Path:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=_WANTED,
                ignore_patterns=_UNWANTED,
                local_files_only=local_files_only,
            )
        )

    try:
        cached = snapshot(local_files_only=True)
        if (cached / "config.json").is_file() or (cached / "modules.json").is_file():
            weights_files(cached)
            return cached
    except (OSError, ValueError, DataError):
        pass  # not cached, or only in part: the download below completes it
    try:
        return snapshot(local_files_only=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model {name!r} is neither a folder nor in the hub's cache, and could not be downloaded: "
            f"{str(error).splitlines()[0]}\n\nHint: on a machine with network run `hf download {name}`, "
            "or give the path of a folder saved with `model.save_pretrained(path)`."
        ) from error
