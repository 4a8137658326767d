"""What each extra brings, from what its packages say that they need."""

import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def needs(name, extra):
    """What a package needs with one extra, or with none (""); ours by pyproject.toml, not as it was once installed."""
    if name == "limbeck":
        return PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    try:
        return requires(name) or []
    except PackageNotFoundError:
        pytest.skip(f"{name} is not installed")


def brought_by(extra):
    """Names of all packages that `pip install 'limbeck[extra]'` installs."""
    seen, waiting = set(), [("limbeck", ""), ("limbeck", extra)]
    while waiting:
        name, with_extra = waiting.pop()
        if (name, with_extra) in seen:
            continue
        seen.add((name, with_extra))
        found = map(Requirement, needs(name, with_extra))
        for one in found:
            if one.marker is None or one.marker.evaluate({"extra": with_extra}):
                waiting += [(canonicalize_name(one.name), part) for part in ("", *one.extras)]
    return {name for name, _ in seen}


def test_a_server_is_installed_without_torch_and_scipy():
    brought = brought_by("serve")
    assert {"fastapi", "faiss-cpu", "onnxruntime", "bm25s"} <= brought
    assert not brought & {"torch", "transformers", "scipy", "ir-measures"}


@pytest.mark.parametrize("extra", ["evaluate", "train", "quickstart", "all"])
def test_whoever_trains_can_measure(extra):
    assert {"ir-measures", "scipy"} <= brought_by(extra)
