"""Pages of documentation, read once."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETUP = Path(__file__).parent / "setup"
NOT_RUN = re.compile(r"^<!-- not run: .+ -->$")


@dataclass(frozen=True)
class Block:
    """The lines between two fences, and where they stand."""

    language: str
    lines: tuple[str, ...]
    first_line: int  # of its content, from 1
    is_run: bool

    @property
    def code(self):
        """The content, with blank lines before it, so that tracebacks name the line of the page."""
        return "\n" * (self.first_line - 1) + "\n".join(self.lines) + "\n"


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path
    text: str

    @property
    def name(self):
        return self.path.relative_to(ROOT).as_posix()

    @property
    def setup(self):
        """The files that the page names in its first lines, as `<!-- setup: file.py -->`."""
        return [SETUP / name for name in re.findall(r"^<!-- setup: (\S+) -->$", self.text, re.MULTILINE)]

    @property
    def needs_teacher(self):
        """Whether the page says `<!-- needs: teacher -->`."""
        return "<!-- needs: teacher -->" in self.text.splitlines()

    def blocks(self, *languages):
        return [block for block in blocks_of(self.text) if block.language in languages]


def blocks_of(text):
    """Every fenced block of a page, in order."""
    found, inside, above = [], None, ""
    for number, line in enumerate(text.splitlines(), start=1):
        if inside is None and line.startswith("```"):
            inside = (line.removeprefix("```").strip(), number + 1, not NOT_RUN.match(above), [])
        elif inside is not None and line.startswith("```"):
            language, first, is_run, lines = inside
            found.append(Block(language, tuple(lines), first, is_run))
            inside, above = None, ""
        elif inside is not None:
            inside[3].append(line)
        elif line.strip():
            above = line.strip()
    assert inside is None, f"the fence at line {inside and inside[1] - 1} is not closed"
    return found


def all_pages():
    """README.md, the other pages at the top, and everything under docs/."""
    paths = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
    return [Page(path, path.read_text(encoding="utf-8")) for path in paths]


def pytest_generate_tests(metafunc):
    if "page" in metafunc.fixturenames:
        metafunc.parametrize("page", all_pages(), ids=lambda page: page.name)


@pytest.fixture
def architecture():
    return next(page for page in all_pages() if page.name == "ARCHITECTURE.md")


@pytest.fixture(scope="session")
def small_teacher(tmp_path_factory):
    """A sentence-transformers model of six narrow layers with random weights: real in everything but its answers."""
    torch = pytest.importorskip("torch")
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    from sentence_transformers import SentenceTransformer
    from transformers import AutoTokenizer, BertConfig, BertModel

    from limbeck.encoders.default_teacher import default_teacher
    from limbeck.errors import MissingExtra

    try:
        published = default_teacher()
    except MissingExtra as missing:
        pytest.skip(str(missing))
    folder = tmp_path_factory.mktemp("teacher")
    sizes = {"hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=30522, **sizes)).save_pretrained(folder / "bert")
    AutoTokenizer.from_pretrained(published, local_files_only=True).save_pretrained(folder / "bert")
    transformer = modules.Transformer(str(folder / "bert"), max_seq_length=64)
    layers = [transformer, modules.Pooling(64, "mean"), modules.Normalize()]
    SentenceTransformer(modules=layers, device="cpu").save_pretrained(str(folder / "model"))
    return folder / "model"
