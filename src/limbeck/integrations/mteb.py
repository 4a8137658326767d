"""An encoder of MTEB whose retrieval runs over compressed documents, as a search model of MTEB.

    model = LimbeckSearch(mteb.get_model("sentence-transformers/all-MiniLM-L6-v2"), recipe=Limbeck(code_bytes=32))
    results = mteb.evaluate(model, mteb.get_tasks(["SciFact"]))

MTEB's own wrapper encodes queries and documents, so prompts and instructions are the encoder's. `index` compresses the
documents; no label and no query of the task is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.data.vector_data import VectorData
from limbeck.errors import ConfigError
from limbeck.integrations.answering import host
from limbeck.types import Floats, Metric, Reps

with host("mteb", "mteb"):
    from mteb.models import ModelMeta, SearchEncoderWrapper

if TYPE_CHECKING:
    from limbeck.index.opening import SavedIndex
    from limbeck.jobs.make import Recipe

METRICS: Mapping[str, Metric] = {"cosine": "ip", "dot": "ip", "euclidean": "l2"}


class LimbeckSearch:
    """MTEB's `SearchProtocol` over a recipe's codes; scores are higher for better documents.

    cost    one encoding of the corpus, and what the recipe takes; float vectors are let go of when `index` returns
    raises  ConfigError for an encoder whose similarity no index holds (MaxSim, Manhattan), or too few documents to
            learn codewords from
    """

    def __init__(self, encoder: Any, recipe: Recipe | None = None, *, effort: float | None = None) -> None:
        """Encoder: any that MTEB evaluates; recipe: `Limbeck(code_bytes=32)` when left out; effort: as `search`."""
        from limbeck.recipes.limbeck import Limbeck

        recipe = Limbeck(code_bytes=32) if recipe is None else recipe
        meta = encoder.mteb_model_meta
        self._codes = CodeBackend(recipe, similarity=meta.similarity_fn_name, effort=effort)
        self._search = SearchEncoderWrapper(encoder, index_backend=self._codes)
        size = getattr(recipe, "code_bytes", None)
        name = "-".join(filter(None, [type(recipe).__name__, str(size) if size else ""]))
        self._meta = meta.model_copy(
            update={
                "name": f"{meta.name}-{name}",
                "adapted_from": meta.name,
                "loader": None,
                "loader_kwargs": {},
            }
        )

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """The encoder's, under a name of its own: results of both lie beside each other."""
        return self._meta

    def index(self, corpus: Any, **options: Any) -> None:
        """Encode and compress a corpus; the one before is let go of."""
        self._codes.clear()
        self._search.index(corpus, **options)

    def search(self, queries: Any, **options: Any) -> dict[str, dict[str, float]]:
        """The best `top_k` documents of each query, or the order of those that are given (`top_ranked`)."""
        found: dict[str, dict[str, float]] = self._search.search(queries, **options)
        return found


class CodeBackend:
    """MTEB's `IndexEncoderSearchProtocol`: what compresses and searches the vectors of one corpus."""

    def __init__(self, recipe: Recipe, *, similarity: object, effort: float | None = None) -> None:
        name = str(getattr(similarity, "value", similarity))
        if name not in METRICS:
            raise ConfigError(f"the encoder compares by {name!r}; indexes hold {sorted(METRICS)}.")
        self.recipe = recipe
        self.effort = effort
        self._metric = METRICS[name]
        self._normalise = name == "cosine"
        self._rows: dict[str, int] = {}
        self._index: SavedIndex | None = None

    def add_documents(self, embeddings: Any, idxs: Sequence[str]) -> None:
        """Learn codes on these vectors [N, d], and keep the codes alone."""
        from limbeck.jobs.make import built, refuse_unfitting

        if self._index is not None:
            raise ConfigError("this index holds a corpus already.\n\nHint: call `clear()` first.")
        vectors = self._vectors(embeddings)
        refuse_unfitting(self.recipe, documents=len(vectors), width=vectors.shape[1])
        data = VectorData(documents=vectors, queries=vectors[:0], metric=self._metric)
        self._index = built(self.recipe.run(data))
        self._rows = {identifier: row for row, identifier in enumerate(idxs)}

    def search(
        self,
        embeddings: Any,
        top_k: int,
        similarity_fn: Callable[..., Any],
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        query_idx_to_id: Mapping[int, str] | None = None,
    ) -> tuple[list[list[float]], list[list[int]]]:
        """Scores and places, best first: places in the corpus, or in a query's own list where `top_ranked` has it."""
        del similarity_fn  # codes are scored by their own tables
        if self._index is None:
            raise ConfigError("no corpus was indexed.\n\nHint: call `index` before `search`.")
        queries = self._vectors(embeddings)
        if top_ranked is not None:
            assert query_idx_to_id is not None
            lists = [top_ranked.get(query_idx_to_id[place]) or [] for place in range(len(queries))]
            lines = [self._ranked(query, names, top_k) for query, names in zip(queries, lists, strict=True)]
            return [scores for scores, _ in lines], [places for _, places in lines]
        hits = self._index.search(Reps.single(queries), min(top_k, len(self._index)), effort=self.effort)
        there = hits.ids >= 0
        scores = [line[kept].tolist() for line, kept in zip(hits.scores, there, strict=True)]
        return scores, [line[kept].tolist() for line, kept in zip(hits.ids, there, strict=True)]

    def clear(self) -> None:
        """Let the corpus go."""
        self._index, self._rows = None, {}

    def _ranked(self, query: Floats, names: Sequence[str], top_k: int) -> tuple[list[float], list[int]]:
        """One query's own documents, all lists visited: scores, and places among the names."""
        assert self._index is not None
        rows = np.array([self._rows[name] for name in names], dtype=np.int64)
        allowed = np.zeros(len(self._index), dtype=np.bool_)
        allowed[rows] = True
        depth = min(top_k, int(allowed.sum()))
        if depth == 0:
            return [], []
        hits = self._index.search(Reps.single(query[None]), depth, effort=1.0, allowed=allowed)
        place = {row: at for at, row in enumerate(rows.tolist())}
        return hits.scores[0].tolist(), [place[row] for row in hits.ids[0].tolist()]

    def _vectors(self, embeddings: Any) -> Floats:
        """[rows, d] float32; of length 1 where the encoder compares by cosine."""
        if hasattr(embeddings, "detach"):
            embeddings = embeddings.detach().cpu().float().numpy()
        vectors = np.ascontiguousarray(embeddings, dtype=np.float32)
        if not self._normalise:
            return vectors
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: Floats = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
        return unit
