"""Cross-encoders on tldr: how well they re-rank MiniLM's hits, and what dual encoders learn from them.

    python experiments/cross_encoder.py             # what is missing in the result file
    python experiments/cross_encoder.py --teachers  # the cross-encoders alone

Cross-encoders start as MiniLM and see 2,500 labelled training queries once, 64 tokens a pair, on one thread. They
re-rank MiniLM's top 20 of 500 queries drawn from the `report` split; the share of MiniLM's own score that may be
added is chosen on 200 queries of `choose`. Students start as MiniLM, learn from the judged candidates of 1,500
training queries (a relevant document and 5 rivals, scores with that share), and search all documents under MiniLM's
own vectors for all queries of `report`. One seed each: intervals are over queries. Other constants were not
searched: one short run, judged on 150 queries of `choose`, came before, and made pairs shorter and the rate higher.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import setting as s

from limbeck.data.labels import Labels
from limbeck.data.text_data import TextData
from limbeck.encoders import SentenceEncoder
from limbeck.encoders.pair import PairEncoder
from limbeck.encoders.reranking import in_order
from limbeck.evaluate import Interval, paired_interval, score_hits
from limbeck.evaluate.irreducible import irreducible
from limbeck.index.flat import Flat
from limbeck.recipes.cross_encoder import CrossEncoder, pairs_of
from limbeck.recipes.from_cross_encoder import FromCrossEncoder
from limbeck.recipes.pair_lists import JudgedPairs, RankedRivals
from limbeck.recipes.students import encoder_of
from limbeck.storage.cache import cache_root
from limbeck.types import Hits

SAME: dict[str, Any] = {
    "max_length": 64,
    "negatives": 3,
    "depth": 20,
    "layer_rate": 1e-4,
    "most_queries": 2500,
}
CLS, DUAL, PLAIN = "[CLS]", "dual mean", "dual mean, no reconstruction"
TEACHERS: Mapping[str, CrossEncoder] = {
    CLS: CrossEncoder(pooling="cls", reconstruction=0.0, **SAME),
    DUAL: CrossEncoder(pooling="dual-mean", **SAME),
    PLAIN: CrossEncoder(pooling="dual-mean", reconstruction=0.0, **SAME),
}
ALONE = "scores of [CLS], without MiniLM's"
STUDENTS: Mapping[str, tuple[str, FromCrossEncoder]] = {
    ALONE: (CLS, FromCrossEncoder(objective="scores", epochs=2)),
    "scores of [CLS]": (CLS, FromCrossEncoder(objective="scores", epochs=2)),
    "and joint matching": (CLS, FromCrossEncoder(objective="joint", epochs=2)),
    "scores of dual mean": (DUAL, FromCrossEncoder(objective="scores", epochs=2)),
    "and query matching": (DUAL, FromCrossEncoder(objective="query", epochs=2)),
}
FIRST = 20  # of MiniLM's hits are re-ranked
ASKED = 500  # queries, drawn with seed 0
CHOSEN = 200  # of the split `choose`, on which the share of MiniLM's score is chosen
SHARES = (0.0, 3.0, 10.0, 30.0, 100.0)
JUDGED, CANDIDATES = 1500, 6  # training queries that students learn from, drawn with seed 1


def main() -> None:
    import torch

    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--teachers", action="store_true", help="train and judge the cross-encoders alone")
    given = asked.parse_args()
    torch.set_num_threads(1)
    results = s.ResultFile("cross_encoder")
    setting = s.setting("tldr")
    encoder = SentenceEncoder.open(precision="float32")
    for name in TEACHERS:
        pairs = trained(name, setting, encoder)
        rerank(results, name, pairs, setting)
        if not given.teachers:
            for student, (teacher, recipe) in STUDENTS.items():
                if teacher == name:
                    learn(results, student, recipe, setting, encoder, pairs)
        write(results)


def trained(name: str, setting: s.Setting, encoder: SentenceEncoder) -> PairEncoder:
    """The cross-encoder of this name, from the cache or trained now."""
    folder = _folder("teachers", repr(TEACHERS[name]))
    if (folder / "encoder.json").exists():
        return PairEncoder.open(folder)
    begun = time.process_time()
    system = TEACHERS[name].run(
        texts(setting), encoder, folder=_folder("checkpoints", repr(TEACHERS[name])), progress=False
    )
    print(name, f"trained in {time.process_time() - begun:.0f} s of a core", flush=True)
    pairs_of(system).save(folder)
    return PairEncoder.open(folder)


def rerank(results: s.ResultFile, name: str, pairs: PairEncoder, setting: s.Setting) -> None:
    """RR@10 before and after, and with as much of MiniLM's score as did best on `choose`."""
    key = _rerank_key(name)
    if results.values(key) is not None:
        return
    begun = time.process_time()
    chosen = _scored(pairs, setting, setting.choose, CHOSEN)
    asked = _scored(pairs, setting, setting.report, ASKED)
    seconds = time.process_time() - begun
    share = max(SHARES, key=lambda share: float(np.mean(chosen.mixed(share))))
    values = {"before": asked.mixed(None), "after": asked.mixed(0.0), "mixed": asked.mixed(share)}
    results.keep_values(key, values)
    pairs_read = chosen.hits.ids.size + asked.hits.ids.size
    more = {"name": name, "share": share, "milliseconds a pair": round(1e3 * seconds / pairs_read, 2)}
    row = results.add(key, {"means": s.means(values), **more})
    print(name, row["means"], more, flush=True)


