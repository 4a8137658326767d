"""The one training loop. Deterministic on a CPU: a run that was stopped and resumed ends in the same numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from limbeck.errors import ConfigError, DataError
from limbeck.train.checkpoint import Checkpoint, State
from limbeck.train.history import Epoch, History
from limbeck.train.system import System, TrainingQueries, training_step
from limbeck.types import Batch, Hits, Rows, Step

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

MOST_PASSES = 20  # over few queries, however few they are


class Paced(Protocol):
    """A recipe that says how long it trains."""

    @property
    def epochs(self) -> int: ...
    @property
    def least_steps(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def patience(self) -> int: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long and how fast: linear warm-up to the learning rates of the system, then linear decay to 0."""

    epochs: int = 4
    batch_size: int = 128
    warm_up: float = 0.05  # share of all steps
    patience: int = 2  # epochs without a better dev figure before stopping
    clip: float | None = None  # largest norm of all gradients together
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.patience < 1:
            raise ConfigError(
                "`epochs`, `batch_size` and `patience` must be 1 or more; "
                f"found {self.epochs}, {self.batch_size} and {self.patience}."
            )
        if not 0 <= self.warm_up < 1:
            raise ConfigError(f"`warm_up` is a share of all steps, in [0, 1); found {self.warm_up}.")

    @classmethod
    def for_steps(
        cls, queries: int, *, epochs: int, least_steps: int, batch_size: int, **more: Any
    ) -> Schedule:
        """So many epochs over the queries, or as many more as `least_steps` takes, MOST_PASSES at the most."""
        an_epoch = -(-queries // batch_size)
        enough = min(-(-least_steps // max(1, an_epoch)), MOST_PASSES)
        return cls(epochs=max(epochs, enough), batch_size=batch_size, **more)

    @classmethod
    def of(cls, recipe: Paced, *, queries: int, clip: float | None = None) -> Schedule:
        """What the constants of a recipe say, for so many queries."""
        return cls.for_steps(
            queries,
            epochs=recipe.epochs,
            least_steps=recipe.least_steps,
            batch_size=recipe.batch_size,
            patience=recipe.patience,
            seed=recipe.seed,
            clip=clip,
        )

    def rate(self, step: int, steps: int) -> float:
        """The share of the learning rate that holds in `step` of `steps`."""
        warm = self.warm_up * steps
        return min((step + 1) / (warm + 1), (steps - step) / max(1.0, steps - warm))

    def batches(self, queries: int, epoch: int) -> Iterator[Rows]:
        """Rows of each batch of an epoch, in an order that only seed and epoch decide; the last may be short."""
        order = np.random.default_rng((self.seed, epoch)).permutation(queries)
        for start in range(0, queries, self.batch_size):
            yield order[start : start + self.batch_size]


def fit(
    system: System,
    queries: TrainingQueries,
    schedule: Schedule,
    *,
    dev: Callable[[System], float] | None = None,
    step: Callable[[System, Batch], Step] = training_step,
    folder: Path | None = None,
    progress: bool = True,
) -> History:
    """Train the named parameter groups of a system in place, and keep the epoch that did best on dev.

    dev     gives a figure, higher = better, after each epoch and once before; None keeps the last epoch
    folder  where checkpoints go, after each epoch and at least once a minute; a run that finds one there continues it
    raises  ConfigError for a learning rate that names no parameter; DataError when the loss is not finite
    cost    one call of `step` and its gradient for each batch
    """
    if len(queries) == 0:
        raise DataError("there are no training queries; expected at least one.")
    optimizer = _optimizer(system)
    an_epoch = -(-len(queries) // schedule.batch_size)
    checkpoint = Checkpoint(system, optimizer, settings={**asdict(schedule), "queries": len(queries)})
    state = checkpoint.resume(folder) if folder else None
    if state is None:
        checkpoint.keep_as_best()
        state = State(0, {}, History(before=dev(system) if dev else None, best=0 if dev else None))
    done, sums, history = state.step, dict(state.sums), state.history
    with _bar(schedule.epochs * an_epoch, done, shown=progress) as bar:
        for epoch in range(done // an_epoch, schedule.epochs):
            if _has_stopped(history, schedule.patience):
                break
            started = time.perf_counter()
            for rows in list(schedule.batches(len(queries), epoch))[done - epoch * an_epoch :]:
                _set_rate(optimizer, schedule.rate(done, schedule.epochs * an_epoch))
                found = _one_step(system, queries.batch(rows), optimizer, step, done, schedule.clip)
                sums = {name: sums.get(name, 0.0) + value for name, value in found.items()}
                done += 1
                bar.update()
                if folder and done % an_epoch and checkpoint.is_due():
                    checkpoint.save(folder, State(done, sums, history))
            means = {name: value / an_epoch for name, value in sums.items()}
            seconds = time.perf_counter() - started
            figure = dev(system) if dev else None
            history = history.with_epoch(Epoch(number=epoch + 1, seconds=seconds, terms=means, dev=figure))
            sums = {}
            if history.best == epoch + 1:
                checkpoint.keep_as_best()
            if folder:
                checkpoint.save(folder, State(done, sums, history))
    checkpoint.restore_best()
    return history


def _one_step(
    system: System,
    batch: Batch,
    optimizer: Optimizer,
    step: Callable[[System, Batch], Step],
    number: int,
    clip: float | None,
) -> dict[str, float]:
    """One update; gives the mean of each term."""
    import torch

    if system.negatives is not None:
        system.negatives.refresh(_no_search, number)
    computed = step(system, batch)
    total: Tensor | None = None
    means: dict[str, float] = {}
    for name, (weight, term) in system.objective.items():
        with torch.set_grad_enabled(weight != 0):
            mean = term(computed).mean()
        means[name] = float(mean.detach())
        if weight != 0:
            total = weight * mean if total is None else total + weight * mean
    if total is None or not all(np.isfinite(value) for value in means.values()):
        raise DataError(
            f"step {number}: the loss is not finite or empty: {means}.\n\n"
            "Hint: lower the learning rates, or check the vectors with `limbeck doctor`."
        )
    optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    if clip is not None:
        torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], clip)
    optimizer.step()
    return means


def _optimizer(system: System) -> Optimizer:
    """Adam over the groups that `system.train` names; the others stay frozen."""
    import torch

    groups = system.groups()
    unknown = sorted(set(system.train) - set(groups))
    if unknown:
        raise ConfigError(
            f"`train` names parameter groups that do not exist: {unknown}; there are {sorted(groups)}."
        )
    for name, parameters in groups.items():
        for parameter in parameters:
            parameter.requires_grad_(name in system.train)
    return torch.optim.Adam(
        [
            {"params": groups[name], "lr": rate, "full_lr": rate, "name": name}
            for name, rate in system.train.items()
        ],
        fused=True,  # a third of the time
        eps=1e-12,  # gradients shrink as vectors grow: 1e-8 would break the invariance under scaling
    )


def _set_rate(optimizer: Optimizer, share: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["full_lr"] * share


def _has_stopped(history: History, patience: int) -> bool:
    return (
        history.before is not None
        and history.best is not None
        and len(history.epochs) - history.best >= patience
    )


def _no_search(texts: Sequence[str], k: int) -> Hits:
    raise ConfigError(
        "these negatives are mined with the current system, which this training loop cannot search."
    )


def _bar(steps: int, done: int, *, shown: bool) -> Any:
    from tqdm import tqdm

    return tqdm(
        total=steps, initial=done, desc="train", unit="step", delay=2, disable=None if shown else True
    )
