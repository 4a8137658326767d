"""What the documents point to is there: pages, files, functions, commands with their options, make's targets."""

import re
import shlex
from itertools import takewhile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "limbeck"
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
FILE = re.compile(r"`(\w[\w./-]*\.(?:py|toml|md))(?:::(\w+))?`")
NAME = re.compile(r"([\w.-]+/)+|[\w.-]+\.\w+")
# by `make docs`, by the quickstart; a stand-in
MADE_AT_RUN_TIME = {"docs/systems.md", "report.md", "file.py"}


def prose_of(page):
    return re.sub(r"^```.*?^```", "", page.text, flags=re.MULTILINE | re.DOTALL)


def found_file(page, name):
    places = (ROOT, PACKAGE, page.path.parent, *(folder for folder in PACKAGE.iterdir() if folder.is_dir()))
    return next((place / name for place in places if (place / name).is_file()), None)


def commands_of(page):
    """(line number, words) of every command in a shell block; comments and continuation lines resolved."""
    for block in page.blocks("sh", "console", "bash"):
        text = "\n".join(block.lines).replace("\\\n", " ")
        for line in text.splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words:
                yield block.first_line, words


def tree_of(block):
    """The paths that a drawn tree names: indentation is nesting; names come before what they are."""
    nesting = []
    for line in block.lines:
        words = line.split()
        depth = (len(line) - len(line.lstrip())) // 2
        leading = list(takewhile(NAME.fullmatch, words))
        nesting = nesting[:depth]
        for name in leading:
            yield Path(*nesting, name)
        nesting.append(leading[0] if leading else "")


def test_links_lead_to_files_that_exist(page):
    for target in LINK.findall(prose_of(page)):
        if "://" not in target and target not in MADE_AT_RUN_TIME:
            assert (page.path.parent / target).exists(), f"{page.name}: {target}"


def test_files_and_functions_that_are_named_exist(page):
    for name, function in FILE.findall(page.text):
        if name in MADE_AT_RUN_TIME:
            continue
        path = found_file(page, name)
        assert path is not None, f"{page.name}: {name}"
        if function:
            source = path.read_text(encoding="utf-8")
            assert re.search(rf"^(?:def|class) {function}\b", source, re.MULTILINE), (
                f"{page.name}: {name}::{function}"
            )


def test_the_drawn_trees_are_the_tree(page):
    trees = [block for block in page.blocks("text") if block.lines and block.lines[0] == "src/limbeck/"]
    for block in trees:
        for path in tree_of(block):
            assert (ROOT / path).exists(), f"{page.name}:{block.first_line}: {path}"


def test_every_package_of_the_library_stands_in_the_drawn_trees():
    for name in ("README.md", "ARCHITECTURE.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for path in sorted(PACKAGE.iterdir()):
            if path.is_dir() and (path / "__init__.py").is_file():
                assert re.search(rf"(^|\s){path.name}/\s", text, re.MULTILINE), f"{name}: {path.name}/"


def test_every_module_stands_in_the_tree_of_the_architecture_or_a_folder_that_is_told_whole(architecture):
    block = next(block for block in architecture.blocks("text") if block.lines[0] == "src/limbeck/")
    named = {ROOT / path for path in tree_of(block)}
    whole = {path for path in named if path.is_dir() and not any(other.parent == path for other in named)}
    left_out = {"__init__.py", "__main__.py", "version.py"}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name not in left_out and path.parent not in whole:
            assert path in named, f"ARCHITECTURE.md: {path.relative_to(ROOT)}"


def test_commands_have_the_verbs_and_options_that_are_shown(page):
    typer = pytest.importorskip("typer")
    from limbeck.cli.app import app

    verbs = typer.main.get_command(app).commands
    for line, words in commands_of(page):
        if words[0] != "limbeck" or words[1:] in (["--help"], ["--version"]):
            continue
        assert words[1] in verbs, f"{page.name}:{line}: {words[1]}"
        options = {
            name for option in verbs[words[1]].params for name in (*option.opts, *option.secondary_opts)
        }
        for word in words[2:]:
            if word.startswith("-"):
                assert word.split("=")[0] in {*options, "--help"}, f"{page.name}:{line}: {words[1]} {word}"


def test_make_has_the_targets_that_are_shown(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line, words in commands_of(page):
        if words[0] == "make":
            for target in words[1:]:
                if "=" not in target:
                    assert re.search(rf"^{target}:", makefile, re.MULTILINE), (
                        f"{page.name}:{line}: make {target}"
                    )
