"""EmbedDistill's table 1 where the teacher has learnt the labels itself, as the paper's has: MiniLM, tuned first.

    python experiments/tuned_teacher.py                            # what is missing in the result file
    python experiments/tuned_teacher.py --sets tldr --students static

`ladder.py` has MiniLM as it was published for its teacher: whoever learns the labels passes it, and documents that the
student encodes itself pass those that it inherits. Here all six layers learn the labels first, of queries and of
documents (in-batch soft-max, 8,000 queries once, a rate of 5e-5, 128 tokens), and the documents are encoded anew.
Students start from the tuned layers. One seed. Figures are of `report` splits; rates were not searched.
"""

from __future__ import annotations

import hashlib
import shutil
from typing import cast

import ladder
import setting as s

from limbeck.encoders import SentenceEncoder
from limbeck.recipes.embed_distill import EmbedDistill
from limbeck.recipes.students import encoder_of
from limbeck.recipes.transformer_student import LayerQueries
from limbeck.storage.cache import cache_root

NAMES = ("medquad", "tldr")
STUDENTS = ("static", "layers, briefly")
STEPS = (
    "direct",
    "+ distillation",
    "+ inherited documents",
    "+ query matching",
    "+ documents matched too",
    "embedding only",
    "embedding only, documents matched too",
)
TOLD = 8_000  # labelled queries that tune it
LENGTH = 128  # tokens of a text, for the tuned teacher and its students
DIRECT = EmbedDistill(distil=0.0, match=0.0, documents="student")
TUNING = LayerQueries(
    layers=tuple(range(6)), beginnings=0, epochs=1, least_steps=0, layer_rate=5e-5, token_rate=5e-5
)


def tuned(name: str) -> SentenceEncoder:
    """MiniLM that has learnt the labels of a set: made once, kept in the cache."""
    said = f"{TUNING!r} {DIRECT!r} {TOLD} {LENGTH} {name}"
    folder = cache_root() / "experiments" / "tuned" / hashlib.sha256(said.encode()).hexdigest()[:24]
    if not folder.is_dir():
        written = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(written, ignore_errors=True)
        learnt(name).model.save_pretrained(str(written))
        written.rename(folder)
    return SentenceEncoder.open(folder, max_length=LENGTH)


def learnt(name: str) -> SentenceEncoder:
    teacher = SentenceEncoder.open(max_length=LENGTH)
    data = ladder.Bench.open(name).brief(TOLD).data
    return cast("SentenceEncoder", encoder_of(DIRECT.run(data, teacher, student=TUNING), teacher))


def main() -> None:
    given = ladder.arguments(__doc__, NAMES, STUDENTS, STEPS)
    results = s.ResultFile("tuned_teacher")
    for name in () if given.table else given.sets.split(","):
        bench = ladder.Bench.open(name, tuned(name))
        bench.teacher_row(results)
        for student in given.students.split(";"):
            its = bench.brief() if student == "layers, briefly" else bench
            for step in given.steps.split(";"):
                ladder.run(its, results, student, step, 0)
    table = s.RESULTS / "tuned_teacher.md"
    title = "The steps of EmbedDistill's table 1, under a teacher that has learnt the labels"
    text = ladder.report(results, s.sections(table), title=title, told=__doc__ or "")
    table.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
