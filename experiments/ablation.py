"""Recipes, or one and its variants, on one collection: several seeds, results that resume, a verdict for each claim.

A claim "better than worse" is *reproduced* when the mean difference on the reported queries is above 0 with every seed
and the 95 % interval of the difference (mean over the seeds, bootstrap over the queries) lies above 0; *contradicted*
when the same holds the other way round; else *not shown*. The rate of each variant is chosen on dev, with seed 0; a
recipe without rates has nothing to choose.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import setting as s

from limbeck.data.vector_data import VectorData
from limbeck.evaluate import paired_interval
from limbeck.index.flat import Flat
from limbeck.recipes.compress import OPQ
from limbeck.train.system import System
from limbeck.types import Hits

SEEDS = (0, 1, 2)
RATES = (0.03, 0.1)
MEASURES = ("RR@10", "R@100", "overlap@10")


class Recipe(Protocol):
    """A frozen dataclass of constants that starts from OPQ codes, or is OPQ."""

    @property
    def code_bytes(self) -> int: ...
    @property
    def seed(self) -> int: ...
    def run(self, data: VectorData, start: System | None = None) -> System: ...


def with_codeword_rate(recipe: Any, rate: float) -> Any:
    """The recipe with this rate; recipes that have none stay as they are."""
    return replace(recipe, codeword_rate=rate) if hasattr(recipe, "codeword_rate") else recipe


def with_rates_times(recipe: Any, factor: float) -> Any:
    """The recipe with all its rates times a factor."""
    names = [name for name in ("codeword_rate", "base_rate", "query_rate") if hasattr(recipe, name)]
    return replace(recipe, **{name: getattr(recipe, name) * factor for name in names})


@dataclass(frozen=True)
class Bench:
    """A collection with everything that all variants share: exact hits and the teacher's lists."""

    setting: s.Setting
    data: VectorData
    exact: Mapping[str, Hits]

    @classmethod
    def open(cls, name: str, depth: int = 200) -> Bench:
        setting = s.setting(name)
        collection = setting.collection
        documents = np.array(collection.documents)
        data = replace(
            collection.vector_data(train=setting.train, dev=None, with_labels=True),
            documents=documents,
            queries=np.array(collection.splits[setting.train].vectors),
        )
        flat = Flat(documents)
        data = replace(data, top=s.search(flat, data.queries, depth))
        splits = (setting.choose, setting.report)
        return cls(setting, data, {x: s.search(flat, collection.splits[x].vectors) for x in splits})

    def judged(self, system: System, split: str) -> dict[str, list[float]]:
        hits = s.search(system.build(), self.setting.collection.splits[split].vectors)
        return s.judge(self.setting, split, hits, self.exact[split])

    @lru_cache(maxsize=8)  # noqa: B019 - one bench a process
    def started(self, code_bytes: int, seed: int, lists: int | None = None) -> System:
        return OPQ(code_bytes=code_bytes, lists=lists, seed=seed).run(self.data)

    def __hash__(self) -> int:
        return id(self)


def run(bench: Bench, results: s.ResultFile, name: str, recipe: Recipe, split: str) -> dict[str, np.ndarray]:
    """One training and its judgement on a split, unless it is done: values for each query."""
    key = {
        "collection": bench.setting.name,
        "documents": len(bench.data.documents),
        "variant": name,
        "split": split,
        "recipe": asdict(recipe),  # type: ignore[call-overload]
    }
    known = results.values(key)
    if known is not None:
        return known
    start = bench.started(recipe.code_bytes, recipe.seed, getattr(recipe, "lists", None))
    begun = time.perf_counter()
    system = start if isinstance(recipe, OPQ) else recipe.run(bench.data, start)
    seconds = round(time.perf_counter() - begun, 1)
    values = bench.judged(system, split)
    results.keep_values(key, values)
    results.add(key, {"seconds": seconds, "means": s.means(values)})
    print(f"{name:28} seed {recipe.seed} {split:7} {s.means(values)} {seconds} s", flush=True)
    return {name: np.asarray(column) for name, column in values.items()}


