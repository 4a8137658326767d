"""`limbeck serve` against a bare FastAPI + faiss handler over the same codes, loaded by wrk in turn: ratios travel.

    python benchmarks/serving.py [--seconds 10] [--rounds 3]     # wrk is needed: Debian's package of that name

100,000 Chinese classical texts under MiniLM, 32 bytes a document in lists, vectors given. Bars: with 32 clients at
least 0.8 of the handler's rate, p99 at most 1.5 times its; with 512 clients nothing but 200 and 503; memory grows under
10 MiB over 10,000 requests after a warm-up; 20 reloads under load without a failed request; SIGTERM ends it well.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
import setting as s

from limbeck.index.document_store import FILE, DocumentStore
from limbeck.index.store import current_name, publish
from limbeck.quantisers.faiss_io import faiss_bytes
from limbeck.recipes.compress import OPQ

HERE = Path(__file__).parent
RESULTS = HERE / "results"
COLLECTION, BYTES, LISTS, BODIES = "classical-zh-100k", 32, 316, 500
SCRIPT = """
local bodies = {}
for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end
local number = 0
local counts = {}
wrk.method, wrk.headers["Content-Type"] = "POST", "application/json"
function request()
  number = number % #bodies + 1
  return wrk.format(nil, "/search", nil, bodies[number])
