"""A static encoder: the vector of a text is a weighted sum of its tokens' vectors. numpy and tokenizers, without torch.

    encoder.json         what it is, whose space its vectors lie in, sha256 of the files
    tokenizer.json       the teacher's, with special tokens: they are the vector of an empty text
    tokens.safetensors   a vector, a weight and a gate for each token: `TokenTable`; the projection of a narrow one

A narrow table has token vectors of width w < d, and a projection P with orthonormal columns to the documents' space:
<P·e, x> = <e, Pᵀ·x>, so documents may be projected once instead of every query (`narrow`, `fold`).

Letters: V tokens of the vocabulary, n tokens of a text, d dimension, w width of a token vector, r numbers of a gate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from limbeck.encoders.fingerprint import Fingerprint
from limbeck.encoders.saved import (
    SAMPLE,
    SETTINGS,
    STATIC,
    TOKENIZER,
    check_files,
    open_tokenizer,
    read_settings,
    write_settings,
)
from limbeck.encoders.texts import check_texts
from limbeck.encoders.tokens import joined, vocabulary_size
from limbeck.errors import ConfigError, CorruptArtefact
from limbeck.quantisers.engine import is_bounded
from limbeck.storage.hashing import sha256_file
from limbeck.types import Floats, Reps, Side

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENS = "tokens.safetensors"
PROJECTION = "projection"
ARRAYS = ("vectors", "scales", "weights", "gates", "gate_scales", "look")
TOGETHER = 256  # texts whose tokens are gathered at once
LARGEST = 127
TINY = np.float32(1e-12)  # beside squares, where a text has no direction
MOST = 30.0  # power of e by which a token counts more or less
POOLING = "sum of tokens"


@dataclass(frozen=True, slots=True, eq=False)
class TokenTable:
    """A vector for each token as bytes with a scale, its weight in it; and how much a token counts beside the others.

    The sum of all tokens of a text, of length 1, is turned into r numbers; their product with a token's gate says by
    what power of e it counts more or less in the second sum, which is the vector of the text.
    """

    vectors: NDArray[np.int8]  # [V, w]
    scales: Floats  # [V]
    weights: Floats  # [V]
    gates: NDArray[np.int8]  # [V, r]
    gate_scales: Floats  # [V]
    look: Floats  # [r, w]

    @classmethod
    def rounded(cls, vectors: Floats, weights: Floats, gates: Floats, look: Floats) -> Self:
        """Weighted vectors [V, w] and gates [V, r] to bytes: each number within 0.4 % of the largest beside it."""
        return cls(
            *_bytes(vectors), np.asarray(weights, np.float32), *_bytes(gates), np.asarray(look, np.float32)
        )

    @property
    def digest(self) -> str:
        """sha256 hex of all arrays: equal if and only if the vectors of all texts are."""
        found = hashlib.sha256()
        for name in ARRAYS:
            array = getattr(self, name)
            found.update(f"{name} {array.shape}".encode() + array.tobytes())
        return found.hexdigest()

    def sums(self, numbers: NDArray[np.int32], starts: NDArray[np.int64], *, unit: bool) -> Floats:
        """[B, w]: the sum of each text's tokens, of length 1 or divided by the sum of their weights."""
        if len(starts) == 2 and len(numbers):  # one text, whose time is that of every step here
            return self._sum(numbers, unit=unit)[None]
        filled = np.flatnonzero(np.diff(starts))
        if (
            len(filled) < len(starts) - 1
        ):  # a tokenizer without special tokens leaves nothing of an empty text
            vectors = np.zeros((len(starts) - 1, self.vectors.shape[1]), np.float32)
            if len(filled):
                vectors[filled] = self.sums(numbers, np.append(starts[filled], starts[-1]), unit=unit)
            return vectors
        rows = self.vectors[numbers] * self.scales[numbers, None]
        seen = np.add.reduceat(rows, starts[:-1], axis=0, dtype=np.float32)
        looks = (seen / _sizes(seen)) @ self.look.T
        owner = np.repeat(np.arange(len(seen)), np.diff(starts))
        gates = self.gates[numbers] * self.gate_scales[numbers, None]
        counts = np.exp(np.clip(np.einsum("nr,nr->n", gates, looks[owner]), -MOST, MOST))
        total: Floats = np.add.reduceat(rows * counts[:, None], starts[:-1], axis=0, dtype=np.float32)
        weights = np.add.reduceat(self.weights[numbers] * counts, starts[:-1])[:, None]
        return (total / (_sizes(total) if unit else weights)).astype(np.float32, copy=False)

    def _sum(self, numbers: NDArray[np.int32], *, unit: bool) -> Floats:
        """As `sums`, for one text [w]."""
        rows, scales = self.vectors[numbers].astype(np.float32), self.scales[numbers]
        seen = scales @ rows
        looks = self.look @ (seen / np.sqrt(seen @ seen + TINY))
        counts = np.exp(np.clip((self.gates[numbers] @ looks) * self.gate_scales[numbers], -MOST, MOST))
        total: Floats = (scales * counts) @ rows
        return total / (np.sqrt(total @ total + TINY) if unit else self.weights[numbers] @ counts)


