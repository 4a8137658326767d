"""The curves of a training run, epoch by epoch, and which epoch was kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What one pass over the queries did."""

    number: int
    seconds: float
    terms: Mapping[str, float]  # mean of each term of the objective over the epoch
    dev: float | None = None  # higher = better


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The curves of a run, and which epoch was kept."""

    epochs: list[Epoch] = field(default_factory=list)
    before: float | None = None  # the dev figure before training
    best: int | None = None  # 0 = before training

    def as_json(self) -> dict[str, object]:
        """Plain values for a manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> History:
        """The inverse of `as_json`."""
        return cls(**{**values, "epochs": [Epoch(**epoch) for epoch in values["epochs"]]})

    def with_epoch(self, epoch: Epoch) -> History:
        """One epoch more, logged; the best is the one with the highest dev figure, the last without figures."""
        curve = ", ".join(f"{name} {value:.4f}" for name, value in epoch.terms.items())
        dev = "" if epoch.dev is None else f", dev {epoch.dev:.4f}"
        log.info("epoch %d: %s%s, %.1f s", epoch.number, curve, dev, epoch.seconds)
        epochs = [*self.epochs, epoch]
        if epoch.dev is None or self.before is None:
            return History(epochs=epochs, before=self.before, best=epoch.number)
        figures = [self.before, *(e.dev if e.dev is not None else -np.inf for e in epochs)]
        return History(epochs=epochs, before=self.before, best=int(np.argmax(figures)))
