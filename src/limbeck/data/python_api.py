"""The data set `python-api`: what does this code do? Functions and classes that every machine here holds.

A document is a function, method or class: its name (class and method, or module and function) as title, its
code without docstrings as text. The query is the first sentence of its docstring, so every document has
exactly one query and labels come for free, as in CodeSearchNet (Husain et al., 2019). Sources are the
standard library and the installed packages of `PACKAGES`, read with `ast`, never imported.

Copies: of code that is equal but for names, or shares four fifths of its five-token runs with code before
it, and of queries with the same letters, only the first stays. So no near-copy can stand in two splits.
Splits go by whole modules: a package, or where it is large its sub-packages and modules, lies in one split.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from limbeck.data.corpus import Document, content_hash, json_line
from limbeck.data.dataset import Dataset
from limbeck.data.module_splits import SPLITS, drawn, split_of_modules
from limbeck.data.near_copies import NearCopies
from limbeck.data.python_source import Snippet, normalised_query
from limbeck.data.source_files import SourceFile, source_files, versions_of
from limbeck.data.source_pool import parsed_in_order
from limbeck.errors import ConfigError, DatasetError
from limbeck.storage.cache import cache_root
from limbeck.storage.whole import replaced_folder

NAME = "python-api"
RULES = 1  # goes up when the same packages would give other documents
MIN_SIZE = 200
PACKAGES = (
    "accelerate",
    "anyio",
    "bm25s",
    "click",
    "filelock",
    "fonttools",
    "fsspec",
    "httpx2",
    "huggingface_hub",
    "ir_measures",
    "Jinja2",
    "joblib",
    "markdown-it-py",
    "matplotlib",
    "ml_dtypes",
    "mpmath",
    "narwhals",
    "networkx",
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "onnxscript",
    "packaging",
    "pillow",
    "psutil",
    "pydantic",
    "Pygments",
    "pyparsing",
    "python-dateutil",
    "PyYAML",
    "rich",
    "safetensors",
    "scikit-learn",
    "scipy",
    "sentence-transformers",
    "sympy",
    "torch",
    "tqdm",
    "transformers",
    "typer",
)
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Harvested:
    """What was kept so far, by split, and how much was left out and why."""

    quotas: Mapping[str, int] | None  # None: take everything
    kept: dict[str, list[tuple[str, Snippet]]] = field(
        default_factory=lambda: {split: [] for split in SPLITS}
    )
    spare: list[tuple[str, str, Snippet]] = field(
        default_factory=list
    )  # (split, package, snippet) over the quota
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def is_full(self) -> bool:
        return self.quotas is not None and all(
            len(self.kept[split]) >= self.quotas[split] for split in SPLITS
        )

    def add(self, split: str, package: str, snippet: Snippet) -> None:
        if self.quotas is None or len(self.kept[split]) < self.quotas[split]:
            self.kept[split].append((package, snippet))
        else:
            self.spare.append((split, package, snippet))

    def fill_up(self, size: int) -> None:
        """Where a split ran out of documents, others give what they have too many of."""
        missing = size - sum(map(len, self.kept.values()))
        for split, package, snippet in self.spare[: max(0, missing)]:
            self.kept[split].append((package, snippet))


def harvest(
    out: Path | str, *, size: int | None = None, seed: int = 0, packages: Sequence[str] | None = None
) -> Dataset:
    """Write the data set as a BEIR folder with a manifest, and open it. The folder appears whole or not at
    all.

    The files are read in an order drawn from the seed until `size` documents are found, 80/10/10 over train,
    dev and test; a smaller size takes less time and gives a part of what a larger one gives. About half a
    minute for all.

    size      number of documents, 200 or more; None = all there are. Fewer exist: all are taken, with a
              warning
    packages  installed distributions to read beside the standard library; None = `PACKAGES`, of which those
              that are not installed are passed over and named in the log and the manifest
    raises    ConfigError on a size below 200; DatasetError when a package asked for is not installed
    """
    started = time.monotonic()
    if size is not None and size < MIN_SIZE:
        raise ConfigError(
            f"`size` must be {MIN_SIZE} or more, so that each split can be measured; found {size}."
        )
    names = PACKAGES if packages is None else packages
    versions, absent = versions_of(names)
    if absent and packages is not None:
        raise DatasetError(f"expected installed packages, found none named {', '.join(absent)}.")
    if absent:
        _log.warning("%s: packages that are not installed are left out: %s", NAME, ", ".join(absent))
    found = _gather(source_files(names), size=size, seed=seed)
    total = sum(map(len, found.kept.values()))
    if size is not None and total < size:
        _log.warning(
            "%s: %d documents asked for, %d exist in these packages; all were taken", NAME, size, total
        )
    manifest = _manifest(found, size=size, seed=seed, versions=versions, absent=absent)
    manifest["minutes"] = round((time.monotonic() - started) / 60, 3)
    _write(Path(out), found, manifest)
    _log.info(
        "%s: %d documents in %.1f s, %s", NAME, total, time.monotonic() - started, manifest["content_sha256"]
    )
    return _opened(Path(out))


def cached(size: int | None = None, seed: int = 0, *, packages: Sequence[str] | None = None) -> Dataset:
    """The harvest from the cache folder (`$LIMBECK_CACHE`, else `~/.cache/limbeck`); made on the first call.

    Kept apart by size, seed, and the versions of Python and of all packages read.
    """
    names = PACKAGES if packages is None else packages
    versions, _ = versions_of(names)
    key = content_hash([[json.dumps([RULES, size, seed, sorted(versions.items())])]])[:16]
    folder = cache_root() / NAME / f"{'all' if size is None else size}-{seed}-{key}"
    if (folder / "manifest.json").is_file():
        return _opened(folder)
    return harvest(folder, size=size, seed=seed, packages=packages)


def _gather(files: list[SourceFile], *, size: int | None, seed: int) -> _Harvested:
    """Read files in the seed's order, drop copies, and fill the splits until the quotas are full."""
    splits = split_of_modules({file.module: file.size for file in files}, seed=seed)
    small = None if size is None else size // 10
    quotas = (
        None if small is None or size is None else {"train": size - 2 * small, "dev": small, "test": small}
    )
    found = _Harvested(quotas)
    names: set[str] = set()
    queries: set[str] = set()
    copies = NearCopies()
    order = sorted(files, key=lambda file: drawn(seed, file.module))
    for file, snippets in parsed_in_order(order):
        for snippet in snippets:
            if snippet.name in names:
                found.left_out["defined twice"] += 1
            elif normalised_query(snippet.query) in queries:
                found.left_out["same query"] += 1
            elif copies.is_copy(snippet.normal, snippet.sketch):
                found.left_out["near-copy"] += 1
            else:
                names.add(snippet.name)
                queries.add(normalised_query(snippet.query))
                found.add(splits[file.module], file.package, snippet)
        if found.is_full:
            break
    if size is not None:
        found.fill_up(size)
    return found


