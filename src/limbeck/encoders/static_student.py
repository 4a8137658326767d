"""A static encoder in training: a vector, a weight and a gate for each token, and one linear map of their sum.

The map is what tokens share, so it also moves those that no training text has. Sums and maps commute: at the end it is
multiplied into the token vectors, and costs nothing at query time; narrow token vectors keep it, as a projection with
orthonormal columns. The gate is what a sum cannot know: how much a token
counts beside these others (an attention of all tokens by their sum).

Letters: V tokens of the vocabulary, U of them in the training texts, d dimension, w width of a token vector, r numbers
of a gate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.encoders.static import POOLING, StaticEncoder, TokenTable
from limbeck.encoders.tokens import TokenLists, vocabulary_size
from limbeck.errors import ConfigError
from limbeck.storage.cache import cache_root
from limbeck.storage.whole import replaced_file
from limbeck.types import Batch, Floats, Reps

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor
    from torch.nn import Parameter

    from limbeck.encoders.sentence import SentenceEncoder

RARE = 1e-3  # a token as frequent as this weighs half: smooth inverse frequency (Arora et al., 2017)
LOOK = 0.5  # size of the numbers that a text is looked at with, at the start
BATCH = 1024


class StaticStudent:
    """Trains from token lists, by the rows of a batch.

    Starts from the teacher's own vector of each token alone, weighted by how rare the token is.
    cost  of a step: n·(d² + d + r) multiply-adds a text, and Adam over U·(d + r) numbers
    """

    def __init__(
        self,
        texts: TokenLists,
        vectors: Floats,
        *,
        unit: bool,
        gate: int = 64,
        width: int | None = None,
        seed: int = 0,
    ) -> None:
        """Vectors [V, d] to start from; unit: the teacher's vectors have length 1, so these get it too; gate: r.

        width   w, principal axes of the vectors; None = d
        raises  ConfigError where there are no such axes
        """
        import torch

        self.unit = unit
        self.is_narrow = width is not None
        axes = _axes(vectors, width)  # [d, w]
        vectors = vectors if width is None else vectors @ axes
        self._start = vectors
        self.size = float(np.sqrt(np.square(vectors).mean()))  # of a number: rates are relative to it
        self._used, places = np.unique(texts.numbers, return_inverse=True)
        self._places = TokenLists(places.astype(np.int32), texts.starts)
        counts = np.bincount(places, minlength=len(self._used))
        rarity = np.log(RARE / (RARE + counts / counts.sum())).astype(np.float32)
        self.vectors = torch.nn.Parameter(torch.tensor(vectors[self._used]))  # [U, w]
        self.log_weights = torch.nn.Parameter(torch.tensor(rarity))  # [U]
        self.map = torch.nn.Parameter(torch.tensor(axes))  # [d, w]
        self.gates = torch.nn.Parameter(torch.zeros(len(self._used), gate))  # [U, r]
        drawn = torch.randn(gate, len(axes), generator=torch.Generator().manual_seed(seed))
        self.look = torch.nn.Parameter(LOOK * drawn)  # [r, d]

    def forward(self, batch: Batch) -> Reps:
        """[B, 1, d] with gradient."""
        import torch
        from torch.nn.functional import embedding, embedding_bag, normalize

        chosen = self._places.take(np.asarray(batch.rows))
        numbers = torch.from_numpy(chosen.numbers).long()
        starts = torch.from_numpy(chosen.starts[:-1])
        owner = torch.repeat_interleave(torch.from_numpy(np.diff(chosen.starts)))
        # not self.log_weights[numbers]: the order in which threads add up that gradient is left to chance
        log_weights = embedding(numbers, self.log_weights[:, None])[:, 0]

        def added(weights: Tensor) -> Tensor:
            bag = embedding_bag(numbers, self.vectors, starts, mode="sum", per_sample_weights=weights)
            return bag @ self.map.T

        seen = normalize(added(log_weights.exp()), dim=1) @ self.look.T  # [B, r]
        counts = (embedding(numbers, self.gates) * embedding(owner, seen)).sum(dim=1)
        weights = (log_weights + counts).exp()
        total = added(weights)
        if self.unit:
            return Reps.single(normalize(total, dim=1))
        sums = torch.zeros(len(total)).index_add(0, owner, weights)
        return Reps.single(total / sums.clamp(min=1e-12)[:, None])

    def groups(self) -> Mapping[str, list[Parameter]]:
        return {
            "tokens": [self.vectors],
            "weights": [self.log_weights],
            "map": [self.map],
            "gates": [self.gates, self.look],
        }

    def served(self) -> tuple[TokenTable, Floats | None]:
        """All tokens as they are now, with the projection of narrow ones.

        A token that no training text has keeps its start and weighs as a rare one.
        """
        weights = np.ones(len(self._start), dtype=np.float32)
        weights[self._used] = np.exp(self.log_weights.detach().numpy())
        vectors = self._start.copy()
        vectors[self._used] = self.vectors.detach().numpy()
        gates = np.zeros((len(self._start), len(self.look)), dtype=np.float32)
        gates[self._used] = self.gates.detach().numpy()
        learned, look = self.map.detach().numpy(), self.look.detach().numpy()
        projection = None
        if (
            self.is_narrow
        ):  # lengths are then the same on both sides of the projection, and gates see what they saw
            projection, learned = np.linalg.qr(learned)
            look = look @ projection
        return TokenTable.rounded((vectors @ learned.T) * weights[:, None], weights, gates, look), projection

    def encoder(self, teacher: SentenceEncoder) -> StaticEncoder:
        """What answers queries: the table as it is now, in the teacher's space."""
        table, projection = self.served()
        digest = table.digest
        if projection is not None:
            digest = hashlib.sha256(digest.encode() + projection.tobytes()).hexdigest()
        fingerprint = replace(
            teacher.fingerprint,
            weights=digest,
            pooling=POOLING,
            prompts={},
            precision="int8",
        )
        return StaticEncoder(table, tokenizer_of(teacher), fingerprint, teacher.fingerprint, projection)


