"""Distill-VQ against OPQ with the same codes: three collections, 16 and 32 bytes, RR@10 and overlap@10; twelve cells.

Constants were chosen on `choose` splits; figures are of the `report` splits. Paired permutation test, 10,000 draws,
Holm over the twelve cells.

About 10 minutes on 2 cores, less the encoding; resumes.    python experiments/distill_vq_bars.py
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace

import setting as s

from limbeck.evaluate import holm, paired_interval, permutation_test
from limbeck.index.flat import Flat
from limbeck.recipes.compress import OPQ
from limbeck.recipes.distill_vq import DistillVQ
from limbeck.train.history import History

SIZES = (16, 32)
TESTED = ("RR@10", "overlap@10")


def cell(setting: s.Setting, size: int, results: s.ResultFile) -> dict:
    """OPQ and Distill-VQ at one size on one collection."""
    recipe = DistillVQ(code_bytes=size)
    collection = setting.collection
    key = {
        "collection": setting.name,
        "code_bytes": size,
        "documents": len(collection.documents),
        "recipe": asdict(recipe),
    }
    found = results.find(key)
    if found is not None:
        return found
    data = collection.vector_data(train=setting.train, dev=setting.choose)
    report = collection.splits[setting.report]
    exact = s.search(Flat(data.documents), report.vectors)
    begun = time.perf_counter()
    opq = OPQ(code_bytes=size).run(data)
    opq_seconds = time.perf_counter() - begun
    histories: list[History] = []
    begun = time.perf_counter()
    distilled = recipe.run(replace(data, labels=None), opq, on_history=histories.append)
    seconds = time.perf_counter() - begun
    judged = {
        name: s.judge(setting, setting.report, hits, exact)
        for name, hits in {
            "exact": exact,
            "OPQ": s.search(opq.build(), report.vectors),
            "Distill-VQ": s.search(distilled.build(), report.vectors),
        }.items()
    }
    tests = {}
    for measure in TESTED:
        pair = judged["Distill-VQ"][measure], judged["OPQ"][measure]
        difference = paired_interval(*pair)
        tests[measure] = {
            "p": permutation_test(*pair),
            "difference": [difference.mean, difference.low, difference.high],
        }
    values = {
        "queries": len(judged["OPQ"]["RR@10"]),
        "training_queries": len(data.queries),
        "means": {name: s.means(one) for name, one in judged.items()},
        "tests": tests,
        "opq_seconds": round(opq_seconds, 1),
        "distill_seconds": round(seconds, 1),
        "epoch_kept": histories[0].best,
        "data_fingerprint": collection.dataset.fingerprint,
    }
    return results.add(key, values)


def main() -> None:
    results = s.ResultFile("distill_vq_bars")
    rows = [cell(setting, size, results) for setting in map(s.setting, s.NAMES) for size in SIZES]
    adjusted = iter(holm([row["tests"][m]["p"] for row in rows for m in TESTED]))
    lines = [
        "# Distill-VQ against OPQ, byte-identical codes",
        "",
        "RR@10 / R@100 / overlap@10 with exact search; p by paired permutation, Holm over all twelve.",
        "",
        "| collection | bytes | exact | OPQ | Distill-VQ | RR@10 gain [95 %], p | overlap gain [95 %], p "
        "| seconds: OPQ, training |",
        "|---|---:|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            " / ".join(f"{v:.4f}" for v in row["means"][name].values())
            for name in ("exact", "OPQ", "Distill-VQ")
        ]
        gains = []
        for measure in TESTED:
            mean, low, high = row["tests"][measure]["difference"]
            gains.append(f"{mean:+.4f} [{low:+.4f}, {high:+.4f}], {next(adjusted):.4f}")
        key = row["key"]
        times = f"{row['opq_seconds']}, {row['distill_seconds']}"
        lines.append(
            f"| {key['collection']}, {key['documents']:,} | {key['code_bytes']} | {' | '.join(cells)} "
            f"| {' | '.join(gains)} | {times} |"
        )
    lines += [
        "",
        "Data fingerprints: "
        + ", ".join(
            f"{name} `{next(r for r in rows if r['key']['collection'] == name)['data_fingerprint'][:16]}`"
            for name in s.NAMES
        )
        + ". `python experiments/distill_vq_bars.py`.",
    ]
    (s.RESULTS / "distill_vq_bars.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
