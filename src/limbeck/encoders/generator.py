"""An encoder-decoder that says queries again, a little otherwise: BART, T5, or one of our own.

Letters: B texts, n tokens, d width of the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.encoders.masking import marks_of, masked
from limbeck.encoders.precision import chosen, multiplying_in
from limbeck.encoders.sentence import no_loading_bars
from limbeck.encoders.texts import TextList, check_texts
from limbeck.encoders.tokens import TokenLists, padded
from limbeck.errors import ConfigError
from limbeck.storage.whole import replaced_folder
from limbeck.types import Reps, Rows

if TYPE_CHECKING:
    from torch import Tensor

MOST_TOKENS = 64  # kept of a query
SHARED = (
    "decoder.bert.embeddings.word_embeddings.weight"  # with the encoder, in our own: files hold two copies
)
TOGETHER = 32  # texts padded to one length
LONGER = 8  # tokens by which a text may outgrow the one that it is made from


class QueryGenerator:
    """Any encoder-decoder of transformers with its tokenizer, on the CPU, without dropout.

    Computes in bfloat16 where the processor multiplies it itself; noise is drawn and added in float32.
    cost  of a new text: one encoding, and one pass of the decoder for each of its tokens
    """

    def __init__(self, model: Any, tokenizer: Any, *, most_tokens: int = MOST_TOKENS) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.most_tokens = most_tokens
        self._marks = marks_of(tokenizer)
        self._special = np.array(sorted(tokenizer.all_special_ids))
        self._start = _setting(model, "decoder_start_token_id")
        self._pad, self._end = int(tokenizer.pad_token_id), _end(tokenizer)

    @classmethod
    def open(cls, folder: Path | str, *, most_tokens: int = MOST_TOKENS) -> QueryGenerator:
        """What `save` wrote, or `save_pretrained` of a BART or T5. Reads safetensors, never pickles.

        raises  ConfigError when the folder holds no encoder-decoder in safetensors
        """
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        folder = Path(folder)
        if not any(folder.glob("*.safetensors")):
            raise ConfigError(
                f"{folder}: has no weights in safetensors; expected the folder of an encoder-decoder.\n\n"
                "Hint: `model.save_pretrained(folder)` writes one, and `tokenizer.save_pretrained(folder)` beside it."
            )
        safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
            with no_loading_bars():
                model = AutoModelForSeq2SeqLM.from_pretrained(
                    folder, use_safetensors=True, dtype="float32", **safe
                )
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(
                f"{folder}: expected an encoder-decoder such as BART or T5 with its tokenizer; "
                f"found something else: {str(error).splitlines()[0]}"
            ) from error
        return cls(model, tokenizer, most_tokens=most_tokens)

    def save(self, folder: Path | str) -> None:
        """Model and tokenizer, as transformers reads them too. The folder appears whole or not at all."""
        numbers = self.model.state_dict()
        if SHARED in numbers:
            numbers[SHARED] = numbers[SHARED].clone()
        with replaced_folder(folder) as part, no_loading_bars():
            self.model.save_pretrained(part, state_dict=numbers)
            self.tokenizer.save_pretrained(part)

    def tokens(self, texts: Sequence[str]) -> TokenLists:
        """What the model reads of each text: at most `most_tokens`, the special ones among them."""
        from tokenizers import Tokenizer

        check_texts(texts)
        tokenizer = Tokenizer.from_str(self.tokenizer.backend_tokenizer.to_str())
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.most_tokens)
        return TokenLists.of(tokenizer, TextList(texts))

    def plain(self, tokens: TokenLists) -> list[str]:
        """The texts of tokens without the special ones: what a perfect repetition says."""
        cut = (tokens.numbers[a:b].tolist() for a, b in zip(tokens.starts, tokens.starts[1:], strict=False))
        return [self._text(numbers) for numbers in cut]

    def masked(self, tokens: TokenLists, share: float, draws: Sequence[np.random.Generator]) -> TokenLists:
        """The tokens with some of them masked, special ones never."""
        return masked(tokens, share, draws, marks=self._marks, special=self._special)

    def states(
        self, tokens: TokenLists, *, masked: float, noise: float, draws: Sequence[np.random.Generator]
    ) -> Reps:
        """What the decoder sees [B, n, d]: the encoder's output for tokens some of which are masked, and noise on it.

        noise  standard deviation of the Gaussian noise
        draws  one a text, so that what a text becomes does not hang on the texts beside it
        """
        import torch

        if noise < 0:
            raise ConfigError(f"noise is a standard deviation, 0 or more; found {noise}.")
        read = self.masked(tokens, masked, draws)
        lengths = np.diff(tokens.starts)
        longest = int(lengths.max(initial=1))
        groups, parts = _alike(lengths), []
        for rows in groups:
            ids, mask = padded(read.take(rows), self._pad)
            with multiplying_in(chosen("auto")):
                hidden = self.model.get_encoder()(
                    input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)
                ).last_hidden_state.float()
            if noise:
                hidden = hidden + noise * _gaussian([draws[row] for row in rows], lengths[rows], hidden)
            parts.append(torch.nn.functional.pad(hidden, (0, 0, 0, longest - hidden.shape[1])))
        there = np.arange(longest) < lengths[:, None]
        return Reps(_in_order(parts, groups), mask=torch.from_numpy(there))

    def log_likelihoods(self, states: Reps, tokens: TokenLists) -> Tensor:
        """[B] nats a token: how likely the decoder says these tokens, each after the ones before it."""
        import torch

        assert states.mask is not None
        groups, parts = _alike(np.diff(tokens.starts)), []
        for rows in groups:
            said, there = padded(tokens.take(rows), self._pad)
            longest = there.shape[1]
            if (said[:, 0] == self._start).all():  # it stands before the first token in any case
                said, there = said[:, 1:], there[:, 1:]
            before = np.concatenate([np.full((len(rows), 1), self._start), said[:, :-1]], axis=1)
            heard = (part[torch.from_numpy(rows), :longest] for part in (states.vectors, states.mask))
            with multiplying_in(chosen("auto")):
                logits = self.model(
                    **_encoded(*heard),
                    decoder_input_ids=torch.from_numpy(before),
                    use_cache=False,
                ).logits
            each = torch.nn.functional.cross_entropy(
                logits.float().flatten(0, 1), torch.from_numpy(said).flatten(), reduction="none"
            )
            counted = torch.from_numpy(there)
            parts.append(-(each.view(counted.shape) * counted).sum(dim=1) / counted.sum(dim=1))
        return _in_order(parts, groups)

    def said(self, states: Reps) -> list[str]:
        """[B] what the decoder says, the likeliest token each time."""
        import torch
        from transformers import GenerationConfig

        settings = GenerationConfig(
            max_new_tokens=states.vectors.shape[1] + LONGER,
            use_cache=True,
            do_sample=False,
            num_beams=1,
            decoder_start_token_id=self._start,
            eos_token_id=self._end,
            pad_token_id=self._pad,
        )
        with torch.no_grad(), multiplying_in(chosen("auto")):
            found = self.model.generate(**_encoded(states.vectors, states.mask), generation_config=settings)
        return [self._text(numbers) for numbers in found.tolist()]

    def again(
        self,
        texts: Sequence[str],
        *,
        masked: float = 0.1,
        noise: float = 0.0,
        seed: int = 0,
        batch_size: int = 128,
        progress: bool = False,
    ) -> list[str]:
        """A new text for each, in their order; the same seed gives the same."""
        import torch
        from tqdm import tqdm

        tokens = self.tokens(texts)
        order = np.argsort(-np.diff(tokens.starts), kind="stable")  # what does not fit fails at once
        found = [""] * len(order)
        shown = tqdm(
            total=len(order), desc="queries", unit="query", delay=2, disable=None if progress else True
        )
        with shown, torch.no_grad():
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                draws = [np.random.default_rng((seed, row)) for row in rows]
                states = self.states(tokens.take(rows), masked=masked, noise=noise, draws=draws)
                for row, text in zip(rows, self.said(states), strict=True):
                    found[row] = text
                shown.update(len(rows))
        return found

    def repeated(self, texts: Sequence[str]) -> float:
        """The share of texts that come back unchanged where nothing is masked and no noise is added."""
        wanted = self.plain(self.tokens(texts))
        said = self.again(texts, masked=0.0)
        return float(np.mean([a == b for a, b in zip(wanted, said, strict=True)]))

    def _text(self, numbers: list[int]) -> str:
        text: str = self.tokenizer.decode(numbers, skip_special_tokens=True)
        return " ".join(text.split())


def _alike(lengths: Rows) -> list[Rows]:
    """Rows of like length, TOGETHER at a time."""
    order = np.argsort(lengths, kind="stable")
    return [order[start : start + TOGETHER] for start in range(0, len(order), TOGETHER)]


def _in_order(parts: Sequence[Tensor], groups: Sequence[Rows]) -> Tensor:
    """What was computed group by group, in the order of the rows."""
    import torch

    return torch.cat(list(parts))[torch.from_numpy(np.argsort(np.concatenate(groups)))]


def _gaussian(draws: Sequence[np.random.Generator], lengths: Rows, like: Tensor) -> Tensor:
    """Noise [B, n, d] of standard deviation 1; 0 behind the end of a text."""
    import torch

    noise = np.zeros(like.shape, dtype=np.float32)
    for row, (draw, length) in enumerate(zip(draws, lengths, strict=True)):
        noise[row, :length] = draw.standard_normal((length, like.shape[-1]), dtype=np.float32)
    return torch.from_numpy(noise)


def _encoded(vectors: Tensor, mask: Any) -> dict[str, Any]:
    """What an encoder-decoder takes in the place of texts."""
    from transformers.modeling_outputs import BaseModelOutput

    return {"encoder_outputs": BaseModelOutput(last_hidden_state=vectors), "attention_mask": mask.long()}


def _end(tokenizer: Any) -> int:
    """The token that ends a text: BERT's tokenizer calls it the separator."""
    end = tokenizer.eos_token_id
    return int(tokenizer.sep_token_id if end is None else end)


def _setting(model: Any, name: str) -> int:
    """A number from the model's settings, wherever this version of transformers keeps it."""
    for settings in (model.config, model.generation_config):
        value = getattr(settings, name, None)
        if value is not None:
            return int(value)
    raise ConfigError(
        f"this model does not say its `{name}`; expected an encoder-decoder such as BART or T5."
    )