@dataclass(frozen=True)
class Scored:
    """Hits of drawn queries, and the cross-encoder's scores of them."""

    hits: Hits
    scores: np.ndarray
    labels: Labels

    def mixed(self, share: float | None) -> list[float]:
        """RR@10 of each query with this share of the first stage's scores; None = those alone."""
        scores = self.hits.scores if share is None else self.scores + np.float32(share) * self.hits.scores
        found = score_hits(in_order(self.hits, scores), self.labels, ("RR@10",)).of("RR@10")
        values: list[float] = found.round(6).tolist()
        return values


def _scored(pairs: PairEncoder, setting: s.Setting, split: str, count: int) -> Scored:
    whole = setting.collection.splits[split]
    rows = np.sort(np.random.default_rng(0).permutation(len(whole.queries))[:count])
    hits = s.search(Flat(setting.collection.documents), np.array(whole.vectors[rows]), FIRST)
    asked = [whole.queries.texts[row] for row in np.repeat(rows, FIRST)]
    texts = setting.collection.dataset.corpus.texts_of(hits.ids.ravel())
    return Scored(hits, pairs.score(asked, texts).reshape(hits.ids.shape), whole.labels.take(rows))


def learn(
    results: s.ResultFile,
    name: str,
    recipe: FromCrossEncoder,
    setting: s.Setting,
    encoder: SentenceEncoder,
    pairs: PairEncoder,
) -> None:
    """A student's measures over all documents, and what its teacher's vectors allow."""
    key = _student_key(results, name)
    if results.values(key) is not None:
        return
    data = texts(setting)
    judged = judgements(pairs, data).with_first_stage(data, share=key.get("share", 0.0))
    told: dict[str, Any] = {}
    begun = time.process_time()
    system = recipe.run(
        data, encoder, judged, progress=False, on_history=lambda h: told.update(h.epochs[-1].terms)
    )
    seconds = time.process_time() - begun
    report = setting.collection.splits[setting.report]
    exact = Flat(setting.collection.documents)
    before = s.search(exact, np.array(report.vectors))
    found = s.search(exact, encoder_of(system, encoder).encode(report.queries.texts, side="query").flat)
    values = s.judge(setting, setting.report, found, before)
    values["MiniLM"] = s.judge(setting, setting.report, before, before)["RR@10"]
    results.keep_values(key, values)
    more = {
        "name": name,
        "terms": {term: round(value, 4) for term, value in told.items()},
        "F_Q": round(irreducible(judged.query), 4),
        "seconds of a core": round(seconds),
    }
    row = results.add(key, {"means": s.means(values), **more})
    print(name, row["means"], more, flush=True)


def judgements(pairs: PairEncoder, data: TextData) -> JudgedPairs:
    """Of the students' training queries, from the cache or judged now."""
    folder = _folder("judged", f"{pairs.digest} {JUDGED} {CANDIDATES}")
    if not folder.exists():
        ranked = RankedRivals.of(data, depth=CANDIDATES, most=JUDGED, seed=1)
        JudgedPairs.by(pairs, data, ranked, candidates=CANDIDATES).save(folder)
    return JudgedPairs.open(folder)