def ablate(
    title: str,
    variants: Mapping[str, Recipe],
    claims: Sequence[tuple[str, str]],
    *,
    collection: str = "python-api",
    rates: Sequence[float] = RATES,
    rate_of: Callable[[Any, float], Any] = with_codeword_rate,
) -> None:
    """Choose each variant's rate on dev, run all seeds, report on the reported split, and judge the claims.

    Variants named on the command line are all that is run; those whose runs are there are reported anyway.
    """
    asked = sys.argv[1:] or list(variants)
    unknown = sorted(set(asked) - set(variants))
    if unknown:
        sys.exit(f"no variants {unknown}; there are {list(variants)}")
    begun = time.perf_counter()
    bench, results = Bench.open(collection), s.ResultFile(title)
    values: dict[str, list[dict[str, np.ndarray]]] = {}
    done = {row["key"]["variant"] for row in results.rows if row["key"]["split"] == bench.setting.report}
    for name, recipe in variants.items():
        if name not in asked and name not in done:
            continue
        choices = list(dict.fromkeys(rate_of(recipe, rate) for rate in rates))
        chosen = choices[0]
        if len(choices) > 1:
            tried = [run(bench, results, name, choice, bench.setting.choose) for choice in choices]
            chosen = choices[int(np.argmax([one["RR@10"].mean() for one in tried]))]
        values[name] = [
            run(bench, results, name, replace(chosen, seed=seed), bench.setting.report) for seed in SEEDS
        ]
    lines = summary(title, bench, values, claims)
    lines.append(
        f"\n{(time.perf_counter() - begun) / 60:.1f} minutes (less what was resumed); `python experiments/{title}.py`."
    )
    text = "\n".join(lines)
    (s.RESULTS / f"{title}.md").write_text(text + "\n")
    print(text)


def summary(
    title: str,
    bench: Bench,
    values: Mapping[str, list[dict[str, np.ndarray]]],
    claims: Sequence[tuple[str, str]],
) -> list[str]:
    """A Markdown table of means over seeds and a table of verdicts."""
    queries = len(next(iter(values.values()))[0]["RR@10"])
    lines = [
        f"# {title}",
        "",
        f"{bench.setting.name}, {len(bench.data.documents):,} documents, {queries:,} reported queries, "
        f"seeds {list(SEEDS)}, rates chosen on dev.",
        "",
        "| variant | " + " | ".join(MEASURES) + " |",
        "|---|" + "---:|" * len(MEASURES),
    ]
    for name, seeds in values.items():
        means = [np.mean([np.mean(one[m]) for one in seeds]) for m in MEASURES]
        lines.append(f"| {name} | " + " | ".join(f"{mean:.4f}" for mean in means) + " |")
    lines += ["", "| claim | measure | difference [95 %] | each seed | verdict |", "|---|---|---:|---|---|"]
    for better, worse in claims:
        if better not in values or worse not in values:
            continue
        for measure in ("RR@10", "overlap@10"):
            lines.append(_claim(better, worse, measure, values))
    return lines


def _claim(better: str, worse: str, measure: str, values: Mapping[str, list[dict[str, np.ndarray]]]) -> str:
    one, other = (np.array([seed[measure] for seed in values[name]]) for name in (better, worse))
    found = paired_interval(one.mean(axis=0), other.mean(axis=0))
    each = (one - other).mean(axis=1)
    verdict = "not shown"
    if found.low > 0 and (each > 0).all():
        verdict = "reproduced"
    if found.high < 0 and (each < 0).all():
        verdict = "contradicted"
    seeds = ", ".join(f"{difference:+.4f}" for difference in each)
    return (
        f"| {better} > {worse} | {measure} | {found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}] "
        f"| {seeds} | {verdict} |"
    )
