"""Help is quick because nothing heavy is imported for it; messages to newcomers are kind."""

import subprocess
import sys

import pytest

VERBS = (
    "quickstart",
    "distil",
    "build",
    "encode",
    "search",
    "evaluate",
    "compare",
    "export",
    "import",
    "verify",
    "doctor",
    "systems",
)
HEAVY = (
    "faiss",
    "torch",
    "onnxruntime",
    "ir_measures",
    "sentence_transformers",
    "transformers",
    "matplotlib",
    "numpy",
)
ALL_HELP = f"""
import sys
from limbeck.cli import main
for words in [[], *[[verb] for verb in {VERBS!r}]]:
    sys.argv = ["limbeck", *words, "--help"]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, words
print("LOADED", [name for name in {HEAVY!r} if name in sys.modules])
"""


def test_no_help_of_any_verb_loads_a_heavy_package():
    shown = subprocess.run([sys.executable, "-c", ALL_HELP], capture_output=True, text=True, check=True)
    assert shown.stdout.rstrip().endswith("LOADED []")


def test_help_names_every_verb_and_the_exit_codes(run):
    shown = run("--help")
    assert shown.exit_code == 0
    assert all(f" {verb} " in shown.stdout for verb in VERBS)
    assert "5 interrupted" in " ".join(shown.stdout.split())


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_the_shared_options(run, verb):
    shown = run(verb, "--help")
    assert shown.exit_code == 0
    assert all(option in shown.stdout for option in ("--quiet", "--verbose", "--debug"))


def test_version_is_the_packages(run):
    from limbeck import __version__

    assert run("--version").stdout.split() == ["limbeck", __version__]


def test_the_module_runs_as_the_program():
    ran = subprocess.run([sys.executable, "-m", "limbeck.cli", "--version"], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout.split()[0]) == (0, "limbeck")


def test_a_misspelt_verb_is_answered_with_the_right_one(run):
    shown = run("serch", "folder", "text")
    assert shown.exit_code == 2
    assert "Did you mean 'search'" in " ".join(shown.stderr.split())


def test_a_misspelt_option_is_answered_with_the_right_one(run):
    shown = run("distil", "--corpora", "x", "--out", "y")
    assert shown.exit_code == 2
    assert "--corpus" in shown.stderr


def test_a_missing_option_is_named(run):
    shown = run("distil", "--out", "y")
    assert shown.exit_code == 2
    assert "--corpus" in shown.stderr
