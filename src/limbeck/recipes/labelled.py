"""What the recipes that learn from relevant documents share: start, relevance, rates and fitting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from limbeck.data.labels import Labels
from limbeck.data.vector_data import VectorData
from limbeck.documents import CodeBank
from limbeck.encoders.given import GivenQueries
from limbeck.errors import ConfigError
from limbeck.losses.temperature import draw_temperature
from limbeck.negatives import Positives, Together, TopK
from limbeck.recipes.compress import OPQ, code_index
from limbeck.train.fit import Paced, Schedule, fit
from limbeck.train.history import History
from limbeck.train.system import System, TrainingQueries
from limbeck.train.unlabelled import dev_figure, teacher_lists, training_queries
from limbeck.types import Floats, Reps, Rows

TEMPERATURE_QUERIES = 1024  # whose top lists the temperature is drawn from
TEMPERATURE_DEPTH = 200


class Constants(Paced, Protocol):
    """What every recipe of this family can be told."""

    @property
    def code_bytes(self) -> int: ...
    @property
    def bits(self) -> Literal[4, 8]: ...
    @property
    def positives(self) -> Literal["auto", "labels", "teacher"]: ...
    @property
    def temperature(self) -> float | None: ...
    @property
    def made_queries(self) -> float: ...


def begun(recipe: Constants, data: VectorData, start: System | None, *, lists: int | None = None) -> System:
    """The quantised system to start from: the given one, or OPQ."""
    if start is not None:
        return start
    return OPQ(code_bytes=recipe.code_bytes, bits=recipe.bits, lists=lists, seed=recipe.seed).run(data)


def training_material(recipe: Constants, data: VectorData) -> tuple[Floats, Labels]:
    """The training queries, and the relevant documents of each."""
    queries = training_queries(data, made=recipe.made_queries, seed=recipe.seed)
    return queries, relevant_documents(recipe, data, queries)


def relevant_documents(recipe: Constants, data: VectorData, queries: Floats) -> Labels:
    """Labels where a query has any, else the teacher's first document; or the one or the other alone.

    raises  ConfigError where labels alone are asked for and there are none
    """
    if recipe.positives == "labels":
        if data.labels is None:
            raise ConfigError(
                "`positives='labels'` needs `data.labels`; found None.\n\n"
                "Hint: give labels, or leave `positives` at 'auto': the teacher's first document is relevant then."
            )
        return data.labels
    if recipe.positives == "teacher" or data.labels is None:
        return _one_each(_first(data, queries))
    labelled = np.zeros(len(queries), dtype=bool)
    known = np.flatnonzero(data.labels.gains > 0)
    counts = np.diff(data.labels.indptr)
    labelled[np.repeat(np.arange(len(counts)), counts)[known]] = True
    return data.labels if labelled.all() else _filled(data.labels, labelled, _first(data, queries))


def temperature_of(recipe: Constants, data: VectorData, queries: Floats) -> float:
    """The recipe's, or one drawn from the teacher's top lists of some training queries."""
    if recipe.temperature is not None:
        return recipe.temperature
    if data.top is not None and data.top.ids.shape[1] >= TEMPERATURE_DEPTH:
        return draw_temperature(data.top.scores[:, :TEMPERATURE_DEPTH])
    rows = np.sort(np.random.default_rng(recipe.seed).permutation(len(queries))[:TEMPERATURE_QUERIES])
    alone = VectorData(documents=data.documents, queries=queries[rows], metric=data.metric)
    return draw_temperature(teacher_lists(alone, alone.queries, TEMPERATURE_DEPTH).scores)


def query_side(start: System, *, learn_map: bool) -> GivenQueries:
    """Queries in the space of the start's codes, with a fresh map where one is learned."""
    assert isinstance(start.documents, CodeBank)
    quantiser = start.documents.quantiser
    return GivenQueries(quantiser.dim, rotation=quantiser.rotation, learn_map=learn_map)


def static_negatives(
    start: System, queries: Floats, labels: Labels, *, count: int, top: int, seed: int
) -> Together | Positives:
    """Relevant documents, and `count` drawn from the `top` of the index that training starts from.

    cost  Q·N·M look-ups, once; Q·top rows
    """
    relevant = Positives(labels)
    if count == 0:
        return relevant
    index = code_index(start)
    ranked = index.search(Reps.single(queries), min(top, len(index)), effort=1.0).ids
    return Together(relevant, TopK(ranked, sample=min(count, ranked.shape[1]), seed=seed))


def relative_rates(
    system: System, relative: Mapping[str, float], *, query_rate: float
) -> Mapping[str, float]:
    """Adam moves each number by about its rate: relative to the parameters' size, scaling changes nothing.

    The query map starts at zero beside the identity, so its rate is relative as it is. Groups without a rate, or with
    rate 0, are frozen.
    """
    rates = {
        name: relative.get(name, 0.0) * float(parameters[0].detach().square().mean().sqrt())
        for name, parameters in system.documents.groups().items()
    }
    if "query" in system.query.groups():
        rates["query"] = query_rate
    return {name: rate for name, rate in rates.items() if rate > 0}


def fitted(
    recipe: Constants,
    data: VectorData,
    system: System,
    queries: Floats,
    *,
    folder: Path | None,
    on_history: Callable[[History], None] | None,
    progress: bool,
) -> System:
    """The system, trained in place. With labels the last epoch is kept: they do not ask for overlap with exact search.

    Without, the epoch is chosen by overlap on the dev queries, as in Distill-VQ.
    """
    if not system.train:
        return system
    schedule = Schedule.of(recipe, queries=len(queries))
    by_teacher = recipe.positives == "teacher" or data.labels is None
    history = fit(
        system,
        TrainingQueries(vectors=queries),
        schedule,
        dev=dev_figure(data) if by_teacher else None,
        folder=folder,
        progress=progress,
    )
    if on_history is not None:
        on_history(history)
    return system


def _first(data: VectorData, queries: Floats) -> Rows:
    """The teacher's first document of each query [Q]."""
    first: Rows = teacher_lists(data, queries, 1).ids[:, 0]
    return first


def _one_each(documents: Rows) -> Labels:
    return Labels(np.arange(len(documents) + 1), documents, np.ones(len(documents), dtype=np.float32))


def _filled(labels: Labels, labelled: np.ndarray, first: Rows) -> Labels:
    """The labels of the queries that have some, and one document for each of the others."""
    parts = [labels.of(row) if has else (first[row : row + 1], _ONE) for row, has in enumerate(labelled)]
    counts = [len(documents) for documents, _ in parts]
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Labels(indptr, np.concatenate([d for d, _ in parts]), np.concatenate([g for _, g in parts]))


_ONE = np.ones(1, dtype=np.float32)
