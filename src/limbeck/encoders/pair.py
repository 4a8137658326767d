"""A transformer that reads a query and a document together and gives the pair a score: a cross-encoder.

Letters: P pairs, T tokens, d width.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

import numpy as np

from limbeck.encoders.pair_pooling import (
    DOCUMENT,
    QUERY,
    PairTokens,
    Pooling,
    Separator,
    first_token,
    segment_mean,
    separator,
)
from limbeck.encoders.pair_tokens import PairTokenizer
from limbeck.encoders.precision import Chosen, chosen, multiplying_in
from limbeck.encoders.saved import SETTINGS, TOKENIZER, check_files, read_settings, write_settings
from limbeck.encoders.texts import longest_first
from limbeck.errors import ConfigError, CorruptArtefact
from limbeck.storage.hashing import sha256_file
from limbeck.storage.whole import replaced_folder
from limbeck.types import Floats

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from limbeck.encoders.precision import Precision
    from limbeck.encoders.sentence import SentenceEncoder

KIND = "pair"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
_READING = ("max_length", "pad", "reads_types")  # what a tokenizer of pairs is told
HEAD = "head."  # before the names of what stands behind the transformer


@dataclass(frozen=True, slots=True)
class PairReps:
    """What a reading of P pairs gives."""

    scores: Tensor  # [P] inner products of the two vectors
    query: Tensor  # [P, d] the query's vector in this pair; for "cls" the pair's
    document: Tensor  # [P, d] the document's; for "cls" the learned one, the same for all
    states: Tensor  # [P, T, d] of the last layer
    tokens: PairTokens


@dataclass(frozen=True, slots=True)
class PairVectors:
    """Scores and vectors of P pairs, in numpy."""

    scores: Floats  # [P]
    query: Floats  # [P, d]
    document: Floats  # [P, d]


class PairEncoder:
    """Trainable, and saved without pickle; dropout is off, as in the other students.

    cost  a pair of 100 tokens through 6 layers of width 384: 20 ms of a core in bfloat16, three times that to train
    """

    def __init__(
        self,
        model: Any,
        tokenizer: PairTokenizer,
        head: Mapping[str, Parameter],
        *,
        pooling: Pooling,
        closing: Separator,
        precision: Chosen,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.head = dict(head)
        self.pooling = pooling
        self.closing = closing
        self.precision = precision

    @classmethod
    def start(
        cls,
        teacher: SentenceEncoder,
        *,
        pooling: Pooling = "dual-mean",
        closing: Separator = "query",
        max_length: int = 128,
        seed: int = 0,
        precision: Precision = "auto",
    ) -> Self:
        """A copy of the teacher's transformer, as trained so far, under a new head.

        A segment's weights start equal; the vector of "cls" starts small and random.

        closing  whose [SEP] the document's vector is taken from, for "dual-special"
        raises   ConfigError for a pooling that there is not, and a length that the model cannot read
        """
        _check_pooling(pooling, closing)
        source = teacher.in_float32().model[0]
        model = copy.deepcopy(source.model).eval()
        for parameter in model.parameters():
            parameter.requires_grad_()
        tokenizer = _tokenizer(source.tokenizer, model.config, max_length=max_length)
        head = _head(pooling, int(model.config.hidden_size), seed=seed)
        return cls(model, tokenizer, head, pooling=pooling, closing=closing, precision=chosen(precision))

    def read(self, tokens: PairTokens) -> PairReps:
        """With gradient where it is on. The transformer computes in `precision`, what stands behind it in float32."""
        inputs = {"input_ids": tokens.ids, "attention_mask": tokens.mask.long()}
        if self.tokenizer.reads_types:
            inputs["token_type_ids"] = tokens.types
        with self._computing():
            states = self.model(**inputs).last_hidden_state
        states = states.float()
        query, document = self._pooled(states, tokens)
        return PairReps((query * document).sum(dim=-1), query, document, states, tokens)

    def score(self, queries: Sequence[str], documents: Sequence[str], *, batch_size: int = 32) -> Floats:
        """[P] scores of query i with document i; batches sorted by length."""
        scores = np.empty(len(queries), np.float32)
        for rows, reps in self._batches(queries, documents, batch_size):
            scores[rows] = reps.scores.numpy()
        return scores

    def vectors(
        self, queries: Sequence[str], documents: Sequence[str], *, batch_size: int = 32
    ) -> PairVectors:
        """Scores and both vectors of query i with document i. 8·d bytes a pair."""
        shape = (len(queries), int(self.model.config.hidden_size))
        found = PairVectors(
            np.empty(shape[:1], np.float32), np.empty(shape, np.float32), np.empty(shape, np.float32)
        )
        for rows, reps in self._batches(queries, documents, batch_size):
            found.scores[rows] = reps.scores.numpy()
            found.query[rows] = reps.query.numpy()
            found.document[rows] = reps.document.numpy()
        return found

    def groups(self) -> dict[str, list[Parameter]]:
        """The token vectors, the rest of the transformer, and the head."""
        tokens = list(self.model.get_input_embeddings().parameters())
        known = {id(parameter) for parameter in tokens}
        layers = [parameter for parameter in self.model.parameters() if id(parameter) not in known]
        groups = {"tokens": tokens, "layers": layers, "head": list(self.head.values())}
        return {name: parameters for name, parameters in groups.items() if parameters}

    @property
    def token_vectors(self) -> Tensor:
        """[V, d]: the vocabulary, as the model reads it."""
        vectors: Tensor = self.model.get_input_embeddings().weight
        return vectors

    @property
    def digest(self) -> str:
        """sha256 hex over every number and all that decides how pairs are read."""
        digest = hashlib.sha256(repr(sorted(self._settings().items())).encode())
        for name, tensor in sorted(self._tensors().items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """A folder that appears whole or not at all; an older one is replaced."""
        from safetensors.torch import save_file

        with replaced_folder(folder) as part:
            save_file(self._tensors(), part / WEIGHTS)
            self.tokenizer.tokenizer.save(str(part / TOKENIZER))
            self.model.config.to_json_file(str(part / CONFIG), use_diff=False)
            files = {name: sha256_file(part / name) for name in (WEIGHTS, TOKENIZER, CONFIG)}
            write_settings(part, {"kind": KIND, **self._settings(), "files": files})

    @classmethod
    def open(cls, folder: Path | str, *, precision: Precision = "auto") -> Self:
        """The cross-encoder saved in the folder, after its files passed their sha256.

        raises  CorruptArtefact if a file is missing or differs, VersionMismatch for another format
        """
        from tokenizers import Tokenizer
        from transformers import AutoConfig, AutoModel

        folder = Path(folder)
        settings = _checked_settings(folder)
        model = AutoModel.from_config(AutoConfig.from_pretrained(str(folder), local_files_only=True)).eval()
        tokenizer = PairTokenizer(
            Tokenizer.from_file(str(folder / TOKENIZER)), **{name: settings[name] for name in _READING}
        )
        pooling, closing = settings["pooling"], settings["closing"]
        head = _head(pooling, int(model.config.hidden_size), seed=0)
        found = cls(model, tokenizer, head, pooling=pooling, closing=closing, precision=chosen(precision))
        _fill(found, folder / WEIGHTS)
        return found

    def _pooled(self, states: Tensor, tokens: PairTokens) -> tuple[Tensor, Tensor]:
        if self.pooling == "cls":
            return first_token(states), self.head["vector"].expand(len(states), -1)
        if self.pooling == "dual-special":
            return first_token(states), separator(states, tokens, self.closing)
        sides = (("query", QUERY), ("document", DOCUMENT))
        query, document = (
            segment_mean(states, states @ self.head[name], tokens.segments == segment)
            for name, segment in sides
        )
        return query, document

    def _batches(
        self, queries: Sequence[str], documents: Sequence[str], batch_size: int
    ) -> Iterator[tuple[np.ndarray, PairReps]]:
        import torch

        order = longest_first([query + document for query, document in zip(queries, documents, strict=True)])
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            tokens = self.tokenizer([queries[row] for row in rows], [documents[row] for row in rows])
            with torch.no_grad():
                yield rows, self.read(tokens)

    def _computing(self) -> AbstractContextManager[None]:
        device = self.token_vectors.device.type
        return multiplying_in(self.precision, device=device)

    def _settings(self) -> dict[str, Any]:
        own = {name: getattr(self.tokenizer, name) for name in _READING}
        return {"pooling": self.pooling, "closing": self.closing, **own}

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {name: tensor.detach().contiguous() for name, tensor in self.model.state_dict().items()}
        return tensors | {
            HEAD + name: parameter.detach().contiguous() for name, parameter in self.head.items()
        }


def _check_pooling(pooling: str, closing: str) -> None:
    if pooling not in get_args(Pooling) or closing not in get_args(Separator):
        raise ConfigError(
            f"`pooling` must be one of {get_args(Pooling)} and `closing` one of {get_args(Separator)}; "
            f"found {pooling!r} and {closing!r}."
        )


def _checked_settings(folder: Path) -> dict[str, Any]:
    """Of a saved cross-encoder, after its files passed their sha256."""
    settings = read_settings(folder)
    try:
        if settings["kind"] != KIND or not all(isinstance(settings[name], int) for name in _READING):
            raise TypeError(f"kind {settings['kind']!r}")
        _check_pooling(settings["pooling"], settings["closing"])
        files = {name: str(settings["files"][name]) for name in (WEIGHTS, TOKENIZER, CONFIG)}
    except (KeyError, TypeError, ConfigError) as error:
        raise CorruptArtefact(
            f"{folder / SETTINGS}: no settings of a cross-encoder: {error!r}.\n\n"
            "Hint: give a folder that `PairEncoder.save` wrote."
        ) from error
    check_files(folder, files)
    return settings


def _tokenizer(outer: Any, config: Any, *, max_length: int) -> PairTokenizer:
    from tokenizers import Tokenizer

    limit = min(int(outer.model_max_length), int(config.max_position_embeddings))
    if max_length > limit:
        raise ConfigError(f"`max_length` must be at most {limit} for this model; found {max_length}.")
    reads_types = "token_type_ids" in outer.model_input_names and getattr(config, "type_vocab_size", 0) > 1
    inner = Tokenizer.from_str(outer.backend_tokenizer.to_str())
    return PairTokenizer(inner, max_length=max_length, pad=int(outer.pad_token_id), reads_types=reads_types)


def _head(pooling: Pooling, width: int, *, seed: int) -> dict[str, Parameter]:
    import torch

    if pooling == "cls":
        drawn = torch.randn(width, generator=torch.Generator().manual_seed(seed))
        return {"vector": torch.nn.Parameter(0.02 * drawn)}  # 0.02: BERT's own initial spread
    if pooling == "dual-special":
        return {}
    return {name: torch.nn.Parameter(torch.zeros(width)) for name in ("query", "document")}


def _fill(encoder: PairEncoder, path: Path) -> None:
    """Every tensor of the file into its parameter."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        own = {name.removeprefix(HEAD): tensors.pop(name) for name in list(tensors) if name.startswith(HEAD)}
        encoder.model.load_state_dict(tensors)
        with torch.no_grad():
            for name, parameter in encoder.head.items():
                parameter.copy_(own[name])
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise CorruptArtefact(f"{path} does not hold this cross-encoder: {str(error)[:200]}") from error