def _bytes(vectors: Floats) -> tuple[NDArray[np.int8], Floats]:
    scales = np.abs(vectors).max(axis=1, initial=0).astype(np.float32) / LARGEST
    scales[scales == 0] = 1
    return np.rint(vectors / scales[:, None]).astype(np.int8), scales


def _sizes(vectors: Floats) -> Floats:
    sizes: Floats = np.sqrt(np.einsum("bd,bd->b", vectors, vectors) + TINY)[:, None]
    return sizes


class StaticEncoder:
    """A table of token vectors for inference. Made by `open`; `encode` may be called from many threads.

    A text costs its tokenisation and about 2·n·d + r·(n + d) multiply-adds: some 50 µs for ten tokens of width 384.
    """

    def __init__(
        self,
        table: TokenTable,
        tokenizer: Tokenizer,
        fingerprint: Fingerprint,
        space: Fingerprint,
        projection: Floats | None = None,
    ) -> None:
        """Projection [d, w]: of a narrow table, orthonormal columns."""
        self.table = table
        self.projection = projection
        self.fingerprint = fingerprint
        self.space = space  # the encoder whose documents these queries are for
        self._tokenizer = tokenizer

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """The encoder saved in the folder, after its files passed their sha256.

        raises  CorruptArtefact if a file is missing or differs, VersionMismatch for another format
        """
        folder = Path(folder)
        settings = read_settings(folder)
        try:
            fingerprint, space = (Fingerprint.from_json(settings[name]) for name in ("fingerprint", "space"))
            files: Mapping[str, str] = dict(settings["files"])
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptArtefact(
                f"{folder / SETTINGS}: no settings of a static encoder: {error!r}."
            ) from error
        missing = sorted({TOKENS, TOKENIZER} - set(files))
        if missing:
            raise CorruptArtefact(f"{folder / SETTINGS}: names no hash of {missing[0]}.")
        check_files(folder, files)
        tokenizer = open_tokenizer(folder / TOKENIZER)
        table, projection = _arrays(folder / TOKENS, dim=fingerprint.dim, least=vocabulary_size(tokenizer))
        numbers, _ = joined(tokenizer.encode_batch_fast(SAMPLE))
        if numbers.max(initial=0) >= len(table.scales):
            raise CorruptArtefact(f"{folder / TOKENIZER}: makes tokens that the table does not hold.")
        return cls(table, tokenizer, fingerprint, space, projection)

    def save(self, folder: Path) -> None:
        """Write the three files into an empty folder."""
        from safetensors.numpy import save_file

        names = {name: getattr(self.table, name) for name in ARRAYS}
        if self.projection is not None:
            names[PROJECTION] = np.ascontiguousarray(self.projection)
        save_file(names, folder / TOKENS)
        self._tokenizer.save(str(folder / TOKENIZER))
        values = {
            "kind": STATIC,
            "fingerprint": self.fingerprint.to_json(),
            "space": self.space.to_json(),
            "files": {name: sha256_file(folder / name) for name in (TOKENS, TOKENIZER)},
        }
        write_settings(folder, values)

    @property
    def dim(self) -> int:
        """The width of a vector."""
        return self.fingerprint.dim

    @property
    def nbytes(self) -> int:
        """Of the table in memory: about V·(w + r + 12), and 4·d·w of a projection."""
        arrays = [self.projection, *(getattr(self.table, name) for name in ARRAYS)]
        return sum(array.nbytes for array in arrays if array is not None)

    def narrow(self) -> StaticEncoder:
        """The same without its projection, for documents that passed `fold`: equal scores at w numbers a vector.

        raises  ConfigError where the table is as wide as the documents
        """
        projection = self._projection()
        digest = hashlib.sha256(projection.tobytes()).hexdigest()
        width = projection.shape[1]
        space = replace(
            self.space, dim=width, weights=hashlib.sha256((self.space.weights + digest).encode()).hexdigest()
        )
        return StaticEncoder(self.table, self._tokenizer, replace(self.fingerprint, dim=width), space)

    def fold(self, documents: Floats) -> Floats:
        """The teacher's document vectors [N, d] as those [N, w] that `narrow` searches; N·d·w multiply-adds."""
        folded: Floats = documents @ self._projection()
        return folded

    def _projection(self) -> Floats:
        if self.projection is None:
            raise ConfigError(
                f"this encoder's token vectors have the documents' width {self.dim}: there is no projection to fold."
                "\n\nHint: train a narrow one: StaticQueries(width=128)."
            )
        return self.projection

    def encode(self, texts: Sequence[str], *, side: Side, batch_size: int = TOGETHER) -> Reps:
        """[len(texts), 1, dim] float32, in the order of `texts`."""
        check_texts(texts)
        prompt = self.fingerprint.prompts.get(side, "")
        vectors = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), batch_size):
            part = [prompt + text for text in texts[start : start + batch_size]]
            numbers, starts = joined(self._tokenizer.encode_batch_fast(part))
            found = self.table.sums(numbers, starts, unit=self.fingerprint.normalise)
            vectors[start : start + len(part)] = (
                found if self.projection is None else found @ self.projection.T
            )
        return Reps.single(vectors)

    def encode_query(self, texts: Sequence[str], *, batch_size: int = TOGETHER) -> Floats:
        """[len(texts), dim] float32."""
        vectors: Floats = self.encode(texts, side="query", batch_size=batch_size).flat
        return vectors

    def encode_document(self, texts: Sequence[str], *, batch_size: int = TOGETHER) -> Floats:
        """[len(texts), dim] float32."""
        vectors: Floats = self.encode(texts, side="doc", batch_size=batch_size).flat
        return vectors


