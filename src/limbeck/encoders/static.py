"""A static encoder: the vector of a text is the sum of its tokens' vectors. numpy and tokenizers, without torch.

    encoder.json         what it is, whose space its vectors lie in, sha256 of the files
    tokenizer.json       the teacher's, with special tokens: they are the vector of an empty text
    tokens.safetensors   vectors [V, d] int8, scales [V], weights [V]

Letters: V tokens of the vocabulary, n tokens of a text, d dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from limbeck.encoders.fingerprint import Fingerprint
from limbeck.encoders.saved import SETTINGS, STATIC, TOKENIZER, check_files, read_settings, write_settings
from limbeck.encoders.texts import check_texts
from limbeck.encoders.tokens import joined
from limbeck.errors import CorruptArtefact
from limbeck.storage.hashing import sha256_file
from limbeck.types import Floats, Reps, Side

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENS = "tokens.safetensors"
ARRAYS = ("vectors", "scales", "weights")
TOGETHER = 256  # texts whose tokens are gathered at once
LARGEST = 127
POOLING = "sum of tokens"


@dataclass(frozen=True, slots=True, eq=False)
class TokenTable:
    """A vector for each token as bytes with a scale; its weight is in it, and beside it where a mean is wanted."""

    vectors: NDArray[np.int8]  # [V, d]
    scales: Floats  # [V]
    weights: Floats  # [V]

    @classmethod
    def rounded(cls, vectors: Floats, weights: Floats) -> Self:
        """Weighted vectors [V, d] to bytes: a quarter of the memory, each within 0.4 % of its largest number."""
        scales = np.abs(vectors).max(axis=1).astype(np.float32) / LARGEST
        scales[scales == 0] = 1
        whole = np.rint(vectors / scales[:, None]).astype(np.int8)
        return cls(whole, scales, np.asarray(weights, dtype=np.float32))

    def sums(self, numbers: NDArray[np.int32], starts: NDArray[np.int64], *, unit: bool) -> Floats:
        """[B, d]: the sum of each text's tokens, of length 1 or divided by the sum of their weights."""
        if len(starts) == 2:  # one text, whose time is that of every step here
            total = (self.scales[numbers] @ self.vectors[numbers].astype(np.float32))[None]
        else:
            rows = self.vectors[numbers] * self.scales[numbers, None]
            total = np.add.reduceat(rows, starts[:-1], axis=0, dtype=np.float32)
        if unit:
            size = np.sqrt(np.einsum("bd,bd->b", total, total))
        else:
            size = np.add.reduceat(self.weights[numbers], starts[:-1])
        vectors: Floats = total / np.maximum(size, np.float32(1e-12))[:, None]
        return vectors


class StaticEncoder:
    """A table of token vectors for inference. Made by `open`; `encode` may be called from many threads.

    A text costs its tokenisation and n·d additions: some 40 µs for ten tokens of width 384, most of it tokenisation.
    """

    def __init__(
        self, table: TokenTable, tokenizer: Tokenizer, fingerprint: Fingerprint, space: Fingerprint
    ) -> None:
        self.table = table
        self.fingerprint = fingerprint
        self.space = space  # the encoder whose documents these queries are for
        self._tokenizer = tokenizer

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """The encoder saved in the folder, after its files passed their sha256.

        raises  CorruptArtefact if a file is missing or differs, VersionMismatch for another format
        """
        from tokenizers import Tokenizer

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
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        table = _table(folder / TOKENS, dim=fingerprint.dim, least=tokenizer.get_vocab_size())
        return cls(table, tokenizer, fingerprint, space)

    def save(self, folder: Path) -> None:
        """Write the three files into an empty folder."""
        from safetensors.numpy import save_file

        names = {name: getattr(self.table, name) for name in ARRAYS}
        save_file(names, folder / TOKENS)
        self._tokenizer.save(str(folder / TOKENIZER))
        fingerprint = replace(self.fingerprint, weights=sha256_file(folder / TOKENS))
        values = {
            "kind": STATIC,
            "fingerprint": fingerprint.to_json(),
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
        """Of the table in memory: V·(d + 8)."""
        return sum(array.nbytes for array in (self.table.vectors, self.table.scales, self.table.weights))

    def encode(self, texts: Sequence[str], *, side: Side, batch_size: int = TOGETHER) -> Reps:
        """[len(texts), 1, dim] float32, in the order of `texts`."""
        check_texts(texts)
        prompt = self.fingerprint.prompts.get(side, "")
        vectors = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), batch_size):
            part = [prompt + text for text in texts[start : start + batch_size]]
            numbers, starts = joined(self._tokenizer.encode_batch_fast(part))
            vectors[start : start + len(part)] = self.table.sums(
                numbers, starts, unit=self.fingerprint.normalise
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


def _table(path: Path, *, dim: int, least: int) -> TokenTable:
    """The arrays in the file, of the shapes and types that they must have."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays: dict[str, NDArray[Any]] = load(path.read_bytes())
        vectors, scales, weights = (arrays[name] for name in ARRAYS)
    except (SafetensorError, KeyError, ValueError) as error:
        raise CorruptArtefact(f"{path} cannot be read: {error}") from error
    size = len(scales)
    fits = vectors.shape == (size, dim) and weights.shape == scales.shape == (size,) and size >= least
    kinds = [str(array.dtype) for array in (vectors, scales, weights)]
    if not fits or kinds != ["int8", "float32", "float32"]:
        raise CorruptArtefact(
            f"{path}: vectors {vectors.shape}, scales {scales.shape}, weights {weights.shape} of types {kinds}; "
            f"must be [V, {dim}] int8, [V] and [V] float32 with V at least {least}."
        )
    if not (np.isfinite(scales).all() and np.isfinite(weights).all()):
        raise CorruptArtefact(f"{path} holds NaN or infinite values.")
    return TokenTable(vectors, scales, weights)
