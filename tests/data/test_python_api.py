import json
import logging
import re
import select
import subprocess
import sys
import time
from collections import Counter
from importlib import metadata
from pathlib import Path

import pytest

from limbeck.data import Dataset, python_api, source_pool
from limbeck.data.module_splits import SPLITS, split_of_modules
from limbeck.data.python_source import normalised_query
from limbeck.data.source_files import SourceFile, source_files, versions_of
from limbeck.data.source_pool import parsed_in_order
from limbeck.errors import ConfigError, DatasetError

ROOT = Path(__file__).parents[2]
PACKAGES = ("rich", "typer")  # small and always installed


@pytest.fixture(scope="module")
def harvested(tmp_path_factory):
    out = tmp_path_factory.mktemp("harvest") / "set"
    return out, python_api.harvest(out, size=600, packages=PACKAGES)


def test_a_parser_answers_each_file_at_once_though_output_is_buffered():
    command = [sys.executable, "-c", "from limbeck.data.python_source import main; main()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdin.write(json.dumps(["this", __file__]) + "\n")
        process.stdin.flush()
        answered, _, _ = select.select([process.stdout], [], [], 60)
        process.kill()
    assert answered


def test_a_harvest_that_is_stopped_does_not_wait_for_a_parser_that_says_nothing(monkeypatch):
    monkeypatch.setattr(source_pool, "_WORKER", "import time; time.sleep(600)")
    with source_pool._workers(1) as (processes, pool):
        asked = pool.submit(source_pool._ask, processes[0], SourceFile("tests", "this", Path(__file__), 1))
        while not asked.running():
            time.sleep(0.01)
    assert asked.done()


def test_every_package_is_pinned():
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {line.split("==")[0].lower() for line in constraints.splitlines() if "==" in line}
    assert {name.lower() for name in python_api.PACKAGES} <= pinned
    assert list(python_api.PACKAGES) == sorted(python_api.PACKAGES, key=str.lower)


def test_the_three_splits_share_the_documents(harvested):
    _, data = harvested
    assert len(data.corpus) == len(data.queries) == 600
    assert {split: len(data.qrels[split]) for split in data.splits} == {"train": 480, "dev": 60, "test": 60}


def test_every_document_has_one_query_and_no_id_is_shared(harvested):
    _, data = harvested
    pairs = [
        (query, document)
        for split in data.splits
        for query, found in data.qrels[split].as_dict().items()
        for document in found
    ]
    assert len(pairs) == len({query for query, _ in pairs}) == len({document for _, document in pairs}) == 600
    assert {document for _, document in pairs} == set(data.corpus.ids)
    assert not set(data.queries.ids) & set(data.corpus.ids)  # BEIR drops hits whose id equals the query's


def test_queries_are_sentences_that_their_documents_do_not_contain(harvested):
    _, data = harvested
    for identifier, text in data.queries:
        document = data.corpus[data.corpus.ids.row_of(identifier.removeprefix("q:"))]
        assert 4 <= len(text.split()) <= 32
        assert normalised_query(text) not in normalised_query(document.text)
        assert len(document.text) <= 4_000
        assert document.id.endswith(document.title)


def test_nothing_stands_twice(harvested):
    _, data = harvested
    assert max(Counter(normalised_query(text) for _, text in data.queries).values()) == 1
    assert max(Counter(document.text for document in data.corpus).values()) == 1


def test_no_module_stands_in_two_splits(harvested):
    _, data = harvested
    files = source_files(PACKAGES)
    modules = {file.module for file in files}
    of_module = {}
    for split in data.splits:
        for query in data.qrels[split].query_ids:
            name = query.removeprefix("q:")
            while name not in modules:
                name = name.rpartition(".")[0]
            assert of_module.setdefault(name, split) == split
    assert len(of_module) > 20


def test_the_manifest_says_what_was_read(harvested):
    out, _ = harvested
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["size"] == 600
    assert manifest["versions"]["rich"] == metadata.version("rich")
    assert manifest["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert sum(manifest["documents_by_package"].values()) == 600
    assert re.fullmatch(r"[0-9a-f]{64}", manifest["content_sha256"])
    assert manifest["minutes"] > 0


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(harvested, tmp_path):
    out, data = harvested
    again = python_api.harvest(tmp_path / "again", size=600, packages=PACKAGES)
    assert again.fingerprint == data.fingerprint
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
    other = python_api.harvest(tmp_path / "other", size=600, seed=1, packages=PACKAGES)
    assert other.fingerprint != data.fingerprint


def test_a_smaller_size_is_a_part_of_a_larger_one(harvested, tmp_path):
    _, data = harvested
    small = python_api.harvest(tmp_path / "small", size=200, packages=PACKAGES)
    assert len(small.corpus) == 200
    for split in small.splits:
        assert set(small.qrels[split].query_ids) <= set(data.qrels[split].query_ids)


def test_a_harvest_needs_no_guarded_main_module(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from limbeck.data import python_api\n"
        f"print(len(python_api.harvest({str(tmp_path / 'out')!r}, size=200, packages=('typer',)).corpus))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "200\n"


def test_the_second_call_reads_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path))
    first = python_api.cached(200, packages=PACKAGES)
    monkeypatch.setattr(python_api, "harvest", None)
    second = python_api.cached(200, packages=PACKAGES)
    assert second.fingerprint == first.fingerprint
    assert second.name == "python-api"
    assert len(list((tmp_path / "python-api").iterdir())) == 1


def tiny_sources(tmp_path, count):
    files = []
    for n in range(count):
        path = tmp_path / f"m{n}.py"
        body = "".join(f"    x{i} = {i} * {n}\n" for i in range(3))
        path.write_text(
            f'def f{n}(a):\n    """Do thing {"abcdefghij"[n // 10]}{"klmnopqrst"[n % 10]} for me now."""\n{body}'
        )
        files.append(SourceFile("tiny", f"tiny.m{n}", path, path.stat().st_size))
    return files


def test_all_are_taken_with_a_warning_where_fewer_exist(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(python_api, "source_files", lambda _: tiny_sources(tmp_path, 40))
    data = python_api.harvest(tmp_path / "out", size=200, packages=())
    assert len(data.corpus) == 40
    assert "200 documents asked for, 40 exist in these packages; all were taken" in caplog.text
    assert all(len(data.qrels[split]) for split in SPLITS)


def test_where_one_split_runs_out_the_others_fill_the_size(tmp_path, monkeypatch):
    monkeypatch.setattr(python_api, "source_files", lambda _: tiny_sources(tmp_path, 100))
    monkeypatch.setattr(python_api, "MIN_SIZE", 10)
    monkeypatch.setattr(
        python_api,
        "split_of_modules",
        lambda sizes, seed: {name: "dev" if "9" in name else "train" for name in sizes},
    )
    data = python_api.harvest(tmp_path / "out", size=100, packages=())
    assert {split: len(data.qrels[split]) for split in data.splits} == {"train": 81, "dev": 19, "test": 0}


def test_names_that_cannot_be_harvested_are_refused(tmp_path, monkeypatch, caplog):
    with pytest.raises(ConfigError, match=r"`size` must be 200 or more.* found 199"):
        python_api.harvest(tmp_path / "out", size=199)
    with pytest.raises(DatasetError, match="found none named no-such-package"):
        python_api.harvest(tmp_path / "out", packages=("no-such-package",))
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(python_api, "source_files", lambda _: tiny_sources(tmp_path, 40))
    monkeypatch.setattr(python_api, "PACKAGES", ("no-such-package",))
    caplog.set_level(logging.INFO)
    python_api.harvest(tmp_path / "out")
    assert "packages that are not installed are left out: no-such-package" in caplog.text
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["not_installed"] == [
        "no-such-package"
    ]


def test_sources_leave_out_tests_and_vendored_copies():
    files = source_files(("rich", "no-such-package"))
    modules = [file.module for file in files]
    assert modules == sorted(set(modules))
    assert {"argparse", "asyncio.base_events", "rich", "rich.table", "json"} <= set(modules)
    assert not [
        module for module in modules if re.search(r"(^|\.)(test|tests|idlelib|_vendor)(\.|$)", module)
    ]
    assert versions_of(("rich", "no-such-package"))[1] == ["no-such-package"]


def test_groups_share_the_bytes_and_large_packages_are_divided():
    sizes = {f"small{n}.m": 10 for n in range(100)}
    sizes |= {f"large.part{n}.m{m}": 10 for n in range(50) for m in range(4)}
    splits = split_of_modules(sizes, seed=0)
    share = Counter()
    for module, split in splits.items():
        share[split] += sizes[module] / sum(sizes.values())
    assert share == pytest.approx(SPLITS, abs=0.03)
    assert len({splits[f"large.part{n}.m0"] for n in range(50)}) == 3
    for n in range(50):
        assert len({splits[f"large.part{n}.m{m}"] for m in range(4)}) <= 3
    assert split_of_modules(sizes, seed=1) != splits


def test_a_worker_that_dies_is_an_error_not_a_hang(tmp_path):
    files = [SourceFile("gone", "gone", tmp_path / "gone.py", 0)]
    with pytest.raises(DatasetError, match=r"gone.py: the process that parsed it ended with code 1"):
        list(parsed_in_order(files))


@pytest.mark.long
def test_the_full_harvest_holds_over_20000_documents(tmp_path):
    data = python_api.harvest(tmp_path / "all")
    assert len(data.corpus) > 20_000
    assert isinstance(data, Dataset)
    for split, share in SPLITS.items():
        assert len(data.qrels[split]) / len(data.corpus) == pytest.approx(share, abs=0.03)
