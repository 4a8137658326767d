"""Analysers: which tokens a text becomes, and which analyser suits which texts."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.errors import ConfigError
from limbeck.text import ANALYSERS, analyser_for, open_analyser
from limbeck.text.analysers import LONGEST, STOP_WORDS

ENGLISH, CJK, WORDS = (open_analyser(name) for name in ("english", "cjk", "words"))


@pytest.mark.parametrize("name", ANALYSERS)
def test_an_analyser_is_opened_by_the_name_it_says(name):
    assert open_analyser(name).name == name


def test_a_name_that_is_not_known_is_refused_with_those_that_are():
    with pytest.raises(ConfigError, match="english, cjk, words"):
        open_analyser("klingon")


def test_english_words_are_stemmed_and_the_commonest_left_out():
    text = "The stemming of Stems: what ARE Parkinson’s symptoms in IL-2?"
    assert ENGLISH(text) == ["stem", "stem", "what", "parkinson", "symptom", "il", "2"]
    assert ENGLISH(" ".join(STOP_WORDS)) == []


def test_words_keep_their_ends_their_accents_and_their_vowel_signs():
    assert WORDS("Naïve ÉCOLES; os_path, don't") == ["naïve", "écoles", "os", "path", "don't"]
    assert WORDS("हिन्दी में।") == ["हिन्दी", "में"]


def test_east_asian_runs_become_characters_and_pairs_and_others_words():
    assert CJK("東京塔、GPT4 is") == ["東", "京", "塔", "東京", "京塔", "gpt4", "is"]
    assert CJK("タワー・ガ") == ["タ", "ワ", "ー", "タワ", "ワー", "ガ"]  # the dot is no letter
    assert CJK("ﾀﾜｰ") == CJK("タワー")
    assert CJK("𠮷野") == ["𠮷", "野", "𠮷野"]


@given(st.text(max_size=60))
def test_tokens_hold_letters_and_digits_only(text):
    for token in WORDS(text):
        assert token
        assert not any(letter.isspace() or letter in "_-.,;:!?/" for letter in token)


@given(st.text(st.characters(max_codepoint=0x24F), max_size=60))
def test_tokens_are_their_own_tokens(text):
    assert WORDS(" ".join(WORDS(text))) == WORDS(text)


@given(st.text(alphabet="中文日本語", max_size=30))
def test_a_run_of_n_characters_gives_n_of_them_and_one_pair_less(text):
    naive = [*text, *(text[place : place + 2] for place in range(len(text) - 1))]
    assert CJK(text) == naive


@pytest.mark.parametrize("name", ANALYSERS)
@pytest.mark.parametrize("text", ["a" * 100_000, "'a" * 50_000, "a' " * 30_000])
def test_endless_words_are_cut(name, text):
    tokens = open_analyser(name)(text)
    assert max(map(len, tokens), default=0) <= 2 * LONGEST + 1
    assert len(tokens) <= len(text)


def test_threads_get_the_tokens_that_one_gets():
    texts = [f"running {number} runners were happily connected{'s' * (number % 3)}" for number in range(500)]
    expected = [ENGLISH(text) for text in texts]
    found = {}

    def work(thread):
        found[thread] = [ENGLISH(text) for text in texts]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(tokens == expected for tokens in found.values())
    assert len(found) == 4


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (["List the files of a folder and sort them by size"], "english"),
        (["Zeige jede Datei dieser Mappe", "Wer war das?"], "words"),
        (["Les fichiers de ce dossier, triés par taille"], "words"),
        (["列出文件夹中的所有文件，按大小排序"], "cjk"),
        (["フォルダーのファイルを GNU ls で並べる"], "cjk"),
        (["the end of 東京 and of the tower"], "english"),
        ([], "words"),
        (["", "--- 12 34"], "words"),
    ],
)
def test_the_analyser_is_guessed_from_the_texts(texts, name):
    assert analyser_for(texts).name == name


def test_no_more_than_a_sample_is_read():
    def texts():
        yield from ["of the word"] * 1000
        raise AssertionError("one too many")

    assert analyser_for(texts()).name == "english"