end
function response(status) counts[status] = (counts[status] or 0) + 1; told = counts end
local threads = {}
function setup(thread) threads[#threads + 1] = thread end
function done(summary, latency)
  local all = {}
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("told") or {}) do all[status] = (all[status] or 0) + count end
  end
  io.write(string.format("p50=%.3f p99=%.3f errors=%d", latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
  for status, count in pairs(all) do io.write(string.format(" status%d=%d", status, count)) end
  io.write(string.format(" seconds=%.3f\\n", summary.duration / 1e6))
end
"""


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seconds", type=int, default=10)
    asked.add_argument("--rounds", type=int, default=3)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        probes = prepare(folder)
        row: dict[str, Any] = {"documents": 100_000, "probes": probes, "at": time.strftime("%Y-%m-%d %H:%M")}
        row["rates"] = compare(folder, probes, seconds=given.seconds, rounds=given.rounds)
        row.update(endure(folder, seconds=given.seconds))
    with (RESULTS / "serving.jsonl").open("a") as stream:
        stream.write(json.dumps(row) + "\n")
    print(json.dumps(row, indent=1))


def prepare(folder: Path) -> int:
    """The artefact, the same index for faiss, and bodies with real query vectors. Returns lists visited."""
    setting = s.setting(COLLECTION)
    documents = setting.collection.documents
    vectors = setting.collection.vector_data(train=setting.train, dev=None)
    index = OPQ(code_bytes=BYTES, lists=LISTS).run(vectors).build()

    def write(inside: Path) -> None:
        index.save(inside)
        DocumentStore.write(inside / FILE, iter(setting.collection.dataset.corpus))

    publish(folder / "index", write, {"index": "codes", "metric": "ip", "data": {"name": COLLECTION}})
    (folder / "bare.faiss").write_bytes(faiss_bytes(index.to_faiss()).tobytes())
    (folder / "script.lua").write_text(SCRIPT)
    asked = setting.collection.splits[setting.report].vectors[:BODIES]
    for name, more in {"bare": {}, "ids": {"documents": False}, "texts": {}}.items():
        lines = (json.dumps({"vector": [round(float(x), 6) for x in one], "k": 10, **more}) for one in asked)
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    assert len(documents) >= 100_000
    return max(1, round(index.default_effort * LISTS))


def compare(folder: Path, probes: int, *, seconds: int, rounds: int) -> dict[str, Any]:
    """Rates and times of both servers, in turns, and ratios of the medians."""
    taken: dict[str, list[dict[str, float]]] = {"bare": [], "ids": [], "texts": []}
    with bare(folder, probes) as other, ours(folder) as server:
        for _ in range(rounds):
            for name, port in (("bare", other), ("ids", server.port), ("texts", server.port)):
                load(folder, port, name, clients=32, seconds=2)
                taken[name].append(load(folder, port, name, clients=32, seconds=seconds))
                print(name, taken[name][-1], flush=True)
    found: dict[str, Any] = {
        name: {key: sorted(one[key] for one in lines)[len(lines) // 2] for key in ("rate", "p50", "p99")}
        for name, lines in taken.items()
    }
    for name in ("ids", "texts"):
        found[f"rate, {name} / bare"] = round(found[name]["rate"] / found["bare"]["rate"], 3)
        found[f"p99, {name} / bare"] = round(found[name]["p99"] / found["bare"]["p99"], 3)
    return found


def endure(folder: Path, *, seconds: int) -> dict[str, Any]:
    """Too many clients, memory, reloads under load, and the end."""
    with ours(folder) as server:
        load(folder, server.port, "texts", clients=32, seconds=3)
        before, requests = server.memory(), 0
        while requests < 10_000:
            requests += int(sum(statuses(load(folder, server.port, "texts", clients=32, seconds=5)).values()))
        grown = server.memory() - before
        crowd = load(folder, server.port, "texts", clients=512, seconds=seconds)
        time.sleep(2)  # the crowd has gone, and what it had asked is answered
        reloads = reload_under_load(folder, server, seconds=seconds)
        code = server.stop()
    return {
        "start_s": server.started,
        "memory_mib": round(before, 1),
        "memory_growth_mib": round(grown, 1),
        "requests_meanwhile": requests,
        "clients_512": crowd,
        "reloads": reloads,
        "exit_status": code,
    }


def reload_under_load(folder: Path, server: Served, *, seconds: int) -> dict[str, Any]:
    """20 generations published and picked up while 32 clients ask."""
    environment = {**os.environ, "BODIES": str(folder / "texts.jsonl")}
    command = [
        "wrk",
        "-t1",
        "-c32",
        f"-d{2 * seconds}s",
        "-s",
        str(folder / "script.lua"),
        f"http://127.0.0.1:{server.port}",
    ]
    load_process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    generation = next((folder / "index").glob("gen-*"))
    content = json.loads((generation / "manifest.json").read_text())["content"]
    names = set()
    for _ in range(20):
        source = folder / "index" / current_name(folder / "index")

        def write(inside: Path, source: Path = source) -> None:
            for file in source.iterdir():
                if file.name != "manifest.json":
                    shutil.copy(file, inside / file.name)

        publish(folder / "index", write, content)
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}/reload", data=b"", method="POST")
        with urllib.request.urlopen(request) as answer:
            names.add(json.load(answer)["generation"])
    output, _ = load_process.communicate()
    return {"generations": len(names), **told(output)}


class Served:
    """A running `limbeck serve`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, started: float) -> None:
        self.process, self.port, self.started = process, port, round(started, 2)

    def memory(self) -> float:
        """MiB that the process holds."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]

    def stop(self) -> int:
        """The exit status after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


@contextlib.contextmanager
def ours(folder: Path) -> Iterator[Served]:
    """`limbeck serve` with its defaults."""
    port = free_port()
    command = [sys.executable, "-m", "limbeck.cli", "serve", str(folder / "index"), "--port", str(port)]
    with running(command, {"OMP_NUM_THREADS": "1"}, port) as (process, started):
        yield Served(process, port, started)


@contextlib.contextmanager
def bare(folder: Path, probes: int) -> Iterator[int]:
    """The handler in `bare_server.py`, under the same uvicorn."""
    port = free_port()
    more = {"BARE_INDEX": str(folder / "bare.faiss"), "BARE_PROBES": str(probes), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "bare_server:app",
        "--port",
        str(port),
        "--no-access-log",
        "--app-dir",
        str(HERE),
    ]
    with running(command, more, port):
        yield port


@contextlib.contextmanager
def running(
    command: list[str], more: dict[str, str], port: int
) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """A server, once it says that it is ready, and the seconds that this took."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, **more}, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        while time.perf_counter() - begun < 60:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz"):
                break
            time.sleep(0.02)
        yield process, time.perf_counter() - begun
    finally:
        process.kill()
        process.wait()


def load(folder: Path, port: int, bodies: str, *, clients: int, seconds: int) -> dict[str, float]:
    """What wrk measured: requests a second, milliseconds, and answers by status."""
    environment = {**os.environ, "BODIES": str(folder / f"{bodies}.jsonl")}
    command = [
        "wrk",
        "-t1",
        f"-c{clients}",
        f"-d{seconds}s",
        "--timeout",
        "10s",
        "-s",
        str(folder / "script.lua"),
    ]
    output = subprocess.run(
        [*command, f"http://127.0.0.1:{port}"], env=environment, capture_output=True, text=True, check=True
    ).stdout
    return told(output)


def told(output: str) -> dict[str, float]:
    """The figures in the script's last line."""
    found = {name: float(value) for name, value in re.findall(r"(\w+)=([\d.]+)", output)}
    found["rate"] = round(sum(statuses(found).values()) / found["seconds"], 1)
    return found


def statuses(found: dict[str, float]) -> dict[str, float]:
    """Answers by status."""
    return {name: count for name, count in found.items() if name.startswith("status")}


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


if __name__ == "__main__":
    main()
