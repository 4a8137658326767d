"""Opens artefacts that nobody vouches for, and asks them all that a server may be asked. Run as a script.

opener.py FOLDER    for each line KIND SEED of standard input: a copy of FOLDER/KIND, mutated by the seed, its hashes
                    made right; a JSON line of what came of it
"""

import gc
import json
import random
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from limbeck.errors import LimbeckError
from limbeck.index.explain import explained
from limbeck.index.filters import Between, OneOf, allowed_by, metadata_fields
from limbeck.index.kept import FOLDER, KeptVectors
from limbeck.retrieve import Searcher
from limbeck.storage.lock import LOCK
from limbeck.testing import clustered
from limbeck.types import Reps

sys.path.insert(0, str(Path(__file__).parent))
from mutations import drawn, hostile, mended  # beside this file

QUERIES, K = 16, 10
ADDRESS_SPACE = 4 * 2**30  # bytes beyond what the process has at its start


def contents(folder):
    """Name to bytes of CURRENT and of all files of the generation."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != LOCK]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def use(folder):
    """Open, and search in every way. Gives how many answers there were; raises AssertionError on impossible ones."""
    searcher = Searcher.open(folder, threads=1)
    size, index = len(searcher), searcher.index
    metric = "l2" if searcher.manifest.content.get("metric") == "l2" else "ip"
    beside = searcher.documents.path.parent / FOLDER
    kept = KeptVectors.open(beside, metric=metric, rows=size, dim=index.dim)
    vectors = clustered(QUERIES, index.dim, seed=9)
    texts = [f"word{number} word{2 * number} other" for number in range(QUERIES)]
    where = {"kind": OneOf(["a", "b"]), "size": Between(least=20)}
    allowed = allowed_by(searcher.documents, where, size=size)
    found = [
        index.search(Reps.single(vectors), K),
        index.search(Reps.single(vectors), K, effort=1.0),
        index.search(Reps.single(vectors[:1]), K, allowed=allowed),
        index.search(Reps.single(vectors), K, allowed=allowed),
        searcher.search(texts, K, mode="lexical"),
        searcher.search(texts, K, mode="hybrid", allowed=allowed),
        searcher.search([*texts, ""], K),
        kept.search(Reps.single(vectors), K, allowed=allowed),
    ]
    found.append(kept.refined(vectors[0], found[2], milliseconds=50))
    for hits in found:
        check(hits, size)
    searcher.answers_of(found[0])
    metadata_fields(searcher.documents)
    searcher.documents.rows_of(["d1", "none"])
    list(searcher.documents.all())
    rows = found[1].ids[0][found[1].ids[0] >= 0]
    try:
        whys = explained(index, vectors[0], rows)
    except LimbeckError as error:
        if "cannot explain" not in str(error):
            raise
        whys = []
    assert all(np.isfinite([why.score, why.rest, *why.parts]).all() for why in whys), whys
    return sum(int((hits.ids >= 0).sum()) for hits in found)


def check(hits, size):
    there = hits.ids >= 0
    assert ((hits.ids >= -1) & (hits.ids < size)).all(), f"ids {hits.ids.min()}..{hits.ids.max()} of {size}"
    assert np.isfinite(hits.scores[there]).all(), f"scores {hits.scores[there]}"
    assert (hits.scores[~there] == -np.inf).all(), f"padding {hits.scores[~there]}"


def answer(folder, original, kind, seed):
    """What comes of one mutation; the folder is afterwards as it was."""
    rng = random.Random(f"{kind} {seed}")
    name = drawn(original, rng)
    mutation, data = hostile(name, original[name], rng)
    changed = mended(original, name, data)
    for file, held in changed.items():
        put(folder / file, held)
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
    begun = time.perf_counter()
    try:
        outcome, said = "answered", str(use(folder))
    except LimbeckError as error:
        outcome, said = "refused", f"{type(error).__name__}: {error}"
    except Exception as error:
        outcome, said = "failed", f"{type(error).__name__}: {error} at {place(error)}"
    seconds = time.perf_counter() - begun
    peak = memory("VmHWM")
    gc.collect()
    for file in changed:
        put(folder / file, original[file])
    return {
        "kind": kind,
        "seed": seed,
        "file": name.partition("/")[2] or name,
        "mutation": mutation,
        "outcome": outcome,
        "said": said[:400],
        "seconds": round(seconds, 4),
        "peak": peak,
    }


def put(path, data):
    """In place of the file, which may still be mapped."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(data)
    new.replace(path)


def place(error):
    frames = []
    trace = error.__traceback__
    while trace is not None:
        frames.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " < ".join(reversed(frames[-4:]))


def memory(field):
    """Bytes, from /proc."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def main(artefacts):
    folder = Path(tempfile.mkdtemp(prefix="mutated-"))
    originals = {}
    try:
        for artefact in sorted(artefacts.iterdir()):
            shutil.copytree(artefact, folder / artefact.name)
            originals[artefact.name] = contents(artefact)
            use(folder / artefact.name)  # so that all libraries are loaded before the memory is measured
        limit = memory("VmSize") + ADDRESS_SPACE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        say({"ready": True, "base": memory("VmRSS")})
        for line in sys.stdin:
            kind, seed = line.split()
            say(answer(folder / kind, originals[kind], kind, int(seed)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def say(record):
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
