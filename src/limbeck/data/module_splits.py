"""Whole packages and modules into train, dev and test."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping

SPLITS = {"train": 0.8, "dev": 0.1, "test": 0.1}
_GROUP_SHARE = 0.01  # a package or sub-package above this share of all source bytes is divided further


def drawn(seed: int, name: str) -> bytes:
    """A place in a random order that depends on seed and name alone, whatever else is installed."""
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()


def split_of_modules(sizes: Mapping[str, int], *, seed: int) -> dict[str, str]:
    """The split of each module: whole groups of modules, shared out 80/10/10 by bytes, in an order by seed.

    A group is a package; one that holds over 1 % of all bytes is divided into its sub-packages and modules,
    and so on.
    """
    limit = _GROUP_SHARE * sum(sizes.values())
    groups = sorted(
        _groups(sorted(sizes), sizes, depth=1, limit=limit), key=lambda group: drawn(seed, group[0])
    )
    filled = dict.fromkeys(SPLITS, 0)
    splits: dict[str, str] = {}
    for modules in groups:
        split = min(SPLITS, key=lambda name: (filled[name] / SPLITS[name], name != "train"))
        filled[split] += sum(sizes[module] for module in modules)
        splits.update(dict.fromkeys(modules, split))
    return splits


def _groups(modules: list[str], sizes: Mapping[str, int], *, depth: int, limit: float) -> Iterator[list[str]]:
    by_head: dict[str, list[str]] = defaultdict(list)
    for module in modules:
        by_head[".".join(module.split(".")[:depth])].append(module)
    for group in by_head.values():
        divisible = len(group) > 1 and any(module.count(".") >= depth for module in group)
        if divisible and sum(sizes[module] for module in group) > limit:
            yield from _groups(group, sizes, depth=depth + 1, limit=limit)
        else:
            yield group
