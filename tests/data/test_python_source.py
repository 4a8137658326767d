from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.data.near_copies import NearCopies, normalised_tokens, sketch
from limbeck.data.python_source import MAX_CODE, first_sentence, normalised_query, snippets_of

SOURCE = b'''
"""A module of examples."""
import os
from typing import overload


class Shelf:
    """A place where many books can stand."""

    size = 3  # boards

    def add(self, book):
        """Put one more book on the shelf. It must fit.

        More words.
        """
        # heavy books go to the bottom
        self.books.append(book)

        return len(self.books)

    @property
    def width(self):
        """The width of the whole shelf in metres."""
        total = sum(book.width for book in self.books)
        return total

    @width.setter
    def width(self, value):
        """Set the width of the whole shelf in metres."""
        self.value = value
        self.changed = True

    class Board:
        """One board of the shelf, made of wood."""

        def sand(self):
            "Sand it."
            pass


@overload
def move(a: int) -> int:
    """Move one shelf to another place in here."""
    x = 1
    return x


async def move(a):
    """Move some shelf to another place in here."""
    def inner():
        """Say what nobody outside of here can see."""
        return 1
    await inner()
    return a


def repeated(a):
    """Say the same thing in two places."""
    # Say the same thing in two places.
    print(a)
    return a


def one_line(a): """Everything stands on one line in here."""


if os.name == "posix":
    def chosen():
        """Exists on some systems but not on all."""
        first = 1
        return first
else:
    def chosen():
        """Exists on other systems but not on all."""
        first = 2
        return first


def short(a):
    """Give back what was given to it."""
    return a
'''


def test_functions_methods_and_classes_come_with_their_first_sentence():
    found = {snippet.name: snippet for snippet in snippets_of(SOURCE, "home.shelf")}
    assert {name: snippet.query for name, snippet in found.items() if "chosen" not in name} == {
        "home.shelf.Shelf": "A place where many books can stand.",
        "home.shelf.Shelf.add": "Put one more book on the shelf.",
        "home.shelf.Shelf.width": "The width of the whole shelf in metres.",
        "home.shelf.Shelf.Board": "One board of the shelf, made of wood.",
        "home.shelf.move": "Move some shelf to another place in here.",
    }
    assert found["home.shelf.Shelf.add"].code == (
        "def add(self, book):\n    # heavy books go to the bottom\n"
        "    self.books.append(book)\n    return len(self.books)"
    )
    assert found["home.shelf.Shelf.width"].code.startswith("@property\ndef width(self):\n    total")


def test_no_docstring_at_any_depth_stays_in_the_code():
    for snippet in snippets_of(SOURCE, "home.shelf"):
        for words in ("many books", "one more book", "nobody outside", "whole shelf", "Sand it"):
            assert words not in snippet.code


def test_long_code_is_cut_and_code_that_does_not_parse_gives_nothing():
    body = "".join(f"    x{n} = {n}\n" for n in range(2_000))
    source = f'def long(a):\n    """Do very many small things in turn."""\n{body}'
    assert len(snippets_of(source.encode(), "m")[0].code) == MAX_CODE
    for bad in (b"def broken(:", b"\xff\xfe", b"x = '\0'", b"(" * 5_000):
        assert snippets_of(bad, "m") == []


@pytest.mark.parametrize(
    ("docstring", "query"),
    [
        ("Return the sum of all numbers.", "Return the sum of all numbers."),
        ("Return the sum, e.g. of numbers. More.", "Return the sum, e.g. of numbers."),
        ("\n    Return the sum\n    of all numbers\n\n    Args: x", "Return the sum of all numbers"),
        ("add(a, b) -> int\n\nReturn the sum of both numbers.", "Return the sum of both numbers."),
        ("Wrap :class:`~torch.nn.Module` and ``x`` in one.", "Wrap Module and x in one."),
        ("Wrap [`~models.Bert`] and [text](http) in one.", "Wrap Bert and text in one."),
        ("Too short here.", None),
        ("word " * 33, None),
        (".. deprecated:: 1.0 use something else instead", None),
        ("This function is deprecated since version two.", None),
        (">>> add(1, 2) gives three as result", None),
        ("Alias for the function of another name.", None),
        ("size (int, optional): how many of them there are", None),
        ("Template for %(name)s with four more words.", None),
        ("1 2 3 4 5 6 7 8 9 10 11", None),
        ("返回所有 数字 的 总和 结果", None),
        ("", None),
    ],
)
def test_first_sentences_are_plain_words_or_nothing(docstring, query):
    assert first_sentence(docstring) == query


@given(st.text(max_size=200))
def test_any_docstring_gives_a_usable_sentence_or_none(docstring):
    sentence = first_sentence(docstring)
    assert sentence is None or 4 <= len(sentence.split()) <= 32


def test_queries_are_compared_by_their_letters():
    assert normalised_query("Return the (2) Sums!") == normalised_query("return  the sums")


def jaccard(first, second):
    runs = [{tuple(tokens[i : i + 5]) for i in range(len(tokens) - 4)} for tokens in (first, second)]
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])


@pytest.mark.parametrize("changes", [0, 1, 3, 10, 30])
def test_sketches_estimate_the_overlap(changes):
    rng = np.random.default_rng(changes)
    first = [f"t{n}" for n in rng.integers(0, 80, 300)]
    second = [*first]
    for place in rng.choice(300, changes, replace=False):
        second[place] = "other"
    a, b = (np.frombuffer(bytes.fromhex(sketch(tokens)[1]), "<u4") for tokens in (first, second))
    assert (a == b).mean() == pytest.approx(
        jaccard(first, second), abs=0.2
    )  # 3.3 standard errors of 64 hashes


def test_copies_under_other_names_are_found_and_others_are_not():
    code = "class {0}MLP(nn.Module):\n    def forward(self, x):\n        # {0} only\n" + "".join(
        f"        x{n} = self.layer{n}(x + {n})\n" for n in range(12)
    )
    llama, mistral = (
        sketch(normalised_tokens(code.format(name), own_name=f"{name}MLP")) for name in ("Llama", "Mistral")
    )
    assert llama == mistral
    copies = NearCopies()
    assert not copies.is_copy(*llama)
    assert copies.is_copy(*mistral)
    nearly = code.format("Qwen").replace("x3 + 3", "y").replace("self.layer5(x + 5)", "self.gate(x)")
    assert copies.is_copy(*sketch(normalised_tokens(nearly, own_name="QwenMLP")))
    own = Path(__file__).read_text(encoding="utf-8")
    assert not copies.is_copy(*sketch(normalised_tokens(own, own_name="x")))


def test_short_code_is_a_copy_only_when_equal():
    copies = NearCopies()
    assert not copies.is_copy(*sketch(["return", "a"]))
    assert not copies.is_copy(*sketch(["return", "b"]))
    assert copies.is_copy(*sketch(["return", "a"]))
