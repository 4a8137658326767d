"""BM25: search by shared words, beside an index over vectors. Scores are bm25s's, computed when the index is built.

Letters: N documents, P postings (pairs of a term and a document that holds it), B queries, k results.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import CorruptArtefact, DataError
from limbeck.index.arguments import allowed_rows, hits_wanted
from limbeck.index.lexical_files import DESCRIPTION, Described, Postings, open_postings
from limbeck.text import open_analyser
from limbeck.types import Floats, Hits, Rows

K1, B = 1.2, 0.75  # Lucene's BM25Similarity; Robertson & Zaragoza 2009, §3.2: 1.2 < k1 < 2, 0.5 < b < 0.8
LONG = 6_000_000  # tokens: two seconds of bm25s


class LexicalIndex:
    """BM25 over words. 8·P bytes, and some 25 a term; a query adds up the postings of its words, and scans N scores.

    score  Σ over the words of the query of idf · tf / (tf + k1·(1 - b + b·length/mean length)), where idf is
           ln(1 + (N - n + 0.5)/(n + 0.5)) of a word that n documents hold: Lucene's BM25 (Kamphuis et al., ECIR 2020)

    Searching from many threads is safe.
    """

    def __init__(self, described: Described, postings: Postings) -> None:
        """Use `build` or `open`."""
        self.described = described
        self.analyser = open_analyser(described.analyser)
        self._postings = postings
        self._letters = postings.letters.data

    @classmethod
    def build(
        cls,
        texts: Iterable[str],
        *,
        analyser: str = "english",
        k1: float = K1,
        b: float = B,
        progress: bool = True,
    ) -> Self:
        """The index of the texts, the n-th as row n. One pass over them; they are not kept.

        analyser  by name; `limbeck.text.analyser_for` guesses it from texts
        cost      some 80 bytes of memory a posting while it is built
        raises    DataError where no text holds a token
        """
        Described(analyser, 0, k1=k1, b=b)
        tokens = _Tokens.read(texts, analyser, progress=progress)
        described = Described(analyser, len(tokens), k1=float(k1), b=float(b))
        return cls(described, _postings(tokens, described, progress=progress))

    @classmethod
    def open(cls, folder: Path, *, documents: int | None = None) -> Self:
        """The index saved in the folder, mapped from disk, after its numbers were checked.

        documents  how many rows there must be
        raises     CorruptArtefact where a file is missing, of another size, or holds what no build writes
        """
        described, postings = open_postings(folder)
        if documents is not None and described.documents != documents:
            raise CorruptArtefact(
                f"{folder / DESCRIPTION}: is of {described.documents} documents, but the index holds {documents}."
            )
        return cls(described, postings)

    def save(self, folder: Path) -> None:
        """The files that `limbeck.index.lexical_files` describes."""
        self._postings.save(folder, self.described)

    def __len__(self) -> int:
        return self.described.documents

    @property
    def nbytes(self) -> int:
        """Bytes of the files: they stay on disk, and in the system's cache as far as they are used."""
        return self._postings.nbytes

    def search(self, texts: Sequence[str], k: int, *, allowed: NDArray[np.bool_] | None = None) -> Hits:
        """The k best of the `allowed` rows that share a word with each text; -1 where there are no more.

        Words count as often as they stand in the text. cost: 8·N bytes, one query after the other
        """
        if isinstance(texts, str):
            raise DataError(f"`texts` is one string, {texts[:40]!r}; expected a list of them.")
        wanted, mask = hits_wanted(k, size=len(self)), allowed_rows(allowed, size=len(self))
        ids = np.full((len(texts), wanted), -1, dtype=np.int64)
        found = np.full((len(texts), wanted), -np.inf, dtype=np.float32)
        for number, text in enumerate(texts):
            scores = self.scores(text)
            if mask is not None:
                scores[~mask] = 0
            rows = best_rows(scores, wanted)
            ids[number, : len(rows)], found[number, : len(rows)] = rows, scores[rows]
        return Hits(ids, found)

    def scores(self, text: str) -> Floats:
        """[N] the score of every document: above 0 where a word of the text stands in it, else 0."""
        scores = np.zeros(len(self), dtype=np.float32)
        known = [number for token in self.analyser(text) if (number := self._number(token)) is not None]
        for number, times in zip(*np.unique(known, return_counts=True), strict=True):
            part = self._of(int(number))
            scores[self._postings.rows[part]] += np.float32(times) * self._postings.scores[part]
        return scores

    def shares(self, text: str, row: int) -> dict[str, float]:
        """What each word of the text, as analysed, adds to the score of one document; words that stand there only."""
        shares: dict[str, float] = {}
        for token in self.analyser(text):
            number = self._number(token)
            if number is None:
                continue
            part = self._of(number)
            place = part.start + int(np.searchsorted(self._postings.rows[part], row))
            if place < part.stop and self._postings.rows[place] == row:
                shares[token] = shares.get(token, 0.0) + float(self._postings.scores[place])
        return shares

    def _of(self, number: int) -> slice:
        """Where the postings of a term lie."""
        return slice(int(self._postings.starts[number]), int(self._postings.starts[number + 1]))

    def _number(self, token: str) -> int | None:
        """The number of a token that some document holds."""
        term, terms = _encoded(token), len(self._postings.ends)
        place = bisect_left(range(terms), term, key=self._term)
        return place if place < terms and self._term(place) == term else None

    def _term(self, number: int) -> bytes:
        start = int(self._postings.ends[number - 1]) if number else 0
        return bytes(self._letters[start : int(self._postings.ends[number])])


