"""Lists chosen by learned routing vectors against lists chosen by their centroids: the same lists, the same codes.

Overlap@10 with exact search on the reported queries when 4 to 64 of 256 lists are visited; 48 bytes of code choose and
192 decide, four candidates for each hit. The claim is *reproduced* where the 95 % interval of the paired difference
lies above 0.

About four minutes on 2 cores, less the encoding.    python experiments/routing.py
"""

from __future__ import annotations

import numpy as np
import setting as s

from limbeck.evaluate import overlap, paired_interval
from limbeck.index.flat import Flat
from limbeck.recipes.routed import LimbeckLists
from limbeck.types import Reps

LISTS = 256
PROBES = (4, 8, 12, 16, 24, 32, 64)
NAMES = ("python-api", "medquad")


def main() -> None:
    lines = [
        "# Learned routing",
        "",
        f"{LISTS} lists, codes of 48 bytes that choose and 192 that decide; overlap@10 with exact search.",
        "",
        "| collection | lists visited | centroids | routing | difference [95 %] | verdict |",
        "|---|---:|---:|---:|---|---|",
    ]
    for name in NAMES:
        setting = s.setting(name)
        data = setting.collection.vector_data(train=setting.train, dev=None)
        queries = np.array(setting.collection.splits[setting.report].vectors)
        exact = s.search(Flat(data.documents), queries, 10)
        plain, routed = (
            LimbeckLists(code_bytes=240, lists=LISTS, learn_routing=learnt).run(data).build()
            for learnt in (False, True)
        )
        for probes in PROBES:
            kept = [
                overlap(index.search(Reps.single(queries), 10, effort=probes / LISTS), exact, k=10)
                for index in (plain, routed)
            ]
            found = paired_interval(kept[1], kept[0])
            verdict = "reproduced" if found.low > 0 else "contradicted" if found.high < 0 else "not shown"
            lines.append(
                f"| {name}, {len(data.documents):,} | {probes} | {kept[0].mean():.4f} | {kept[1].mean():.4f} "
                f"| {found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}] | {verdict} |"
            )
            print(lines[-1], flush=True)
    (s.RESULTS / "routing.md").write_text("\n".join([*lines, "", "`python experiments/routing.py`."]) + "\n")


if __name__ == "__main__":
    main()
