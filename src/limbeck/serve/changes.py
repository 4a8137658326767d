"""Applies what the journal holds, in a process of its own, so that searches go on at their speed meanwhile."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.5  # that a change waits for others: a generation holds them all
RETRY_SECONDS = 10.0


class Applier:
    """Runs `python -m limbeck.jobs.changes INDEX` after each wake-up. One at a time; killed with the server.

    The journal is the truth: a run that fails or is killed is tried again, and the server picks the generation up.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="changes", daemon=True)
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Apply what an earlier server left, and then whatever comes."""
        self._woken.set()
        self._thread.start()

    def wake(self) -> None:
        """There is something in the journal."""
        self._woken.set()

    def stop(self) -> None:
        """End a run in progress; its changes stay in the journal."""
        self._stopping.set()
        self._woken.set()
        process = self._process
        if process is not None:
            process.terminate()
        self._thread.join(timeout=5)

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._woken.wait()
            if self._stopping.wait(GATHER_SECONDS):
                return
            self._woken.clear()
            if not self._run() and not self._stopping.wait(RETRY_SECONDS):
                self._woken.set()

    def _run(self) -> bool:
        command = [sys.executable, "-m", "limbeck.jobs.changes", str(self.folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        output, errors = self._process.communicate()
        if self._process.returncode == 0:
            for line in output.splitlines():
                log.info("%s", line)
            return True
        if not self._stopping.is_set():
            last = errors.strip().splitlines()[-1:] or ["no message"]
            log.error("changes were not applied, and are kept for the next try: %s", last[0])
        return False
