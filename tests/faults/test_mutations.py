"""Thousands of mutated artefacts: damage is refused by its hash; malice with the right hashes does no harm."""

import json
import random
import select
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from limbeck.errors import ArtefactError
from limbeck.index import engine, files, store
from limbeck.retrieve import Searcher

sys.path.insert(0, str(Path(__file__).parent))
import small_artefacts  # beside this file, as the two below
from mutations import damaged, drawn, hostile
from opener import contents

KINDS = [make.__name__ for make in small_artefacts.INDEXES]
SECONDS = 10  # of opening and all searches
MEMORY = 300e6  # bytes beyond what a process that opened every kind has


@pytest.mark.parametrize("count", [300, pytest.param(5000, marks=pytest.mark.long)])
def test_every_mutation_is_refused_by_name_before_faiss_sees_a_byte(artefacts, tmp_path, monkeypatch, count):
    reached = []
    monkeypatch.setattr(files, "read_faiss", lambda data: reached.append(len(data)))
    monkeypatch.setattr(engine, "read_faiss", lambda data: reached.append(len(data)))
    shutil.copytree(artefacts, tmp_path / "copies")
    originals = {kind: contents(artefacts / kind) for kind in KINDS}
    rng = random.Random(count)
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        name = drawn(originals[kind], rng)
        mutation, data = rng.choice([damaged, hostile])(name, originals[kind][name], rng)
        path = tmp_path / "copies" / kind / name
        path.write_bytes(data)
        with pytest.raises(ArtefactError) as caught:
            Searcher.open(tmp_path / "copies" / kind)
        named = {path.name, "manifest.json"} if name == store.CURRENT else {path.name}
        assert any(one in str(caught.value) for one in named), (name, mutation, caught.value)
        path.write_bytes(originals[kind][name])
    assert reached == []
    assert [store.verify(tmp_path / "copies" / kind) for kind in KINDS] == [[]] * len(KINDS)


class Opener:
    """A process that opens mutated artefacts, and another one where it dies."""

    def __init__(self, artefacts, log):
        self._command = [sys.executable, str(Path(__file__).with_name("opener.py")), str(artefacts)]
        self._log = log
        self._start()

    def _start(self):
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
        )
        self._base = json.loads(self._process.stdout.readline())["base"]

    def __call__(self, kind, seed):
        self._process.stdin.write(f"{kind} {seed}\n")
        readable, _, _ = select.select([self._process.stdout], [], [], SECONDS)
        line = self._process.stdout.readline() if readable else ""
        if line:
            found = json.loads(line)
            return {**found, "grown": found["peak"] - self._base}
        self.close()
        outcome = f"ended with {self._process.returncode}" if readable else f"took {SECONDS} s"
        self._start()
        return {"kind": kind, "seed": seed, "outcome": outcome, "seconds": SECONDS, "grown": 0}

    def close(self):
        self._process.kill() if self._process.poll() is None else None
        self._process.communicate()


@pytest.mark.parametrize(
    "count", [120, pytest.param(2000, marks=[pytest.mark.long, pytest.mark.timeout(1200)])]
)
def test_malice_with_right_hashes_is_refused_or_answered_within_bounds(artefacts, tmp_path, count):
    with (tmp_path / "stderr").open("w") as log:
        opener = Opener(artefacts, log)
        found = [opener(KINDS[seed % len(KINDS)], count + seed) for seed in range(count)]
        opener.close()
    bad = [
        one
        for one in found
        if one["outcome"] not in ("refused", "answered") or one["seconds"] > SECONDS or one["grown"] > MEMORY
    ]
    assert bad == []
    outcomes = Counter(one["outcome"] for one in found)
    assert min(outcomes["refused"], outcomes["answered"]) > count / 20  # both happen
