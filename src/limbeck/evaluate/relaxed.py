"""Relaxed recall: a hit counts when its text contains an answer, matched as DPR does."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache, lru_cache

import numpy as np

from limbeck.errors import ConfigError, DataError, ShapeError
from limbeck.evaluate.measures import Scores
from limbeck.types import Hits

TEXTS_KEPT = 4_096  # tokenised passages that are remembered between queries
GAP = "\0"  # no token holds a control character


def relaxed_recall(
    hits: Hits,
    texts_of: Callable[[int], str],
    answers: Sequence[Sequence[str]],
    k: int = 20,
    *,
    query_ids: Sequence[str] | None = None,
) -> Scores:
    """1 for each query where any of its top k documents contains any of its answers ("top-k accuracy").

    Text and answers are NFD-normalised, cut into tokens (runs of letters, digits and marks; every other
    visible character alone), lower-cased; an answer is contained when its tokens follow one another in the
    text. An answer without a token matches nothing here (in DPR's code it matches everything). Without
    diacritics the text does not match an answer with.

    hits      [B, k or more]
    texts_of  document row to text
    answers   [B] lists; a query with none is left out, as one without labels is
    returns   one measure, `relaxed R@k`
    cost      each text is cut once while it stays among the last 4,096
    source    facebookresearch/DPR, dpr/data/qa_validation.py `has_answer`, tokenizers.py `SimpleTokenizer`
    """
    _check(hits, answers, k)
    names = query_ids if query_ids is not None else [str(row) for row in range(len(hits))]
    needles = [[joined for joined in map(_joined_tokens, row) if joined != GAP] for row in answers]
    answered = [row for row, found in enumerate(needles) if found]
    if not answered:
        raise DataError(f"none of the {len(hits)} queries has an answer, so there is nothing to measure.")
    haystack = lru_cache(maxsize=TEXTS_KEPT)(lambda document: _joined_tokens(texts_of(document)))
    values = [
        any(needle in haystack(document) for document in _top(hits, row, k) for needle in needles[row])
        for row in answered
    ]
    return Scores(
        measures=(f"relaxed R@{k}",),
        values=np.array(values, dtype=np.float64)[:, None],
        query_ids=tuple(names[row] for row in answered),
        query_rows=np.array(answered, dtype=np.int64),
        unlabelled=len(hits) - len(answered),
    )


def tokens(text: str) -> list[str]:
    """The lower-cased tokens by which DPR compares answers with passages."""
    return [token.lower() for token in _token_pattern().findall(unicodedata.normalize("NFD", text))]


def _joined_tokens(text: str) -> str:
    """Tokens with a gap before, between and after, so that `in` on strings finds whole tokens only."""
    found = tokens(text)
    return GAP + GAP.join(found) + GAP if found else GAP


def _top(hits: Hits, row: int, k: int) -> list[int]:
    return [document for document in hits.ids[row, :k].tolist() if document >= 0]


@cache
def _token_pattern() -> re.Pattern[str]:
    r"""`[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]` for the standard library's `re`; 0.2 s, once."""
    kinds = [unicodedata.category(chr(point))[0] for point in range(sys.maxunicode + 1)]
    words, hidden = _character_class(kinds, "LNM"), _character_class(kinds, "ZC")
    return re.compile(f"[{words}]+|[^{hidden}]")


def _character_class(kinds: Sequence[str], wanted: str) -> str:
    inside = np.array([kind in wanted for kind in kinds])
    edges = np.flatnonzero(np.diff(inside.astype(np.int8), prepend=0, append=0))
    return "".join(
        f"\\U{low:08x}-\\U{high - 1:08x}" for low, high in zip(edges[::2], edges[1::2], strict=True)
    )


def _check(hits: Hits, answers: Sequence[Sequence[str]], k: int) -> None:
    if len(answers) != len(hits):
        raise ShapeError(f"`answers` is for {len(answers)} queries, but the hits are for {len(hits)}.")
    if any(isinstance(row, str) for row in answers):
        raise DataError("`answers` holds a string where a list of strings is expected: [['Paris'], ...].")
    if not 1 <= k <= hits.ids.shape[1]:
        raise ConfigError(
            f"relaxed R@{k} looks at {k} hits a query, but {hits.ids.shape[1]} were searched for.\n\n"
            f"Hint: search with k={k}."
        )
