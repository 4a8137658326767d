"""A real index with hostile documents among the others, a server over it, and one browser that is watched."""

import gzip
import json
import shutil
import sys
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from limbeck.data import Document
from limbeck.encoders.fingerprint import Fingerprint
from limbeck.encoders.static import StaticEncoder, TokenTable
from limbeck.index.compressed import CodeIndex
from limbeck.index.document_store import FILE, DocumentStore
from limbeck.index.kept import FOLDER, keep
from limbeck.index.store import publish
from limbeck.jobs.hybrid import hybrid
from limbeck.quantisers.product import ProductQuantiser
from limbeck.retrieve import QUERY_ENCODER

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "serve"))
from served import Running  # noqa: E402

TLDR = HERE.parents[1].parent / "shared" / "data" / "tldr" / "corpus.jsonl.gz"
PAYLOADS = (HERE / "payloads.txt").read_text(encoding="utf-8").splitlines()
HOSTILE = "hostilepayload"  # a word that no other document has
SIZE, EVERY, DIM = 400, 8, 32
DEADLINE = 15_000  # milliseconds that the browser polls before a test fails
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def documents():
    """Commands of tldr, and documents in which everything is a payload."""
    if not TLDR.is_file():
        pytest.skip(f"{TLDR} is not there")
    with gzip.open(TLDR, "rt", encoding="utf-8") as stream:
        records = [json.loads(line) for line in islice(stream, 0, SIZE * EVERY, EVERY)]
    for record in records:
        metadata = {"platform": record["platform"], "examples": len(record["commands"])}
        yield Document(record["_id"], record["title"], record["text"], metadata)
    for number, payload in enumerate(PAYLOADS):
        text = f"{HOSTILE} {payload} " + "and more " * (100 if number % 2 else 1)
        named = {"__proto__": "ab"[number % 2], payload: number % 2}
        metadata = {**named, "note": payload, "list": [payload], "object": {payload: payload}}
        yield Document(f"{number} {payload}", payload, text, metadata)
    yield Document("zh", "复制文件", "把文件复制到另一个目录。", {"platform": "zh"})


def table_of(texts):
    """An encoder that knows every word of the texts: a vector for each, drawn at random."""
    tokenizer = Tokenizer(models.WordLevel({"[NONE]": 0}, unk_token="[NONE]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^\w]+"), "removed")
    found = (word for text in texts for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text.lower()))
    words = {word: row for row, word in enumerate(dict.fromkeys(["[NONE]", *found]))}
    tokenizer.model = models.WordLevel(words, unk_token="[NONE]")
    drawn = np.random.default_rng(0)
    vectors, gates = drawn.normal(size=(len(words), DIM)), np.zeros((len(words), 2), np.float32)
    table = TokenTable.rounded(vectors.astype(np.float32), np.ones(len(words)), gates, np.zeros((2, DIM)))
    space = Fingerprint(weights="0" * 64, dim=DIM, pooling="mean", max_length=64)
    own = replace(space, weights=table.digest, precision="int8", normalise=True)
    return StaticEncoder(table, tokenizer, own, space)


@pytest.fixture(scope="session")
def index(tmp_path_factory):
    """In 8 lists, with codes of 4 bytes that move many answers, kept vectors, BM25 and its encoder."""
    corpus = list(documents())
    encoder = table_of([document.content for document in corpus])
    vectors = encoder.encode([document.content for document in corpus], side="doc").flat
    quantiser = ProductQuantiser(code_bytes=4, bits=4, lists=8).fit(vectors, seed=0)
    codes = CodeIndex(quantiser, quantiser.encode(vectors))

    def write(inside):
        codes.save(inside)
        DocumentStore.write(inside / FILE, corpus)
        keep(inside / FOLDER, iter([vectors]), rows=len(corpus), dim=DIM, precision="float16")
        (inside / QUERY_ENCODER).mkdir()
        encoder.save(inside / QUERY_ENCODER)

    folder = tmp_path_factory.mktemp("searched") / "index"
    described = {"index": "codes", "metric": "ip", "data": {"name": "commands"}}
    publish(folder, write, {**described, "encoder": encoder.space.to_json()})
    hybrid(folder, progress=False)
    return folder


@pytest.fixture(scope="session")
def server(index):
    """Answers all tests that do not need one of their own."""
    running = Running(index, "--read-only")
    yield running
    running.process.kill()
    running.process.communicate()


@pytest.fixture
def start(index):
    """start(token=...) gives a server of the test's own."""
    started = []

    def begin(token=None):
        started.append(Running(index, "--read-only", environment={"LIMBECK_TOKEN": token} if token else None))
        return started[-1]

    yield begin
    for one in started:
        one.process.kill()
        one.process.communicate()


@pytest.fixture(scope="session")
def chromium():
    """One for all tests."""
    if CHROMIUM is None:
        pytest.skip("needs a browser: apt-get install chromium")
    from playwright import sync_api

    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Watched:
    """What went on in the pages of a test."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)  # of the console, and of the policy of the page
    alerts: list[str] = field(default_factory=list)
    may_complain: bool = False  # the test makes requests fail

    def follow(self, page):
        """Note what this page does."""
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", self._dismiss)
        page.on("console", self._listen)

    def _dismiss(self, dialog):
        self.alerts.append(dialog.message)
        dialog.dismiss()

    def _listen(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


@pytest.fixture
def watched():
    """What the pages of this test did."""
    return Watched()


@pytest.fixture
def opened(chromium, server, watched):
    """opened("?q=...", ...) gives a page. At the end: nobody complained, and nothing left for elsewhere."""
    contexts = []

    def begin(path="", *, at=server, width=1280, height=900, **options):
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.set_default_timeout(DEADLINE)
        page = context.new_page()
        watched.follow(page)
        page.goto(f"http://127.0.0.1:{at.port}/{path}")
        return page

    yield begin
    for context in contexts:
        context.close()
    elsewhere = [url for url in watched.requests if not url.startswith(("http://127.0.0.1:", "data:"))]
    assert elsewhere == []
    assert watched.alerts == []
    if not watched.may_complain:
        assert watched.complaints == []
