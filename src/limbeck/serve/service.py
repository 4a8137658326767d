"""What the server does with a checked request, without HTTP: search, explain, look up. Any thread may call it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError, LimbeckError, ShapeError
from limbeck.index.document_store import Fact
from limbeck.index.explain import Explained, explained
from limbeck.index.filters import Between, OneOf, Where, allowed_by
from limbeck.index.journal import Journal
from limbeck.index.kept import KeptVectors
from limbeck.jobs.changes import can_add_texts, refuse_unchangeable
from limbeck.serve.limits import MOST_HITS
from limbeck.serve.live import Generation, Live
from limbeck.serve.schema import (
    About,
    Accepted,
    Addition,
    Batch,
    Explain,
    Filter,
    MetadataField,
    Mode,
    Numbers,
    Options,
    Search,
    Some,
    Texts,
    Value,
)
from limbeck.types import Floats, Hits, Reps

FEW = 0.05  # of the documents: where a filter leaves fewer, all lists are searched at once


class NotThere(LimbeckError):
    """A document that the index does not hold."""


class Service:
    """Answers from the generation that is current when a request begins. Results are plain values, ready for JSON."""

    def __init__(self, live: Live, journal: Journal | None) -> None:
        self.live = live
        self.journal = journal

    def search(self, asked: Search) -> dict[str, Any]:
        """The best documents of one query: a `schema.Found`."""
        found = self._found(
            asked,
            texts=None if asked.text is None else [asked.text],
            vectors=None if asked.vector is None else [asked.vector],
        )
        return {**found, "answers": found["answers"][0]}

    def search_batch(self, asked: Batch) -> dict[str, Any]:
        """The best documents of several queries: a `schema.FoundBatch`."""
        return self._found(asked, texts=asked.texts, vectors=asked.vectors)

    def explain(self, asked: Explain) -> dict[str, Any]:
        """Why documents stand where they stand: a `schema.Explanations`. raises NotThere

        cost  one exhaustive search for the best 1,000, and another by kept vectors where there are some
        """
        now = self.live.current
        query = _one_vector(now, asked.text, asked.vector)
        rows = now.searcher.documents.rows_of(asked.ids)
        missing = [one for one in asked.ids if one not in rows]
        if missing:
            raise NotThere(f"this index holds no document with the id {missing[0]!r}.")
        places = np.array([rows[one] for one in asked.ids], dtype=np.int64)
        whys = explained(now.searcher.index, query, places, effort=asked.effort)
        best = now.searcher.index.search(Reps.single(query[None]), _most(now), effort=1.0)
        exact = None if now.kept is None else now.kept.search(Reps.single(query[None]), _most(now))
        scores = None if now.kept is None else now.kept.scores(query, places).tolist()
        return {
            "explanations": [
                _explanation(
                    one,
                    why,
                    _rank(best, row),
                    None if scores is None else scores[n],
                    None if exact is None else _rank(exact, row),
                )
                for n, (one, row, why) in enumerate(zip(asked.ids, places.tolist(), whys, strict=True))
            ],
            "generation": now.name,
        }

    def document(self, identifier: str) -> dict[str, Any]:
        """One document: a `schema.StoredDocument`. raises NotThere"""
        store = self.live.current.searcher.documents
        row = store.rows_of([identifier]).get(identifier)
        if row is None:
            raise NotThere(f"this index holds no document with the id {identifier!r}.")
        return _as_json(store.documents([row])[0])

    def about(self) -> dict[str, Any]:
        """What is served: a `schema.About`."""
        now = self.live.current
        searcher, content = now.searcher, now.searcher.manifest.content
        encoder = content.get("encoder") or {}
        pending = 0 if self.journal is None else self.journal.last() - now.last_change
        return About(
            name=str(content.get("data", {}).get("name", "")),
            generation=now.name,
            documents=len(searcher),
            dimensions=searcher.index.dim,
            metric=now.metric,
            bytes_per_document=float(content.get("bytes_per_document", searcher.index.code_bytes)),
            vector_bytes=4 * searcher.index.dim,
            recipe=str(content.get("recipe", {}).get("name", content.get("index"))),
            encoder=encoder.get("name"),
            modes=_modes(now),
            takes_text=searcher.encoder is not None,
            keeps_vectors=None if now.kept is None else now.kept.precision,
            can_add_texts=self.journal is not None and can_add_texts(searcher),
            can_change=self.journal is not None,
            fields=[MetadataField(**asdict(field)) for field in now.fields],
            last_change=now.last_change,
            pending_changes=max(0, pending),
        ).model_dump()

    def reloaded(self) -> dict[str, Any]:
        """What is served after a look for a newer generation. raises ArtefactError where it cannot be opened"""
        self.live.reload()
        return self.about()

    def add(self, asked: Addition) -> dict[str, Any]:
        """Documents into the journal: an `Accepted`, once they are on disk. raises ConfigError, DataError"""
        journal = self._journal()
        now = self.live.current
        refuse_unchangeable(now.searcher, asked.documents)
        return Accepted(accepted=len(asked.documents), sequence=journal.put(asked.documents)).model_dump()

    def delete(self, identifier: str) -> dict[str, Any]:
        """A deletion into the journal. Deleting what is not there, or no longer, is accepted as well."""
        journal = self._journal()
        refuse_unchangeable(self.live.current.searcher, [])
        return Accepted(accepted=1, sequence=journal.delete(identifier)).model_dump()

    def _journal(self) -> Journal:
        if self.journal is None:
            raise ConfigError(
                "this server takes no changes: it was started with --read-only, or cannot write there."
            )
        return self.journal

    def _found(
        self, asked: Options, *, texts: Sequence[str] | None, vectors: Sequence[Sequence[float]] | None
    ) -> dict[str, Any]:
        now = self.live.current
        begun = time.perf_counter()
        queries = None
        if asked.mode != "lexical":
            queries = _vectors(now, texts) if texts is not None else _given(now, vectors or [])
        encoded = time.perf_counter()
        hits = self._hits(now, asked, texts, queries)
        searched = time.perf_counter()
        answers = [
            _answers(now, ids, scores, asked) for ids, scores in zip(hits.ids, hits.scores, strict=True)
        ]
        read = time.perf_counter()
        spent = {"encode": encoded - begun, "search": searched - encoded, "read": read - searched}
        return {
            "answers": answers,
            "mode": asked.mode,
            "generation": now.name,
            "milliseconds": {name: round(1000 * seconds, 3) for name, seconds in spent.items()},
        }

    def _hits(
        self, now: Generation, asked: Options, texts: Sequence[str] | None, queries: Floats | None
    ) -> Hits:
        size = len(now.searcher)
        allowed = (
            None if not asked.where else allowed_by(now.searcher.documents, _where(asked.where), size=size)
        )
        if asked.exact:
            if asked.mode != "dense":
                raise ConfigError("`exact` is for mode 'dense': words have no codes.")
            return _kept(now, "exact").search(Reps.single(_needed(queries)), asked.k, allowed=allowed)
        if asked.mode == "dense":
            return self._dense(now, asked, _needed(queries), allowed)
        assert texts is not None  # the schema gives vectors to mode "dense" alone
        part = now.searcher.lexical_part
        if part is None:
            raise ConfigError(
                f"mode {asked.mode!r} needs BM25 beside the codes, and this index has none.\n\n"
                "Hint: limbeck hybrid INDEX."
            )
        if asked.mode == "lexical":
            return part.index.search(texts, asked.k, allowed=allowed)
        depth = max(asked.k, min(size, part.fusion.depth))
        dense = self._dense(now, asked.model_copy(update={"k": depth}), _needed(queries), allowed)
        return now.searcher.fused(dense, part.index.search(texts, depth, allowed=allowed), asked.k)

    def _dense(
        self, now: Generation, asked: Options, queries: Floats, allowed: NDArray[np.bool_] | None
    ) -> Hits:
        depth = max(asked.k, asked.refine or 0)
        hits = complete(now, queries, depth, effort=asked.effort, allowed=allowed)
        if asked.refine is None:
            return hits
        kept = _kept(now, "refine")
        refined = [
            kept.refined(
                query, Hits(hits.ids[n : n + 1], hits.scores[n : n + 1]), milliseconds=asked.refine_ms
            )
            for n, query in enumerate(queries)
        ]
        ids = np.concatenate([one.ids for one in refined])[:, : asked.k]
        return Hits(ids, np.concatenate([one.scores for one in refined])[:, : asked.k])


def complete(
    now: Generation, queries: Floats, k: int, *, effort: float | None, allowed: NDArray[np.bool_] | None
) -> Hits:
    """The k best allowed documents, as many as exist: where the lists of this effort hold too few, of all lists."""
    index = now.searcher.index
    if allowed is None:
        return index.search(Reps.single(queries), k, effort=effort)
    there = int(allowed.sum())
    if effort is None and there < FEW * len(index):
        effort = 1.0
    hits = index.search(Reps.single(queries), k, effort=effort, allowed=allowed)
    short = (hits.ids[:, : min(k, there)] < 0).any(axis=1)
    if not short.any():
        return hits
    again = index.search(Reps.single(queries[short]), k, effort=1.0, allowed=allowed)
    hits.ids[short], hits.scores[short] = again.ids, again.scores
    return hits


def _where(where: Filter) -> Where:
    return {field: _condition(value) for field, value in where.items()}


def _condition(value: Value | Some | Numbers | Texts) -> Fact | OneOf | Between:
    if isinstance(value, Some):
        return OneOf(value.any)
    if isinstance(value, (Numbers, Texts)):
        return Between(value.above, value.least, value.below, value.most)
    return value


def _modes(now: Generation) -> list[Mode]:
    modes: list[Mode] = ["dense"]
    if now.searcher.lexical_part is not None:
        modes.append("lexical")
        if now.searcher.encoder is not None:
            modes.append("hybrid")
    return modes


def _vectors(now: Generation, texts: Sequence[str]) -> Floats:
    encoder = now.searcher.encoder
    if encoder is None:
        raise ConfigError(
            "this index was made from vectors and has no query encoder: give a vector instead of a text."
        )
    vectors: Floats = encoder.encode(texts, side="query").flat
    return vectors


def _given(now: Generation, vectors: Sequence[Sequence[float]]) -> Floats:
    found = np.array(vectors, dtype=np.float64)
    if found.shape[1] != now.searcher.index.dim:
        raise ShapeError(
            f"the vector has {found.shape[1]} dimensions, but the index has {now.searcher.index.dim}: "
            "queries must come from the encoder that made it."
        )
    with np.errstate(over="ignore"):
        return found.astype(np.float32)


def _one_vector(now: Generation, text: str | None, vector: Sequence[float] | None) -> Floats:
    found = _vectors(now, [text]) if text is not None else _given(now, [vector or []])
    one: Floats = found[0]
    return one


def _kept(now: Generation, what: str) -> KeptVectors:
    if now.kept is None:
        raise ConfigError(
            f"{what!r} needs the vectors, and this index keeps none.\n\n"
            "Hint: limbeck distil --keep-vectors float16, or int8 for half of the bytes."
        )
    return now.kept


def _needed(queries: Floats | None) -> Floats:
    assert queries is not None  # made for every mode but "lexical"
    return queries


def _most(now: Generation) -> int:
    return min(MOST_HITS, len(now.searcher))


def _rank(hits: Hits, row: int) -> int | None:
    found = np.flatnonzero(hits.ids[0] == row)
    return int(found[0]) + 1 if len(found) else None


def _explanation(
    identifier: str, why: Explained, rank: int | None, exact_score: float | None, exact_rank: int | None
) -> dict[str, Any]:
    return {
        "id": identifier,
        "decoded_score": why.score,
        "exact_score": exact_score,
        "rank": rank,
        "exact_rank": exact_rank,
        "list": why.list,
        "list_place": why.list_place,
        "probed": why.probed,
        "parts": why.parts,
        "rest": why.rest,
    }


def _answers(now: Generation, ids: NDArray[np.int64], scores: Floats, asked: Options) -> list[dict[str, Any]]:
    there = ids >= 0
    rows = ids[there].tolist()
    documents = now.searcher.documents.documents(rows)
    found = []
    for rank, (document, score) in enumerate(zip(documents, scores[there].tolist(), strict=True), start=1):
        answer = {"rank": rank, "id": document.id, "score": score}
        found.append({**answer, **_readable(document)} if asked.documents else answer)
    return found


def _readable(document: Any) -> dict[str, Any]:
    return {"title": document.title, "text": document.text, "metadata": dict(document.metadata)}


def _as_json(document: Any) -> dict[str, Any]:
    return {"id": document.id, **_readable(document)}
