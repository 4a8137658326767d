"""A small index of each kind, to be damaged in copies."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import small_artefacts  # beside this file


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory):
    """A folder for each of `small_artefacts.INDEXES`; tests copy it and leave it as it is."""
    folder = tmp_path_factory.mktemp("artefacts")
    for make in small_artefacts.INDEXES:
        small_artefacts.publish(folder / make.__name__, make)
    return folder
