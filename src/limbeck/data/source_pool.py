"""Python files parsed by one process a core, handed back in the order asked for.

Plain processes that speak JSON over pipes rather than `multiprocessing`: with that, a script would have to
guard its main part before it may harvest, and forking a process that runs threads is not safe.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tqdm import tqdm

from limbeck.data.python_source import Snippet
from limbeck.data.source_files import SourceFile
from limbeck.errors import DatasetError

_WORKER = "import sys; sys.path.append({root!r}); from limbeck.data.python_source import main; main()"


def parsed_in_order(files: list[SourceFile]) -> Iterator[tuple[SourceFile, list[Snippet]]]:
    """Each file with its snippets, in order; parsed ahead by one process a core."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    local = threading.local()
    with _workers(min(count, 16)) as (idle, pool):

        def parsed(file: SourceFile) -> list[Snippet]:
            if not hasattr(local, "process"):
                local.process = idle.pop()
            return _ask(local.process, file)

        ahead: deque[tuple[SourceFile, Future[list[Snippet]]]] = deque()
        remaining = iter(files)
        with tqdm(total=len(files), desc="python files", unit=" files", delay=2, leave=False) as progress:
            while True:
                while len(ahead) < 8 * count and (file := next(remaining, None)) is not None:
                    ahead.append((file, pool.submit(parsed, file)))
                if not ahead:
                    return
                file, future = ahead.popleft()
                yield file, future.result()
                progress.update()


@contextmanager
def _workers(count: int) -> Iterator[tuple[list[subprocess.Popen[str]], ThreadPoolExecutor]]:
    """Processes that parse, and as many threads to talk to them; both are gone afterwards."""
    program = _WORKER.format(root=str(Path(__file__).parents[2]))
    command = [sys.executable, "-c", program]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")
        for _ in range(count)
    ]
    pool = ThreadPoolExecutor(count)
    try:
        yield list(processes), pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()  # before the threads end: one may wait for its answer
        pool.shutdown()
        for process in processes:
            with process:
                pass


def _ask(process: subprocess.Popen[str], file: SourceFile) -> list[Snippet]:
    requests, answers = _pipes(process)
    requests.write(json.dumps([file.module, str(file.path)]) + "\n")
    requests.flush()
    answer = answers.readline()
    if not answer:
        raise DatasetError(f"{file.path}: the process that parsed it ended with code {process.wait()}.")
    return [Snippet(**record) for record in json.loads(answer)]


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    if process.stdin is None or process.stdout is None:
        raise AssertionError("workers are started with pipes")
    return process.stdin, process.stdout
