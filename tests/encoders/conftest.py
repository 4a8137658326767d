"""The real teacher and real texts, loaded once for all tests of encoders."""

import gzip
import json
from pathlib import Path

import pytest

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def read_texts(name, kind):
    path = DATA / name / f"{kind}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def of_all_lengths(texts, count):
    """`count` texts from the shortest to the longest, evenly."""
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    return [distinct[i * (len(distinct) - 1) // (count - 1)] for i in range(count)]


@pytest.fixture(scope="session")
def tldr_queries():
    return read_texts("tldr", "queries")


@pytest.fixture(scope="session")
def scifact_documents():
    return read_texts("scifact", "corpus")


@pytest.fixture(scope="session")
def teacher_folder():
    from limbeck.encoders.default_teacher import default_teacher
    from limbeck.errors import MissingExtra

    try:
        return default_teacher()
    except MissingExtra as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def teacher(teacher_folder):
    from limbeck.encoders import SentenceEncoder

    pytest.importorskip("sentence_transformers")
    return SentenceEncoder.open(teacher_folder, precision="float32")


@pytest.fixture(scope="session")
def exported(teacher, tldr_queries, cache):
    """The folder of the teacher's ONNX form, made once for all workers."""
    from limbeck.jobs.make import exported

    return exported(teacher, of_all_lengths(tldr_queries, 150))
