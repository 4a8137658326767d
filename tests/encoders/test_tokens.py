"""Token lists: the same tokens as the tokenizer's, whichever way they are cut, joined and taken."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from limbeck.encoders.texts import TextList
from limbeck.encoders.tokens import SLICE, TokenLists

WORDS = ["<none>", *"abcdefgh"]


@pytest.fixture(scope="module")
def tokenizer():
    made = Tokenizer(models.WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="<none>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def lists(tokens):
    return [tokens.numbers[a:b].tolist() for a, b in zip(tokens.starts[:-1], tokens.starts[1:], strict=True)]


def test_each_list_holds_the_tokens_of_its_text_over_slices_too(tokenizer):
    texts = [" ".join("abcdefgh"[: row % 9]) for row in range(SLICE + 7)]
    found = lists(TokenLists.of(tokenizer, TextList(texts)))
    assert found == [list(range(1, row % 9 + 1)) for row in range(SLICE + 7)]


def test_rows_are_taken_in_the_order_asked_for_and_more_than_once(tokenizer):
    tokens = TokenLists.of(tokenizer, TextList(["a b", "", "c", "d e f"]))
    assert lists(tokens.take(np.array([3, 1, 0, 3]))) == [[4, 5, 6], [], [1, 2], [4, 5, 6]]
    assert lists(tokens.take(np.array([], dtype=np.int64))) == []


def test_lists_are_joined_one_behind_the_other(tokenizer):
    left, right = (TokenLists.of(tokenizer, TextList(texts)) for texts in (["a", "b c"], ["", "d"]))
    both = TokenLists.concatenated([left, right])
    assert lists(both) == [[1], [2, 3], [], [4]]
    assert len(both) == 4
