"""A generator of our own, made from the teacher's weights: nothing needs to be downloaded for it."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.encoders.generator import MOST_TOKENS, QueryGenerator
from limbeck.encoders.sentence import SentenceEncoder
from limbeck.encoders.static_student import tokenizer_of
from limbeck.encoders.student_starts import with_layers
from limbeck.encoders.texts import TextList
from limbeck.encoders.tokens import TokenLists, vocabulary_size
from limbeck.errors import ConfigError
from limbeck.types import Rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_LETTERS = frozenset(map(chr, range(128)))


def generator_of(
    teacher: SentenceEncoder,
    texts: Sequence[str],
    *,
    encoder_layers: Sequence[int],
    decoder_layers: Sequence[int],
    most_tokens: int = MOST_TOKENS,
    seed: int = 0,
) -> QueryGenerator:
    """An untrained generator: encoder and decoder are layers of the teacher, from 0, with its token vectors.

    The decoder also attends to the encoder, to begin with as it attends to itself. Both share their token vectors, and
    so does the soft-max. Only tokens that occur in `texts` are kept, and single ASCII characters: the soft-max over the
    others would be most of the work.

    raises  ConfigError where the teacher is no BERT, or has no such layers
    """
    import torch
    from transformers import BertLMHeadModel, BertModel, EncoderDecoderModel

    whole = teacher.in_float32().model
    if not isinstance(whole[0].model, BertModel):
        raise ConfigError(
            f"a generator is made from a BERT; this teacher is a {type(whole[0].model).__name__}.\n\n"
            "Hint: give the folder of a BART or T5 as generator."
        )
    tokenizer, kept = used_tokenizer(teacher, texts)
    first = _small(with_layers(teacher, encoder_layers).model[0].model, kept)
    second = _small(with_layers(teacher, decoder_layers).model[0].model, kept)
    settings = copy.deepcopy(second.config)
    settings.is_decoder = settings.add_cross_attention = settings.tie_word_embeddings = True
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = EncoderDecoderModel(encoder=BertModel(first.config), decoder=BertLMHeadModel(settings))
    # only now: it draws whatever it takes for new
    model.encoder.load_state_dict(first.state_dict())
    decoder = model.decoder
    decoder.bert.load_state_dict(second.state_dict(), strict=False)
    for layer in decoder.bert.encoder.layer:
        layer.crossattention.load_state_dict(layer.attention.state_dict())
    decoder.bert.embeddings.word_embeddings = model.encoder.embeddings.word_embeddings
    decoder.tie_weights()
    model.config.decoder_start_token_id = tokenizer.cls_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    return QueryGenerator(model, tokenizer, most_tokens=most_tokens)


def used_tokenizer(teacher: SentenceEncoder, texts: Sequence[str]) -> tuple[PreTrainedTokenizerFast, Rows]:
    """The teacher's tokenizer with the tokens of these texts alone, and their old numbers.

    It cuts the texts as before: WordPiece takes the longest piece that it knows, and those are still known. Other
    tokenizers keep all they have.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    outer: Any = teacher.model[0].tokenizer
    state = json.loads(tokenizer_of(teacher).to_str())
    state["truncation"] = None
    kept = np.arange(vocabulary_size(tokenizer_of(teacher)))
    if state["model"]["type"] == "WordPiece":
        words = state["model"]["vocab"]
        occur = set(np.unique(TokenLists.of(tokenizer_of(teacher), TextList(texts)).numbers).tolist())
        occur |= {token["id"] for token in state["added_tokens"]}
        letters = {number for word, number in words.items() if word.removeprefix("##") in _LETTERS}
        kept = np.array(sorted((occur | letters) & set(words.values())))
        _renumber(state, {int(old): new for new, old in enumerate(kept)})
    names = ("cls_token", "sep_token", "pad_token", "mask_token", "unk_token")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        clean_up_tokenization_spaces=False,
        **{name: getattr(outer, name) for name in names},
    )
    return tokenizer, kept


def _renumber(state: dict[str, Any], numbers: dict[int, int]) -> None:
    """New numbers wherever a tokenizer's file speaks of tokens."""
    words = state["model"]["vocab"]
    state["model"]["vocab"] = {word: numbers[old] for word, old in words.items() if old in numbers}
    for token in state["added_tokens"]:
        token["id"] = numbers[token["id"]]
    frame = state["post_processor"]
    for token in frame.get("special_tokens", {}).values():
        token["ids"] = [numbers[old] for old in token["ids"]]
    for name in ("cls", "sep"):
        if name in frame:  # the older form: [word, number]
            frame[name][1] = numbers[frame[name][1]]


def _small(bert: Any, kept: Rows) -> Any:
    """A BERT with the vectors of these tokens alone, without dropout."""
    import torch

    vectors = bert.embeddings.word_embeddings.weight.detach()[torch.from_numpy(kept)].clone()
    bert.embeddings.word_embeddings = torch.nn.Embedding(len(kept), vectors.shape[1], _weight=vectors)
    bert.config.vocab_size = len(kept)
    bert.config.hidden_dropout_prob = bert.config.attention_probs_dropout_prob = 0.0
    return bert
