"""A linear map of the query, learnt from labels over the documents' own vectors: what labels are good for here.

Codewords that learn from labels fit the training queries and lose on others; a map of the query carries over.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from limbeck import scores
from limbeck.documents import Bank
from limbeck.encoders.given import GivenQueries
from limbeck.errors import ConfigError
from limbeck.losses.distil import listnet
from limbeck.losses.rank import nce
from limbeck.losses.temperature import draw_temperature
from limbeck.losses.terms import distil, rank
from limbeck.negatives import InBatch, Positives, Together, TopK
from limbeck.teachers import DenseTeacher
from limbeck.train.fit import Schedule, fit
from limbeck.train.system import System, TrainingQueries
from limbeck.train.unlabelled import teacher_lists
from limbeck.types import Floats

if TYPE_CHECKING:
    from limbeck.data.vector_data import VectorData

DEPTH = 200  # of the teacher's list, of which a step draws:
SAMPLE = 16
SHARPER = 0.5  # labels decide at the very top, so their soft-max is this much sharper than the teacher's
RATE = (
    0.006  # Adam's step beside the identity is this over sqrt(d): how far a query moves, whatever its width
)
EPOCHS, LEAST_STEPS, BATCH = 3, 300, 128


def query_map_from_labels(
    data: VectorData, *, seed: int = 0, folder: Path | None = None, progress: bool = True
) -> Floats:
    """The map [d, d], for q @ map.T: labelled documents first, without leaving the teacher's ranking far behind.

    Two soft-maxes over the batch's candidates, added up: one has the labels as its target, one the teacher's scores.

    cost    B·C·d multiply-adds a step of B=128 queries and C about 2,200 candidates; d² numbers are learnt
    raises  ConfigError where there are no labels
    """
    if data.labels is None:
        raise ConfigError(
            "`learn_query_map` needs `data.labels`; found None.\n\n"
            "Hint: give a data set with labels for its training queries, or leave `learn_query_map` off."
        )
    queries = np.ascontiguousarray(data.queries, dtype=np.float32)
    ranked = teacher_lists(data, queries, DEPTH)
    temperature = draw_temperature(ranked.scores)
    query = GivenQueries(queries.shape[1], rotation=None, learn_map=True)
    drawn = TopK(ranked.ids, sample=min(SAMPLE, ranked.ids.shape[1]), seed=seed)
    system = System(
        query=query,
        documents=Bank(data.documents),
        score=scores.for_metric(data.metric),
        negatives=InBatch(Together(drawn, Positives(data.labels))),
        teacher=DenseTeacher(data.documents, metric=data.metric),
        objective={
            "docs": (1.0, distil(listnet, temperature=temperature)),
            "labels": (1.0, rank(nce, temperature=SHARPER * temperature)),
        },
        train={"query": RATE / queries.shape[1] ** 0.5},
    )
    schedule = Schedule.for_steps(
        len(queries), epochs=EPOCHS, least_steps=LEAST_STEPS, batch_size=BATCH, patience=EPOCHS, seed=seed
    )
    fit(system, TrainingQueries(vectors=queries), schedule, dev=None, folder=folder, progress=progress)
    learned = query.query_map()
    assert learned is not None
    return learned
