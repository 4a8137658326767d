"""The exported encoder needs neither torch nor sentence-transformers, and refuses files that are not its own."""

import json
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from limbeck.encoders import OnnxEncoder
from limbeck.errors import ConfigError, CorruptArtefact, DataError, VersionMismatch

WITHOUT_TORCH = """
import sys
for name in ("torch", "sentence_transformers", "transformers", "onnx", "onnxscript"):
    sys.modules[name] = None
import limbeck.encoders
from limbeck.encoders import Fingerprint, OnnxEncoder, StoredVectors, check_pair, encode_corpus
from limbeck.encoders.default_teacher import default_teacher
from limbeck.testing import HashEncoder
"""


def run_without_torch(code, *arguments):
    command = [sys.executable, "-c", WITHOUT_TORCH + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "copy")


def test_importing_the_encoders_needs_no_torch_and_not_even_onnxruntime():
    code = "import limbeck.encoders, sys; print([n for n in ('torch', 'onnxruntime', 'tqdm') if n in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip() == "[]"


def test_encoding_a_corpus_and_reading_it_back_needs_no_torch(tmp_path):
    code = """
stored = encode_corpus(["a", "b c"], HashEncoder(4), sys.argv[1], progress=False)
check_pair(HashEncoder(4).fingerprint, StoredVectors.open(sys.argv[1]).fingerprint)
print(stored.array().shape)
"""
    assert run_without_torch(code, tmp_path / "v").strip() == "(2, 4)"


def test_the_exported_encoder_gives_the_same_vectors_without_torch(exported, tmp_path):
    code = """
import numpy
encoder = OnnxEncoder.open(sys.argv[1], threads=1)
numpy.save(sys.argv[2], encoder.encode_query(["how to copy a file", ""]))
"""
    run_without_torch(code, exported, tmp_path / "vectors.npy")
    here = OnnxEncoder.open(exported, threads=1).encode_query(["how to copy a file", ""])
    np.testing.assert_allclose(np.load(tmp_path / "vectors.npy"), here, atol=1e-6)


def test_what_needs_torch_says_so_when_it_is_used_and_not_before():
    code = """
from limbeck.errors import MissingExtra
from limbeck.encoders import SentenceEncoder
try:
    SentenceEncoder.open(sys.argv[1])
except MissingExtra as error:
    print(error)
"""
    assert "pip install 'limbeck[train]'" in run_without_torch(code, "/")


def test_many_threads_get_the_vectors_of_one(exported, tldr_queries):
    encoder = OnnxEncoder.open(exported, threads=1)
    texts = tldr_queries[:32]
    expected = encoder.encode_query(texts, batch_size=1)
    found = [None] * len(texts)

    def encode(row):
        found[row] = encoder.encode_query([texts[row]])[0]

    threads = [threading.Thread(target=encode, args=(row,)) for row in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(np.array(found), expected)


@pytest.mark.parametrize(
    "text", ["", " ", "\n", "\x00", "\ufeff", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "word " * 20_000, "x" * 100_000]
)
def test_odd_texts_have_finite_vectors_of_unit_length(exported, text):
    vector = OnnxEncoder.open(exported, threads=1).encode_document([text])[0]
    assert abs(np.linalg.norm(vector) - 1) < 1e-5


def test_no_texts_give_no_vectors(exported):
    assert OnnxEncoder.open(exported, threads=1).encode_query([]).shape == (0, 384)


def test_one_string_is_refused(exported):
    with pytest.raises(DataError, match="list of texts"):
        OnnxEncoder.open(exported, threads=1).encode_query("one string")


def test_threads_are_at_least_one(exported):
    with pytest.raises(ConfigError, match="threads"):
        OnnxEncoder.open(exported, threads=0)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_a_damaged_file_is_refused_by_name(folder, name, damage):
    path = folder / name
    if damage == "remove":
        path.unlink()
    else:
        with path.open("r+b") as stream:
            stream.seek(5000)
            byte = stream.read(1)[0]
            stream.seek(5000)
            stream.write(bytes([byte ^ 4]))
    with pytest.raises(CorruptArtefact, match=name.replace(".", r"\.")):
        OnnxEncoder.open(folder)


def change(folder, **values):
    path = folder / "encoder.json"
    settings = json.loads(path.read_text())
    settings.update(values)
    path.write_text(json.dumps(settings))


def test_another_format_is_another_version(folder):
    change(folder, format=2)
    with pytest.raises(VersionMismatch, match="format 2"):
        OnnxEncoder.open(folder)


@pytest.mark.parametrize("values", [{"fingerprint": {}}, {"inputs": None}, {"files": 3}, {"padding": [1]}])
def test_settings_that_make_no_sense_are_refused(folder, values):
    change(folder, **values)
    with pytest.raises(CorruptArtefact):
        OnnxEncoder.open(folder)


def test_a_file_elsewhere_cannot_be_named(folder):
    change(folder, files={"../../etc/passwd": "0"})
    with pytest.raises(CorruptArtefact, match="not the name of a file"):
        OnnxEncoder.open(folder)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(CorruptArtefact, match=r"encoder\.json: missing"):
        OnnxEncoder.open(tmp_path)
