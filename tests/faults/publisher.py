"""Publishes generation after generation, for tests that end this process in the middle. Run as a script.

loop FOLDER    publish numbers one after another for ever; print each number once it is acknowledged
points FOLDER  fork a child for each I/O primitive of one publish and let it end there; print a JSON line for each
"""

import json
import os
import shutil
import sys
from pathlib import Path

from limbeck.index import store
from limbeck.storage import durable

SIZES = {"index.faiss": 700_000, "quantiser.safetensors": 90_000, "query_encoder/model.onnx": 300_000}


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def payload(folder, number):
    """Three files whose every byte tells the number."""
    (folder / "query_encoder").mkdir()
    for name, size in SIZES.items():
        durable.write_file(folder / name, bytes([number % 251]) * size)
    (folder / "documents.sqlite").write_bytes(
        bytes([number % 251]) * 5000
    )  # as by a library that writes by itself


def publish(folder, number):
    return store.publish(folder, lambda temporary: payload(temporary, number), {"number": number})


def loop(folder):
    number = store.open_current(folder)[1].content["number"] if (folder / store.CURRENT).exists() else 0
    say(f"ready {number}")
    while True:
        number += 1
        publish(folder, number)
        say(f"done {number}")


def points(folder):
    publish(folder, 0)
    publish(folder, 1)  # from here on each publish also removes the generation before the last
    before = durable.calls()
    publish(folder, 2)
    total = durable.calls() - before
    for point in range(1, total + 1):
        case = folder.with_name(f"point-{point}")
        shutil.copytree(folder, case)
        child = os.fork()
        if child == 0:
            os.environ["LIMBECK_FAULT_AT"] = str(durable.calls() + point)
            publish(case, 3)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        say(json.dumps({"point": point, "total": total, "status": status, "folder": str(case)}))


if __name__ == "__main__":
    {"loop": loop, "points": points}[sys.argv[1]](Path(sys.argv[2]))
