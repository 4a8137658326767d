"""`limbeck serve` on an index that answers text: with what its extra installs, and with texts added while it serves."""

import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from limbeck.client import Client
from limbeck.errors import StorageError

DEADLINE = 60.0
WITHOUT = """
import sys
for name in ("torch", "sentence_transformers", "transformers", "scipy", "ir_measures"):
    sys.modules[name] = None
"""


def free_port():
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


def answers(client, process):
    """Polls until the server says what it serves."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            return client.about()
        except StorageError:
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture
def slim(tmp_path):
    """An environment whose processes, and those that they start, can import nothing that only other work needs."""
    folder = tmp_path / "without"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(WITHOUT)
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def test_a_server_without_torch_and_scipy_answers_texts_and_takes_new_ones(text_index, tmp_path, run, slim):
    index = tmp_path / "index"
    shutil.copytree(text_index, index)
    assert run("hybrid", index, "--quiet").exit_code == 0
    command = [sys.executable, "-m", "limbeck.cli", "serve", str(index), "--port", str(port := free_port())]
    process = subprocess.Popen(command, env=slim, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            about = answers(client, process)
            assert (about["takes_text"], about["can_add_texts"]) == (True, True)
            text = "Sharpen kitchen knives on a wet stone."
            accepted = client.add([{"id": "knives", "text": text, "metadata": {"topic": "kitchen"}}])
            client.wait_until_seen(accepted["sequence"], seconds=DEADLINE)
            for mode in ("dense", "hybrid"):
                found = client.search("how to sharpen a knife", k=3, mode=mode)
                assert found["answers"][0]["id"] == "knives"
            (found,) = client.search("whetted wet stones", k=3, mode="lexical")["answers"]
            assert found["id"] == "knives"
            assert client.search("anything", where={"topic": "kitchen"})["answers"][0]["text"] == text
        process.terminate()
        assert process.wait(timeout=DEADLINE) == 0
    finally:
        process.kill()
        process.communicate()
    assert "knives" in run("search", index, "how to sharpen a knife").stdout


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_others_are_not_let_in_without_a_token(run, index, host):
    refused = run("serve", index, "--host", host)
    assert refused.exit_code == 2
    assert "there is no token" in refused.stderr


def test_a_short_token_a_taken_port_and_a_missing_index_are_named(run, index, tmp_path):
    (tmp_path / "token").write_text("short")
    assert "must have at least 16" in run("serve", index, "--token-file", tmp_path / "token").stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused = run("serve", index, "--port", taken.getsockname()[1])
    assert (refused.exit_code, "cannot listen on" in refused.stderr) == (4, True)
    missing = run("serve", tmp_path / "nothing")
    assert missing.exit_code == 2
    assert "nothing" in missing.stderr
