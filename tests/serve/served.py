"""An index in lists with metadata and kept vectors, made of words, and a server of its own process over one."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from limbeck.data import Document
from limbeck.index.compressed import CodeIndex
from limbeck.index.document_store import FILE, DocumentStore
from limbeck.index.kept import FOLDER, keep
from limbeck.index.store import publish
from limbeck.quantisers.product import ProductQuantiser
from limbeck.testing.encoders import HashEncoder

SIZE = 2000
DEADLINE = 30.0  # seconds that a poll waits before the test fails


def document(row):
    """Words that tell it apart, and metadata of every kind; one document in 2,000 is rare."""
    metadata = {
        "language": ["en", "de", "zh"][row % 3],
        "year": 2000 + row % 25,
        "tags": [f"t{row % 7}", f"u{row % 11}"],
    }
    if row == 1234:
        metadata["rare"] = True
    return Document(f"d{row}", f"title {row}", f"word{row % 17} thing{row} part{row % 5}", metadata)


def write_index(folder, *, kept="float16", lists=16):
    """The artefact, as `limbeck distil --keep-vectors` writes it."""
    encoder = HashEncoder(16)
    vectors = encoder.encode_document([document(row).content for row in range(SIZE)])
    quantiser = ProductQuantiser(code_bytes=4, lists=lists).fit(vectors, seed=0)
    index = CodeIndex(quantiser, quantiser.encode(vectors))

    def write(inside):
        index.save(inside)
        DocumentStore.write(inside / FILE, map(document, range(SIZE)))
        if kept:
            keep(inside / FOLDER, iter([vectors]), rows=SIZE, dim=16, precision=kept)

    content = {
        "index": "codes",
        "metric": "ip",
        "encoder": encoder.fingerprint.to_json(),
        "data": {"name": "words"},
    }
    publish(folder, write, content)
    return folder


class Running:
    """A server in a process of its own."""

    def __init__(self, folder, *options, environment=None):
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            self.port = trial.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "limbeck.cli",
            "serve",
            str(folder),
            "--port",
            str(self.port),
            *options,
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        until(self.is_ready, self.process)

    def is_ready(self):
        """Whether it answers."""
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def get(self, path, **headers):
        """Status and JSON."""
        return self._ask(urllib.request.Request(self._address(path), headers=headers))

    def post(self, path, body, **headers):
        """Status and JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._ask(
            urllib.request.Request(
                self._address(path),
                data=data,
                headers={"Content-Type": "application/json", **headers},
                method="POST",
            )
        )

    def delete(self, path):
        """Status and JSON."""
        return self._ask(urllib.request.Request(self._address(path), method="DELETE"))

    def stop(self, number=signal.SIGTERM):
        """The exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=DEADLINE)

    def memory(self):
        """KiB."""
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1])

    def _address(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def _ask(self, request):
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


def until(is_true, process=None):
    """Polls with a deadline."""
    deadline = time.monotonic() + DEADLINE
    while not is_true():
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the server ended with {process.returncode}: {process.stdout.read()}")
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(0.02)
