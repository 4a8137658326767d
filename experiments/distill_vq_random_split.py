"""Distill-VQ against OPQ on python-api with queries split at random, not by package: how much near-copies flatter.

About 4 minutes on 2 cores, less the encoding; resumes.    python experiments/distill_vq_random_split.py
"""

from __future__ import annotations

import setting as s
from distill_vq_bars import SIZES, TESTED, cell


def main() -> None:
    results = s.ResultFile("distill_vq_random_split")
    setting = s.setting("python-api-random")
    lines = [
        "# Distill-VQ against OPQ where queries are split at random",
        "",
        "| bytes | exact RR@10 | OPQ | Distill-VQ | gain [95 %] | overlap@10: OPQ | Distill-VQ | gain [95 %] |",
        "|---:|---:|---:|---:|---|---:|---:|---|",
    ]
    for size in SIZES:
        row = cell(setting, size, results)
        cells = [f"{size}", f"{row['means']['exact']['RR@10']:.4f}"]
        for measure in TESTED:
            mean, low, high = row["tests"][measure]["difference"]
            before = row["means"]["OPQ"][measure]
            after = row["means"]["Distill-VQ"][measure]
            gain = f"{mean:+.4f} [{low:+.4f}, {high:+.4f}], {mean / before:+.0%}"
            cells += [f"{before:.4f}", f"{after:.4f}", gain]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        f"{len(setting.collection.documents):,} documents, {row['training_queries']:,} training queries, "
        f"{row['queries']:,} test queries. `python experiments/distill_vq_random_split.py`.",
    ]
    (s.RESULTS / "distill_vq_random_split.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