def _axes(vectors: Floats, width: int | None) -> Floats:
    return np.eye(vectors.shape[1], dtype=np.float32) if width is None else widest_axes(vectors, width)


def widest_axes(vectors: Floats, width: int) -> Floats:
    """[d, w]: the principal axes of the vectors [V, d], the widest first.

    raises  ConfigError unless w lies below d
    """
    check_width(width, vectors.shape[1])
    axes: Floats = np.linalg.eigh(vectors.T @ vectors)[1][:, ::-1][:, :width]
    return np.ascontiguousarray(axes)


def check_width(width: int | None, dim: int) -> None:
    """ConfigError unless a student's width lies below the teacher's; None is the teacher's."""
    if width is not None and not 1 <= width < dim:
        raise ConfigError(f"`width` must lie in 1..{dim - 1}, below the teacher's {dim}; found {width}.")


def tokenizer_of(teacher: SentenceEncoder) -> Tokenizer:
    """A copy of the teacher's tokenizer that cuts as the teacher does, and does not pad."""
    from tokenizers import Tokenizer

    outer: Any = teacher.model[0].tokenizer
    tokenizer = Tokenizer.from_str(outer.backend_tokenizer.to_str())
    tokenizer.no_padding()
    if teacher.fingerprint.max_length is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(teacher.fingerprint.max_length, direction=outer.truncation_side)
    return tokenizer


def token_vectors(teacher: SentenceEncoder, *, progress: bool = True) -> Floats:
    """[V, d]: the teacher's vector of each token alone, between its special tokens. Kept in the cache.

    cost  one encoding of V texts of one token: about a minute of a core for 30,000 tokens and 6 layers of width 384
    """
    alone = replace(teacher.fingerprint, prompts={}, max_length=None)  # what a single token depends on
    path = cache_root() / "token_vectors" / f"{alone.digest}.npy"
    if not path.exists():
        vectors = _encoded_tokens(teacher, progress=progress)
        with replaced_file(path) as part, part.open("wb") as file:
            np.save(file, vectors)
    stored: Floats = np.load(path)
    return stored


def _encoded_tokens(teacher: SentenceEncoder, *, progress: bool) -> Floats:
    import torch
    from tqdm import tqdm

    tokenizer = tokenizer_of(teacher)
    before, after = _frame(tokenizer)
    size = vocabulary_size(tokenizer)
    parts = []
    starts = range(0, size, BATCH)
    for start in tqdm(starts, desc="tokens", unit="batch", delay=2, disable=None if progress else True):
        numbers = torch.arange(start, min(start + BATCH, size))[:, None]
        ids = torch.cat(
            [
                torch.tensor([before]).expand(len(numbers), -1),
                numbers,
                torch.tensor([after]).expand(len(numbers), -1),
            ],
            dim=1,
        ).long()
        features = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if "token_type_ids" in teacher.model[0].tokenizer.model_input_names:
            features["token_type_ids"] = torch.zeros_like(ids)
        features = {name: tensor.to(teacher.model.device) for name, tensor in features.items()}
        with torch.no_grad():
            parts.append(teacher.model(features)["sentence_embedding"].float().cpu().numpy())
    return np.concatenate(parts)


def _frame(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text."""
    empty, one = tokenizer.encode("").ids, tokenizer.encode("a").ids
    before = 0
    while before < len(empty) and empty[before] == one[before]:
        before += 1
    return empty[:before], empty[before:]
