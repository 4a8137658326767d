"""What `make test-integrations` made, opened once: an index of real documents with metadata, and queries for it."""

import os
from pathlib import Path

import pytest

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
os.environ["LANGSMITH_TRACING"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
DATA = Path(__file__).parents[2] / ".venv-integrations" / "data"


@pytest.fixture(scope="session")
def folder():
    if not (DATA / "index" / "CURRENT").exists():
        pytest.skip("no index to test on; `make test-integrations` makes it")
    return DATA / "index"


@pytest.fixture(scope="session")
def searcher(folder):
    import limbeck

    return limbeck.open(folder)


@pytest.fixture(scope="session")
def queries():
    """Thirty queries that no index was made with."""
    from limbeck.data import Dataset

    return Dataset.open(DATA / "corpus").split("test")[0].texts[:30]


@pytest.fixture(scope="session")
def wanted(searcher):
    """wanted(query, k, effort) gives (id, score) of each document, from the index itself."""

    def ask(query, k=10, **options):
        (answers,) = searcher.answers([query], k, **options)
        return [(answer.id, answer.score) for answer in answers]

    return ask


@pytest.fixture(scope="session")
def first_lines(searcher):
    """first_lines(query, k, most) by brute force: the best documents of at most so many lines."""

    def ask(query, k, most):
        (answers,) = searcher.answers([query], len(searcher), effort=1.0)
        lines = {document.id: document.metadata["lines"] for document in searcher.documents.all()}
        return [answer.id for answer in answers if lines[answer.id] <= most][:k]

    return ask
