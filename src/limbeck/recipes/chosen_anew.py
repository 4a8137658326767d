"""What the recipes share that choose codes anew in each step: composing their parts, and fitting them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from limbeck.assignments import Assigned, View, typical_distance
from limbeck.data.vector_data import VectorData
from limbeck.documents import CodeBank
from limbeck.losses.terms import reconstruction
from limbeck.negatives import InBatch
from limbeck.recipes.compress import code_index
from limbeck.recipes.labelled import (
    Constants,
    begun,
    fitted,
    query_side,
    relative_rates,
    static_negatives,
    temperature_of,
    training_material,
)
from limbeck.train.history import History
from limbeck.train.system import System
from limbeck.types import Floats, Term

BOTH: tuple[View, ...] = ("decoded", "exact")
MINED_DEPTH = 200  # RepCONC and Distill-VQ draw hard negatives from the top 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a recipe of the family decides for itself."""

    documents: Assigned
    objective: Mapping[str, tuple[float, Term]]
    rates: Mapping[str, float]  # relative, by parameter group
    hard_negatives: int = 0  # for each query, from the top 200 of the index at the start


class ChosenAnew(Constants, Protocol):
    """A recipe of the family."""

    @property
    def learn_query_map(self) -> bool: ...
    @property
    def query_rate(self) -> float: ...
    def parts(self, start: CodeBank, data: VectorData, *, temperature: float, scale: float) -> Parts:
        """The recipe's own parts; `scale` is the mean squared distance of a sub-vector to its codeword."""
        ...


def composed(
    recipe: ChosenAnew, data: VectorData, start: System | None = None, *, lists: int | None = None
) -> tuple[System, Floats]:
    """The system of a recipe, ready to be fitted, and its training queries."""
    start = begun(recipe, data, start, lists=lists)
    assert isinstance(start.documents, CodeBank)
    queries, labels = training_material(recipe, data)
    temperature = temperature_of(recipe, data, queries)
    scale = typical_distance(start.documents.learned(), data.documents, seed=recipe.seed)
    parts = recipe.parts(start.documents, data, temperature=temperature, scale=scale)
    source = static_negatives(
        start, queries, labels, count=parts.hard_negatives, top=MINED_DEPTH, seed=recipe.seed
    )
    system = replace(
        start,
        query=query_side(start, learn_map=recipe.learn_query_map),
        documents=parts.documents,
        negatives=InBatch(source),
        objective=parts.objective,
        index=code_index,
    )
    rates = relative_rates(system, parts.rates, query_rate=recipe.query_rate)
    return replace(system, train=rates), queries


def trained(
    recipe: ChosenAnew,
    data: VectorData,
    start: System | None,
    *,
    lists: int | None = None,
    folder: Path | None,
    on_history: Callable[[History], None] | None,
    progress: bool,
) -> System:
    """The fitted system of a recipe."""
    system, queries = composed(recipe, data, start, lists=lists)
    return fitted(recipe, data, system, queries, folder=folder, on_history=on_history, progress=progress)


def relative_error(
    start: CodeBank, scale: float, *, view: str = "decoded", pooled: Literal["mean", "sum"] = "mean"
) -> Term:
    """The reconstruction error in units of the start's, so that scaling the vectors changes nothing."""
    whole = scale * start.quantiser.sub_vectors
    error = reconstruction(view=view, pooled=pooled)
    return lambda step: error(step) / whole
