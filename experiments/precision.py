"""Encoding in bfloat16 against float32: does RR@10 of exact search change? On tldr, documents and queries alike.

About 3 minutes on 2 cores with bf16, less what is in the cache.    python experiments/precision.py
"""

from __future__ import annotations

import setting as s

from limbeck.evaluate import equivalence, overlap, paired_interval
from limbeck.index.flat import Flat


def main() -> None:
    values, hits = {}, {}
    for precision in ("float32", "bfloat16"):
        setting = s.setting("tldr", precision=precision)
        report = setting.collection.splits[setting.report]
        hits[precision] = s.search(Flat(setting.collection.documents), report.vectors)
        values[precision] = s.judge(setting, setting.report, hits[precision], hits["float32"])
    half, whole = values["bfloat16"], values["float32"]
    difference = paired_interval(half["RR@10"], whole["RR@10"])
    same = equivalence(half["RR@10"], whole["RR@10"])
    lines = [
        "# bfloat16 against float32",
        "",
        f"tldr, {len(setting.collection.documents):,} documents, {len(half['RR@10']):,} queries, exact search.",
        "",
        "| precision | RR@10 | R@100 | overlap@10 with float32 |",
        "|---|---:|---:|---:|",
        *(
            f"| {name} | " + " | ".join(f"{m:.4f}" for m in s.means(one).values()) + " |"
            for name, one in values.items()
        ),
        "",
        f"RR@10, bfloat16 less float32: {difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]; "
        f"within half a point at 95 %: {'yes' if same.is_equivalent else 'not shown'}. "
        f"Top 10 in common: {overlap(hits['bfloat16'], hits['float32'], k=10).mean():.4f}.",
        "`python experiments/precision.py`",
    ]
    (s.RESULTS / "precision.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