def best_rows(scores: Floats, k: int) -> Rows:
    """The k rows with the highest scores above 0, best first; of equals the lower rows, also where k cuts."""
    rows = np.flatnonzero(scores > 0)
    if len(rows) > k:
        values = scores[rows]
        least = np.partition(values, len(rows) - k)[len(rows) - k]
        above = rows[values > least]
        rows = np.sort(np.concatenate([above, rows[values == least][: k - len(above)]]))
    return rows[np.argsort(-scores[rows], kind="stable")]


class _Tokens:
    """The tokens of all documents as numbers, 4 bytes each. bm25s reads them document by document, several times."""

    def __init__(self, vocabulary: dict[str, int], numbers: array[int], ends: array[int]) -> None:
        self.vocabulary = vocabulary
        self.numbers = np.frombuffer(numbers, dtype=np.int32) if numbers else np.empty(0, np.int32)
        self._ends = ends

    @classmethod
    def read(cls, texts: Iterable[str], analyser: str, *, progress: bool) -> Self:
        from tqdm.auto import tqdm

        tokens_of = open_analyser(analyser)
        vocabulary: dict[str, int] = {}
        numbers, ends = array("i"), array("q")
        for text in tqdm(
            texts, desc="words", unit=" documents", delay=2, leave=False, disable=None if progress else True
        ):
            numbers.extend([vocabulary.setdefault(token, len(vocabulary)) for token in tokens_of(text)])
            ends.append(len(numbers))
        if not vocabulary:
            raise DataError(
                f"none of the {len(ends)} documents holds a word for the analyser {analyser!r}; BM25 needs texts.\n\n"
                "Hint: an index that was made from vectors has no texts; make it from a corpus."
            )
        return cls(vocabulary, numbers, ends)

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[list[int]]:
        start = 0
        for end in self._ends:
            yield self.numbers[start:end].tolist()
            start = end


def _postings(tokens: _Tokens, described: Described, *, progress: bool) -> Postings:
    """bm25s's scores of every word in every document that holds it; terms are numbered in the order of their bytes."""
    import bm25s

    first = {_encoded(token): number for token, number in tokens.vocabulary.items()}
    terms = sorted(first)
    renumbered = np.empty(len(terms), dtype=np.int32)
    renumbered[[first[term] for term in terms]] = np.arange(len(terms), dtype=np.int32)
    tokens.numbers = renumbered[tokens.numbers]
    engine = bm25s.BM25(k1=described.k1, b=described.b, method="lucene")
    shown = progress and len(tokens.numbers) > LONG and sys.stderr.isatty()
    made = engine.build_index_from_ids(range(len(terms)), tokens, show_progress=shown)
    return Postings(
        letters=np.frombuffer(b"".join(terms), dtype=np.uint8),
        ends=np.cumsum([len(term) for term in terms], dtype=np.int64),
        starts=made["indptr"].astype(np.int64, copy=False),
        rows=made["indices"].astype(np.int32, copy=False),
        scores=made["data"].astype(np.float32, copy=False),
    )


def _encoded(token: str) -> bytes:
    return token.encode("utf-8", "surrogatepass")