def _arrays(path: Path, *, dim: int, least: int) -> tuple[TokenTable, Floats | None]:
    """Table and projection in the file, of the shapes and types that they must have."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays: dict[str, NDArray[Any]] = load(path.read_bytes())
        table = TokenTable(**{name: arrays[name] for name in ARRAYS})
        width = table.vectors.shape[1]
    except (SafetensorError, KeyError, ValueError, IndexError, TypeError) as error:
        raise CorruptArtefact(f"{path} cannot be read: {error}") from error
    if any(arrays[name].ndim == 0 for name in ARRAYS):
        raise CorruptArtefact(f"{path}: holds single numbers in the place of arrays.")
    size, rank = len(table.scales), len(table.look)
    floats, whole = np.dtype(np.float32), np.dtype(np.int8)
    expected = {
        "vectors": ((size, width), whole),
        "scales": ((size,), floats),
        "weights": ((size,), floats),
        "gates": ((size, rank), whole),
        "gate_scales": ((size,), floats),
        "look": ((rank, width), floats),
    }
    if PROJECTION in arrays or width != dim:
        expected[PROJECTION] = ((dim, width), floats)
    forms = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    wrong = [name for name, form in expected.items() if forms.get(name) != form]
    if wrong or size < least:
        raise CorruptArtefact(
            f"{path}: {wrong or 'all arrays'} do not fit {size} tokens, width {width} of {dim} and {rank} numbers of "
            f"a gate; there must be at least {least} tokens, as bytes with scales in float32."
        )
    if not all(is_bounded(arrays[name]) for name, (_, kind) in expected.items() if kind == floats):
        raise CorruptArtefact(f"{path} holds NaN, infinite or enormous values.")
    return table, arrays.get(PROJECTION)
