"""Encoding with fewer bits against float32: does RR@10 of exact search change?

    python experiments/precision.py

On tldr, documents and queries in bfloat16. On all sets, queries by MiniLM exported with 8-bit weights, documents as
they are. About 3 minutes on 2 cores with bf16, less what is in the cache.
"""

from __future__ import annotations

import numpy as np
import setting as s
from ladder import as_served

from limbeck.encoders import SentenceEncoder
from limbeck.evaluate import equivalence, paired_interval
from limbeck.index.flat import Flat


def main() -> None:
    lines = ["# Fewer bits against float32", "", (__doc__ or "").split("\n\n")[-1].strip(), ""]
    lines += [
        "| set | what | RR@10 | R@100 | overlap@10 with it | difference in RR@10 [95 %] | within half a point |"
    ]
    lines += ["|---|---|---:|---:|---:|---:|---|"]
    lines += _compared("tldr", "bfloat16", *_bfloat16())
    for name in s.NAMES:
        lines += _compared(name, "8-bit queries", *_eight_bits(name))
    (s.RESULTS / "precision.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def _bfloat16() -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    values, hits = {}, {}
    for precision in ("float32", "bfloat16"):
        setting = s.setting("tldr", precision=precision)
        report = setting.collection.splits[setting.report]
        hits[precision] = s.search(Flat(setting.collection.documents), report.vectors)
        values[precision] = s.judge(setting, setting.report, hits[precision], hits["float32"])
    return values["float32"], values["bfloat16"]


def _eight_bits(name: str) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    setting = s.setting(name)
    report = setting.collection.splits[setting.report]
    teacher = SentenceEncoder.open(max_length=s.MAX_LENGTH.get(name), precision="float32")
    queries = list(report.queries.texts)
    index = Flat(setting.collection.documents)
    exact = s.search(index, teacher.encode_query(queries))
    found = s.search(index, as_served(teacher, queries, sample_texts=queries[:200]))
    return tuple(s.judge(setting, setting.report, hits, exact) for hits in (exact, found))  # type: ignore[return-value]


def _compared(name: str, what: str, whole: dict[str, list[float]], half: dict[str, list[float]]) -> list[str]:
    """A line for float32, and one for what has fewer bits."""
    off, same = paired_interval(half["RR@10"], whole["RR@10"]), equivalence(half["RR@10"], whole["RR@10"])
    first, second = (" | ".join(f"{np.mean(one[m]):.4f}" for m in whole) for one in (whole, half))
    told = f"{off.mean:+.4f} [{off.low:+.4f}, {off.high:+.4f}]"
    return [
        f"| {name} | float32 | {first} | | |",
        f"| {name} | {what} | {second} | {told} | {'yes' if same.is_equivalent else 'not shown'} |",
    ]


if __name__ == "__main__":
    main()