def texts(setting: s.Setting) -> TextData:
    """The train split with its labels, and the documents."""
    train = setting.collection.splits[setting.train]
    return TextData(
        queries=train.queries.texts,
        vectors=np.array(train.vectors),
        corpus=setting.collection.dataset.corpus,
        documents=np.array(setting.collection.documents),
        labels=train.labels,
    )


def write(results: s.ResultFile) -> None:
    """The page beside the result file."""
    lines = ["# Cross-encoders, and dual encoders taught by them: tldr", ""]
    lines += [(__doc__ or "").split("\n\n")[-1].strip(), ""]
    text = "\n".join([*lines, *_reranked(results), *_taught(results)]) + "\n"
    (s.RESULTS / "cross_encoder.md").write_text(text)
    print(text, flush=True)


def _reranked(results: s.ResultFile) -> list[str]:
    lines = [f"## Re-ranking MiniLM's top {FIRST}", ""]
    lines += ["| cross-encoder | MiniLM | re-ranked | [95 %] | with MiniLM's score | | ms a pair |"]
    lines += ["|---|---:|---:|---|---:|---|---:|"]
    after: dict[str, np.ndarray] = {}
    for name in TEACHERS:
        key = _rerank_key(name)
        row, values = results.find(key), results.values(key)
        if row is None or values is None:
            continue
        after[name] = values["after"]
        means, before = row["means"], values["before"]
        told = [f"{name} | {means['before']:.4f}"]
        for now in ("after", "mixed"):
            gain = paired_interval(values[now], before)
            told.append(f"{means[now]:.4f} | {_shown(gain)}: {_verdict(gain)}")
        lines.append("| " + " | ".join([*told, str(row["milliseconds a pair"])]) + " |")
    lines.append("")
    for left, right in ((DUAL, CLS), (PLAIN, CLS), (DUAL, PLAIN)):
        if left in after and right in after:
            gain = paired_interval(after[left], after[right])
            lines.append(f"- {left} against {right}: {_shown(gain)}: {_verdict(gain)}")
    return [*lines, ""]


def _taught(results: s.ResultFile) -> list[str]:
    lines = ["## Students", "", "| student | RR@10 | R@100 | against MiniLM [95 %] | last epoch | F_Q |"]
    lines += ["|---|---:|---:|---|---|---:|"]
    found: dict[str, np.ndarray] = {}
    for name in STUDENTS:
        key = _student_key(results, name)
        row, values = results.find(key), results.values(key)
        if row is None or values is None:
            continue
        found[name] = values["RR@10"]
        gain = paired_interval(values["RR@10"], values["MiniLM"])
        told = ", ".join(f"{term} {value:.3f}" for term, value in row["terms"].items())
        means = row["means"]
        lines.append(
            f"| {name} | {means['RR@10']:.4f} | {means['R@100']:.4f} | {_shown(gain)} | {told} | {row['F_Q']:.3f} |"
        )
    lines.append("")
    names = list(STUDENTS)
    for with_matching, without in ((names[2], names[1]), (names[4], names[3])):
        if with_matching in found and without in found:
            gain = paired_interval(found[with_matching], found[without])
            lines.append(f"- {without} {with_matching}: {_shown(gain)}: {_verdict(gain)}")
    return [
        *lines,
        "",
        "F_Q is the least that query matching can reach; joint matching sees the document.",
    ]


def _shown(gain: Interval) -> str:
    return f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"


def _verdict(gain: Interval) -> str:
    if gain.low > 0:
        return "better"
    return "worse" if gain.high < 0 else "no difference shown"


def _rerank_key(name: str) -> dict[str, Any]:
    sizes = {"first": FIRST, "asked": ASKED, "chosen": CHOSEN, "shares": list(SHARES)}
    return {"part": "re-rank", **sizes, "teacher": repr(TEACHERS[name])}


def _student_key(results: s.ResultFile, name: str) -> dict[str, Any]:
    teacher, recipe = STUDENTS[name]
    own = {"teacher": repr(TEACHERS[teacher]), "judged": [JUDGED, CANDIDATES], "recipe": repr(recipe)}
    reranked = results.find(_rerank_key(teacher))
    share = {} if name == ALONE or reranked is None else {"share": reranked["share"]}
    return {"part": "student", **own, **share}


def _folder(kind: str, settings: str) -> Path:
    digest = hashlib.sha256(settings.encode()).hexdigest()[:24]
    return cache_root() / "experiments" / "cross_encoder" / kind / digest


if __name__ == "__main__":
    main()
