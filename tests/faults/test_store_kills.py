"""A process that dies while saving loses nothing that was acknowledged, wherever it dies."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from limbeck.index import store

PUBLISHER = Path(__file__).with_name("publisher.py")


def number_in(folder):
    """What the current generation says, after every byte was found to agree."""
    generation, manifest = store.open_current(folder)
    number = manifest.content["number"]
    for name in manifest.files:
        assert set((generation / name).read_bytes()) == {number % 251}
    return number


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(store.TEMPORARY)]


@pytest.fixture(scope="module")
def killed_at_every_point(tmp_path_factory):
    folder = tmp_path_factory.mktemp("points") / "artefact"
    output = subprocess.run(
        [sys.executable, PUBLISHER, "points", folder], capture_output=True, text=True, check=True, timeout=200
    )
    return [json.loads(line) for line in output.stdout.splitlines()]


def test_every_primitive_of_a_publish_is_a_kill_point(killed_at_every_point):
    cases = killed_at_every_point
    assert [case["point"] for case in cases] == list(range(1, cases[0]["total"] + 1))
    assert {case["status"] for case in cases} == {137}
    assert len(cases) >= 30


def test_killed_at_any_primitive_the_folder_holds_the_old_generation_or_the_new(killed_at_every_point):
    numbers = [number_in(Path(case["folder"])) for case in killed_at_every_point]
    assert set(numbers) == {2, 3}
    assert numbers == sorted(numbers)  # one moment of change


def test_the_next_writer_succeeds_and_cleans_up_after_any_kill(killed_at_every_point):
    for case in killed_at_every_point:
        folder = Path(case["folder"])
        store.publish(folder, lambda temporary: (temporary / "file").write_bytes(b"\4"), {"number": 4})
        assert number_in(folder) == 4
        assert leftovers(folder) == []
        generations = [path for path in folder.iterdir() if path.name.startswith(store.GENERATION)]
        assert len(generations) <= 2


def kill_in_the_middle(folder, rounds, *, seed):
    """Starts a writer, kills it after a random part of a second, and checks what it left; `rounds` times."""
    rng = random.Random(seed)
    changed = 0
    for _ in range(rounds):
        with subprocess.Popen(
            [sys.executable, PUBLISHER, "loop", folder], stdout=subprocess.PIPE, text=True
        ) as writer:
            before = int(writer.stdout.readline().split()[1])
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(timeout=rng.uniform(0.0, 0.12))
            writer.kill()
            acknowledged = [int(line.split()[1]) for line in writer.stdout if line.endswith("\n")]
        last = max([before, *acknowledged])
        if last == 0 and not (folder / store.CURRENT).exists():
            continue  # killed before the first save ended: there is nothing to lose
        assert last <= number_in(folder) <= last + 1
        changed += len(acknowledged)
    return changed


def test_ten_random_kills_lose_nothing(tmp_path):
    kill_in_the_middle(tmp_path / "artefact", 10, seed=0)


@pytest.mark.long
def test_sixty_random_kills_lose_nothing(tmp_path):
    assert kill_in_the_middle(tmp_path / "artefact", 60, seed=1) > 0
