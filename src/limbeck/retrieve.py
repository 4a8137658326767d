"""What users hold: a searcher over a saved artefact. Text in, documents out; torch is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from limbeck.encoders.fingerprint import Fingerprint, check_pair, space_of
from limbeck.errors import ConfigError, DataError
from limbeck.index.compressed import CodeIndex
from limbeck.index.document_store import FILE, DocumentStore
from limbeck.index.lexical import LexicalIndex
from limbeck.index.opening import SavedIndex, kind_of, open_index
from limbeck.index.store import Manifest, open_current
from limbeck.lexical_part import LexicalPart
from limbeck.types import Floats, Hits, Reps

if TYPE_CHECKING:
    from limbeck.encoders.corpus_encoding import KnownEncoder

Mode: TypeAlias = Literal["dense", "lexical", "hybrid"]
QUERY_ENCODER = "query_encoder"


@dataclass(frozen=True, slots=True)
class Answer:
    """One document that answers a query."""

    rank: int  # from 1
    id: str
    score: float  # higher = better
    title: str
    text: str


class Searcher:
    """A retriever over an artefact: its index, its query encoder and its documents. Made by `open`.

    Searching from many threads is safe. A search costs one call of the query encoder and one of the index.
    """

    def __init__(
        self,
        index: SavedIndex,
        documents: DocumentStore,
        manifest: Manifest,
        encoder: KnownEncoder | None,
        *,
        lexical_part: LexicalPart | None = None,
    ) -> None:
        self.index = index
        self.documents = documents
        self.manifest = manifest
        self.encoder = encoder
        self.lexical_part = lexical_part  # BM25 and its fusion; None until `limbeck hybrid` adds them

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        encoder: KnownEncoder | Path | str | None = None,
        verify: bool = True,
        threads: int | None = None,
        fast_scan: bool = False,
    ) -> Self:
        """The artefact in `folder`, after every file in it passed its sha256.

        encoder  answers instead of the one in the artefact, an encoder or the folder of a saved one; refused unless it
                 makes the same vector space
        verify   False skips the hashes, not the sizes
        threads  of one search; None leaves it to faiss and ONNX Runtime
        fast_scan  search codes of 4 bits by `FastScanIndex`, which re-scores the first 50; refused for others
        raises   CorruptArtefact, VersionMismatch or EncoderMismatch; nothing is read before it was checked
        """
        generation, manifest = open_current(Path(folder), verify=verify)
        index = open_index(
            generation, kind=manifest.content.get("index"), threads=threads, fast_scan=fast_scan
        )
        if encoder is None and (generation / QUERY_ENCODER).is_dir():
            encoder = generation / QUERY_ENCODER
        if isinstance(encoder, (str, Path)):
            from limbeck.encoders.opening import open_encoder

            encoder = open_encoder(encoder, threads=threads)
        if encoder is not None:
            check_encoder(encoder, manifest, index.dim)
        part = LexicalPart.open(generation, documents=len(index))
        documents = DocumentStore(generation / FILE, rows=len(index))
        return cls(index, documents, manifest, encoder, lexical_part=part)

    def search(
        self,
        texts: Sequence[str],
        k: int = 10,
        *,
        mode: Mode = "dense",
        effort: float | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Hits:
        """Rows and scores [len(texts), k] of the best documents; `answers` gives the documents themselves.

        mode    dense: by vectors. lexical: by words (BM25). hybrid: both lists fused, with scores of the fusion
        effort  of the dense search
        raises  ConfigError for lexical and hybrid where the artefact holds no BM25
        """
        if isinstance(texts, str):
            raise DataError(
                f"`texts` is one string, {texts[:40]!r}; expected a list of them: search([text], k)."
            )
        if mode == "lexical":
            return self._lexical_part(mode).index.search(texts, k, allowed=allowed)
        if mode == "hybrid":
            depth = max(k, min(len(self), self._lexical_part(mode).fusion.depth))
            dense = self.search(texts, depth, effort=effort, allowed=allowed)
            return self.fused(dense, self.search(texts, depth, mode="lexical", allowed=allowed), k)
        if mode != "dense":
            raise ConfigError(f"`mode` is {mode!r}; must be 'dense', 'lexical' or 'hybrid'.")
        if self.encoder is None:
            raise ConfigError(
                "this index was made from vectors and has no query encoder.\n\n"
                "Hint: give vectors to `search_vectors`, or open it with `encoder=`."
            )
        return self.index.search(self.encoder.encode(texts, side="query"), k, effort=effort, allowed=allowed)

    def fused(self, dense: Hits, lexical: Hits, k: int) -> Hits:
        """The k best documents of both lists, by the artefact's own fusion: what `search` does for mode "hybrid"."""
        return self._lexical_part("hybrid").fusion(dense, lexical, k)

    def search_vectors(
        self,
        vectors: Floats,
        k: int = 10,
        *,
        effort: float | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Hits:
        """As `search`, from query vectors [B, d] of the encoder that made the index."""
        return self.index.search(Reps.single(np.asarray(vectors)), k, effort=effort, allowed=allowed)

    def answers(
        self, texts: Sequence[str], k: int = 10, *, mode: Mode = "dense", effort: float | None = None
    ) -> list[list[Answer]]:
        """The best documents of each text, best first."""
        return self.answers_of(self.search(texts, k, mode=mode, effort=effort))

    def answers_of(self, hits: Hits) -> list[list[Answer]]:
        """The documents behind hits: what `search` or `search_vectors` found, for people to read."""
        return [self._answers(ids, scores) for ids, scores in zip(hits.ids, hits.scores, strict=True)]

    @property
    def lexical(self) -> LexicalIndex | None:
        """BM25 over the documents, where the artefact holds it."""
        return None if self.lexical_part is None else self.lexical_part.index

    @property
    def codes(self) -> CodeIndex:
        """The index, where it is one of product codes. raises ConfigError where it is an engine or whole vectors"""
        if not isinstance(self.index, CodeIndex):
            raise ConfigError(
                f"this artefact holds an index of kind {kind_of(self.index)!r}; expected product codes ('codes')."
            )
        return self.index

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        content: Any = self.manifest.content
        return (
            f"Searcher({len(self)} documents, {content.get('recipe', {}).get('name', content.get('index'))})"
        )

    def _lexical_part(self, mode: str) -> LexicalPart:
        if self.lexical_part is None:
            raise ConfigError(
                f"mode {mode!r} needs BM25, and this artefact holds none.\n\nHint: add it with: limbeck hybrid INDEX"
            )
        return self.lexical_part

    def _answers(self, ids: NDArray[np.int64], scores: Floats) -> list[Answer]:
        there = ids >= 0
        documents = self.documents.documents(ids[there].tolist())
        return [
            Answer(rank, document.id, float(score), document.title, document.text)
            for rank, (document, score) in enumerate(zip(documents, scores[there], strict=True), start=1)
        ]


def check_encoder(encoder: KnownEncoder, manifest: Manifest, dim: int) -> None:
    """EncoderMismatch unless its queries are for the documents of this artefact; of ready vectors only d is known."""
    made_by = manifest.content.get("encoder")
    if made_by is not None:
        check_pair(space_of(encoder), Fingerprint.from_json(made_by))
    elif encoder.dim != dim:
        raise ConfigError(
            f"the encoder makes vectors of width {encoder.dim}, but the index holds width {dim}."
        )
