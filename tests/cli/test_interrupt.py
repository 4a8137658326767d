"""Ctrl-C leaves nothing half-made, says how to continue, and continuing ends in the same index."""

import os
import signal
import subprocess
import sys
import time

import pytest
from safetensors.numpy import load_file

from limbeck.cli import main

DEADLINE = 120.0
EPOCHS = 30  # some seconds of them: the signal must arrive before the last


def started(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "limbeck.cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        preexec_fn=hears_ctrl_c,
    )


def hears_ctrl_c():
    """Shells start what runs in the background deaf to it, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finished(*words):
    """What a run that ends well says on stderr."""
    with started(*words) as running:
        _, said = running.communicate(timeout=DEADLINE)
    assert running.returncode == 0, said
    return said


def lines_until(stream, word):
    """The lines up to the first that holds the word."""
    deadline, lines = time.monotonic() + DEADLINE, []
    while time.monotonic() < deadline:
        line = stream.readline()
        lines.append(line)
        if word in line:
            return lines
        assert line, lines
    raise AssertionError(lines)


def test_stopped_training_goes_on_where_it_was_and_ends_in_the_same_codebooks(vectors, tmp_path):
    def words(name):
        return (
            *("distil", "--corpus", vectors / "docs.npy", "--queries", vectors / "queries.npy", "--verbose"),
            *(
                "--similarity",
                "cosine",
                "--bytes",
                4,
                "--batch-size",
                8,
                "--epochs",
                EPOCHS,
                "--patience",
                EPOCHS,
            ),
            *("--out", tmp_path / name, "--checkpoints", tmp_path / f"{name}-kept"),
        )

    with started(*words("a")) as stopped:
        lines_until(stopped.stderr, "epoch 3:")
        stopped.send_signal(signal.SIGINT)
        _, said = stopped.communicate(timeout=DEADLINE)
    assert stopped.returncode == 5, said
    assert "to continue, type the same again: limbeck distil" in said
    assert "Traceback" not in said
    assert not (tmp_path / "a" / "CURRENT").exists()

    again = finished(*words("a"))
    assert "epoch 1:" not in again
    assert f"epoch {EPOCHS}:" in again
    assert "epoch 1:" in finished(*words("b"))
    assert _learned(tmp_path / "a") == _learned(tmp_path / "b")


def test_stopped_before_anything_was_imported_is_exit_code_5_too():
    script = (
        "import sys; sys.argv = ['limbeck', 'verify', 'x']\n"
        "import limbeck.cli.paths as paths\n"
        "def stop(path): raise KeyboardInterrupt\n"
        "paths.artefact = stop\n"
        "from limbeck.cli import main; main()"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 5
    assert "limbeck verify x" in ended.stderr


def test_stopped_before_a_verb_began_is_said_too(monkeypatch, capsys):
    class Stops:
        def __getattr__(self, name):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "limbeck.cli.app", Stops())
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 5
    assert "interrupted" in capsys.readouterr().err


def test_a_reader_that_has_enough_is_no_error(index, vectors):
    with started("search", index, "--vectors", vectors / "queries.npy", "-k", 500) as searching:
        searching.stdout.readline()
        searching.stdout.close()
        said = searching.stderr.read()
    assert "Traceback" not in said
    assert "Error" not in said


def _learned(folder):
    """Every array that was learned, by name."""
    (path,) = folder.glob("gen-*/quantiser.safetensors")
    return {name: array.tobytes() for name, array in load_file(path).items()}
