"""What `limbeck` offers, and what importing it costs."""

import subprocess
import sys
import typing

import pytest

import limbeck

HEAVY = ("torch", "faiss", "numpy", "onnxruntime", "ir_measures", "sentence_transformers", "matplotlib")


def test_the_public_names_are_these():
    assert limbeck.__all__ == [
        *("OPQ", "PQ", "Answer", "Corpus", "Dataset", "DistillVQ", "Qrels", "Queries", "Run", "Searcher"),
        *("SentenceEncoder", "Vectors", "__version__", "distil", "distil_encoder", "encode", "errors"),
        *(
            "export_codebook",
            "export_faiss",
            "export_lance",
            "export_pyserini",
            "hybrid",
            "import_codebook",
            "import_faiss",
            "make_queries",
            "open",
        ),
    ]


@pytest.mark.parametrize("name", limbeck.__all__)
def test_every_public_name_can_be_had_and_is_documented(name):
    found = getattr(limbeck, name)
    assert name == "__version__" or found.__doc__


def test_every_lazy_name_is_public():
    assert set(limbeck._HOME) <= set(limbeck.__all__)
    assert set(limbeck.__all__) <= set(dir(limbeck))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'disti'"):
        _ = limbeck.disti


def test_importing_limbeck_loads_nothing_heavy():
    script = f"import sys, limbeck; print([name for name in {HEAVY!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_public_functions_are_fully_annotated():
    for function in (
        limbeck.open,
        limbeck.distil,
        limbeck.encode,
        limbeck.export_codebook,
        limbeck.export_faiss,
        limbeck.export_lance,
        limbeck.export_pyserini,
        limbeck.hybrid,
        limbeck.import_codebook,
        limbeck.import_faiss,
    ):
        named = {name for name in function.__annotations__ if name != "return"}
        assert named == set(typing.cast("object", function).__code__.co_varnames[: _parameters(function)])


def _parameters(function):
    code = function.__code__
    return code.co_argcount + code.co_kwonlyargcount
