"""What the tests of the server share."""

import shutil

import numpy as np
import pytest
from served import SIZE, Running, document, write_index

from limbeck.index.journal import Journal
from limbeck.serve.live import Live
from limbeck.serve.service import Service
from limbeck.testing.encoders import HashEncoder


@pytest.fixture(scope="session")
def encoder():
    return HashEncoder(16)


@pytest.fixture(scope="session")
def vectors(encoder):
    """[SIZE, 16]: what the index was made from."""
    return encoder.encode_document([document(row).content for row in range(SIZE)])


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Not to be changed."""
    return write_index(tmp_path_factory.mktemp("served") / "index")


@pytest.fixture
def own_folder(folder, tmp_path):
    """One that the test may change."""
    shutil.copytree(folder, tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture(scope="session")
def service(folder, encoder):
    """Takes no changes."""
    return Service(Live(folder, encoder=encoder), None)


@pytest.fixture
def changing(own_folder, encoder):
    """Takes changes; nobody applies them but the test."""
    journal = Journal(own_folder)
    yield Service(Live(own_folder, encoder=encoder), journal)
    journal.close()


@pytest.fixture
def start():
    """start(folder, *options) gives a `Running` server, which is killed when the test ends."""
    started = []

    def begin(folder, *options, environment=None):
        started.append(Running(folder, *options, environment=environment))
        return started[-1]

    yield begin
    for one in started:
        one.process.kill()
        one.process.communicate()


@pytest.fixture
def drawn():
    return np.random.default_rng(0)
