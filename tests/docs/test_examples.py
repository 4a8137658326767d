"""Every Python example in the documents runs, page by page, as a reader would type it.

The blocks of a page share one namespace and one empty working folder. A page may name files of `tests/docs/setup`
that make what its examples open (`<!-- setup: file.py -->`); a block directly below `<!-- not run: reason -->` is
left out. Where a page says `<!-- needs: teacher -->`, a model of narrow layers stands in for the default teacher; the
default teacher itself is used by `make test-long`.
"""

import pytest

from limbeck.errors import MissingExtra

OPTIONAL = {"torch", "sentence_transformers", "transformers", "matplotlib", "onnxscript"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def reader(cache, tmp_path, monkeypatch):
    """A reader's machine: an empty working folder, a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIMBECK_CACHE", str(cache))


def run(page):
    """All examples of a page, or a skip that names what is not installed."""
    blocks = [block for block in page.blocks("python") if block.is_run]
    if not blocks:
        pytest.skip("no examples to run")
    namespace = {"__name__": page.name}
    try:
        for path in page.setup:
            exec(compile(path.read_text(encoding="utf-8"), path, "exec"), namespace)
        for block in blocks:
            exec(compile(block.code, page.path, "exec"), namespace)
    except MissingExtra as missing:
        pytest.skip(str(missing))
    except ModuleNotFoundError as missing:
        if missing.name not in OPTIONAL:
            raise
        pytest.skip(f"{missing.name} is not installed")


def test_the_examples_of_a_page_run(page, reader, request, monkeypatch):
    if page.needs_teacher:
        folder = request.getfixturevalue("small_teacher")
        monkeypatch.setattr("limbeck.encoders.model_folder.default_teacher", lambda: folder)
    run(page)


@pytest.mark.long
def test_the_examples_of_a_page_run_with_the_default_teacher(page, reader):
    if not page.needs_teacher:
        pytest.skip("needs no teacher")
    run(page)


def test_blocks_that_are_not_run_say_why(page):
    for block in page.blocks("python"):
        assert block.is_run or block.lines, f"{page.name}:{block.first_line}: an empty example"
    for number, line in enumerate(page.text.splitlines(), start=1):
        if "not run" in line and line.startswith("<!--"):
            assert ":" in line, f"{page.name}:{number}: expected `<!-- not run: reason -->`"
