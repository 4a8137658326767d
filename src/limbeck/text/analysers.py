"""Analysers: a text to the tokens that documents and queries are matched by.

An index saves the name of its analyser, so a name stands for the same tokens for ever: what tokenises differently gets
a name of its own. All are safe to call from many threads.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from itertools import chain, islice, pairwise
from typing import Any, Protocol

from limbeck.errors import ConfigError

LONGEST = 255  # characters of a word, longer ones are cut into pieces: Lucene's StandardTokenizer
_STOP_WORDS = (  # Lucene's for English
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())
SAMPLE = 1000  # texts that `analyser_for` looks at
SAMPLE_CHARACTERS = 500  # of each
EAST_ASIAN_SHARE = 0.2  # of all letters; Chinese with many English names stays above
ENGLISH_WORDS = frozenset(("and", "are", "for", "of", "that", "the", "this", "to", "with"))
ENGLISH_SHARE = 0.03  # of all words: .196 of XQuAD in English, under .003 in its 11 other languages

_KANA, _HAN = (
    r"\u3041-\u309f\u30a1-\u30fa\u30fc-\u31ff",
    r"\u3005-\u3007\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
)
_EAST_ASIAN = rf"{_KANA}{_HAN}\uac00-\ud7af"
_MARKS = r"\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff\u1000-\u109f"  # vowel signs, no \w
_LETTER = rf"(?:[^\W_]|[{_MARKS}])"
_WORD = re.compile(rf"{_LETTER}{{1,{LONGEST}}}(?:'{_LETTER}{{1,{LONGEST}}})?")
_RUN = re.compile(rf"([{_EAST_ASIAN}]+)|((?:(?![{_EAST_ASIAN}]){_LETTER}){{1,{LONGEST}}})")


class Analyser(Protocol):
    """Text to tokens."""

    @property
    def name(self) -> str: ...

    def __call__(self, text: str) -> list[str]:
        """The tokens in order, repeated ones repeated; none of a text without letters and digits."""
        ...


class Words:
    """Runs of letters and digits in lower case, after Unicode's NFKC: any language that puts spaces between words."""

    name = "words"

    def __call__(self, text: str) -> list[str]:
        return _WORD.findall(_folded(text))


class English:
    """Words without the most common ones, stemmed by Snowball's English stemmer (Porter 2), which drops 's as well."""

    name = "english"

    def __init__(self) -> None:
        self._own = threading.local()  # a stemmer is not to be shared by threads

    def __call__(self, text: str) -> list[str]:
        words = [word for word in _WORD.findall(_folded(text)) if word not in STOP_WORDS]
        stemmed: list[str] = self._stemmer().stemWords(words)
        return stemmed

    def _stemmer(self) -> Any:
        if not hasattr(self._own, "stemmer"):
            import Stemmer

            self._own.stemmer = Stemmer.Stemmer("english")
        return self._own.stemmer


class EastAsian:
    """Chinese, Japanese and Korean: every character and every pair of neighbours; other scripts as words.

    Pairs stand for the words that no space marks, single characters for words of one: Lucene's CJKBigramFilter with
    `outputUnigrams`.
    """

    name = "cjk"

    def __call__(self, text: str) -> list[str]:
        tokens: list[str] = []
        for run, word in _RUN.findall(_folded(text)):
            if word:
                tokens.append(word)
            else:
                tokens.extend(run)
                tokens.extend(map("".join, pairwise(run)))
        return tokens


ANALYSERS: Mapping[str, Callable[[], Analyser]] = {kind.name: kind for kind in (English, EastAsian, Words)}


def open_analyser(name: str) -> Analyser:
    """The analyser of this name. raises ConfigError for names that this build does not know"""
    if name not in ANALYSERS:
        raise ConfigError(f"`analyser` is {name!r}; must be one of {', '.join(ANALYSERS)}.")
    return ANALYSERS[name]()


def analyser_for(texts: Iterable[str]) -> Analyser:
    """The analyser that suits these texts, by the beginnings of the first thousand of them.

    Chinese, Japanese and Korean by their letters, English by its commonest words; `words` for everything else.
    """
    sample = [_folded(text[:SAMPLE_CHARACTERS]) for text in islice(texts, SAMPLE)]
    letters = sum(map(str.isalpha, chain.from_iterable(sample)))
    east_asian = sum(len(run) for text in sample for run, _ in _RUN.findall(text))
    if east_asian > EAST_ASIAN_SHARE * letters:
        return EastAsian()
    words = [word for text in sample for word in _WORD.findall(text)]
    common = sum(word in ENGLISH_WORDS for word in words)
    return English() if common > ENGLISH_SHARE * len(words) else Words()


def _folded(text: str) -> str:
    """One form of each letter: full-width as usual width, lower case, a plain apostrophe."""
    return unicodedata.normalize("NFKC", text).lower().replace("’", "'")