def title_of(name: str) -> str:
    """What one would type: class and method, or module and function; the last two parts of the name."""
    return ".".join(name.split(".")[-2:])


def query_id_of(name: str) -> str:
    """Not the document's id, on purpose: by BEIR's rules, hits whose id equals the query's are dropped."""
    return f"q:{name}"


def _records(found: _Harvested) -> list[tuple[str, str, Snippet]]:
    """(split, package, snippet), sorted by name."""
    every = [(split, package, snippet) for split, kept in found.kept.items() for package, snippet in kept]
    return sorted(every, key=lambda record: record[2].name)


def _manifest(
    found: _Harvested, *, size: int | None, seed: int, versions: Mapping[str, str], absent: Sequence[str]
) -> dict[str, object]:
    records = _records(found)
    return {
        "name": NAME,
        "rules": RULES,
        "size": len(records),
        "size_asked": size,
        "seed": seed,
        "versions": dict(sorted(versions.items())),
        "not_installed": list(absent),
        "documents_by_split": dict(Counter(split for split, _, _ in records)),
        "documents_by_package": dict(sorted(Counter(package for _, package, _ in records).items())),
        "left_out": dict(sorted(found.left_out.items())),
        "content_sha256": content_hash((s.name, s.code, s.query, split) for split, _, s in records),
    }


def _write(out: Path, found: _Harvested, manifest: Mapping[str, object]) -> None:
    records = _records(found)
    with replaced_folder(out) as folder:
        (folder / "qrels").mkdir()
        with (folder / "corpus.jsonl").open("wb") as corpus, (folder / "queries.jsonl").open("wb") as queries:
            for _, package, snippet in records:
                corpus.write(
                    json_line(
                        Document(snippet.name, title_of(snippet.name), snippet.code, {"package": package})
                    )
                )
                query = {"_id": query_id_of(snippet.name), "text": snippet.query}
                queries.write((json.dumps(query, ensure_ascii=False) + "\n").encode())
        for split in SPLITS:
            rows = [f"{query_id_of(s.name)}\t{s.name}\t1\n" for of, _, s in records if of == split]
            text = "query-id\tcorpus-id\tscore\n" + "".join(rows)
            (folder / "qrels" / f"{split}.tsv").write_text(text, encoding="utf-8")
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _opened(folder: Path) -> Dataset:
    dataset = Dataset.open(folder)
    return Dataset(NAME, dataset.corpus, dataset.queries, dataset.qrels)
