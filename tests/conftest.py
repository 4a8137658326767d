"""What all tests share."""

import os

import pytest

COSTLY = ("onnx", "token_vectors")  # what all workers may write at once


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """A cache of our own: tests neither read nor fill the user's. Workers have one each, and share what is costly."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = base / "limbeck-cache"
    folder.mkdir()
    for name in COSTLY:
        (shared / "costly" / name).mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(shared / "costly" / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIMBECK_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def buffered():
    """Processes that tests start buffer their output, as they do on most machines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONUNBUFFERED", raising=False)
        yield
