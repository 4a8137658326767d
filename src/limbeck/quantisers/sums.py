"""Sums of codewords: a document is the sum of several codewords in each of a few slices of the (rotated) space.

One slice is residual quantisation: every codeword is as wide as the vectors, so nothing is cut apart, and the look-up
tables of a query are as large as the codewords. As many slices as parts is product quantisation. Between them, the
shared tables shrink with the slices: [M, K, d/S] numbers.

    quantiser = SumQuantiser(code_bytes=16).fit(vectors, seed=0)
    codes = quantiser.encode(vectors)                            # [N, 16] bytes
    taught = quantiser.with_parts({"score.codewords": better})   # the codes stay valid

Letters: B queries, N documents, d dimension, S slices, M parts (bytes of a code), K = 256 codewords a part, w = d/S.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError, DataError, ShapeError
from limbeck.quantisers.engine import BLOCK_ROWS, finite_floats, kmeans
from limbeck.quantisers.product import ProductQuantiser
from limbeck.quantisers.rotation import principal_rotation
from limbeck.types import Codes, Floats, Metric

SAMPLE_ROWS = 65_536  # 256 for each codeword, as many as k-means looks at
CODEWORDS = 256
MOST_TABLE_BYTES = (
    2**23
)  # of all codewords together, so that they cost 8 bytes a document at a million documents
ITERATIONS = 10  # of k-means in each part; codes are searched for jointly afterwards, so more is lost work
BEAM = 16  # partial sums kept while a document is coded

FIELDS = {
    "rotation": "rotation",
    "assign.codewords": "assign_codewords",
    "score.codewords": "score_codewords",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class SumQuantiser:
    """Additive codes over S slices; 8 bits a part, inner product. Codewords that assign and that score are two parts.

    slices  None = as few as keep all codewords within 8 MiB: one up to 16 bytes at 384 dimensions, then 2 at 32
    """

    code_bytes: int = 16
    slices: int | None = None
    metric: Metric = "ip"
    dim: int = 0  # 0 until fitted
    rotation: Floats | None = (
        None  # [d, d], where there is more than one slice; row vectors turn by x @ rotation.T
    )
    assign_codewords: Floats | None = None  # [M, K, w]
    score_codewords: Floats | None = None  # [M, K, w]

    def __post_init__(self) -> None:
        if self.metric != "ip":
            raise ConfigError(
                f"sums of codewords are searched by inner product; found `metric`={self.metric!r}.\n\n"
                "Hint: for vectors of length 1 both give the same order; others need the product codes of OPQ."
            )
        if self.code_bytes < 1:
            raise ConfigError(f"`code_bytes` must be at least 1, got {self.code_bytes!r}.")
        if self.slices is not None and (self.slices < 1 or self.code_bytes % self.slices):
            raise ConfigError(
                f"`slices` must divide `code_bytes`; found {self.slices} slices for {self.code_bytes} bytes."
            )

    @property
    def bits(self) -> int:
        """Of a part's number."""
        return 8

    @property
    def cut(self) -> int:
        """S, once the dimension is known."""
        return self.slices or fewest_slices(self.code_bytes, self.dim)

    def check_fits(self, vectors: int, dim: int) -> None:
        """Raises ConfigError where `fit` would refuse this many vectors of this width; cheap, so ask it first."""
        if vectors < CODEWORDS:
            raise ConfigError(
                f"8-bit codes need at least {CODEWORDS} vectors to learn from, found {vectors}.\n\n"
                "Hint: search so few vectors exactly, with Flat."
            )
        slices = self.slices or fewest_slices(self.code_bytes, dim)
        if dim % slices:
            raise ConfigError(f"`slices` must divide the dimension: {dim} % {slices} = {dim % slices}.")

    def fit(self, vectors: Floats, *, seed: int) -> Self:
        """A trained copy: a balanced rotation where there are slices, then k-means on what the parts before leave.

        vectors [N, d], N at least 256; of more than 65,536 a sample is drawn with the seed and copied.
        cost    M/S · 10 · n · 256 · d multiply-adds for a sample of n
        """
        sample = self._sample(vectors, seed=seed)
        dim = sample.shape[1]
        self.check_fits(len(sample), dim)
        slices = self.slices or fewest_slices(self.code_bytes, dim)
        rotation = principal_rotation(sample, slices) if slices > 1 else None
        turned = sample if rotation is None else sample @ rotation.T
        parts = self.code_bytes // slices
        codewords = np.concatenate(
            [
                _codewords(np.ascontiguousarray(part), parts, seed=seed + 1000 * number)
                for number, part in enumerate(np.split(turned, slices, axis=1))
            ]
        )
        return replace(
            self,
            dim=dim,
            slices=slices,
            rotation=rotation,
            assign_codewords=codewords,
            score_codewords=codewords,
        )

    def encode(self, vectors: Floats) -> Codes:
        """Codes of vectors [N, d] by beam search, with the codewords that assign; memory maps block by block.

        cost  N · M · 256 · (d + beam·M/S) multiply-adds
        """
        codewords = self._fitted(self.assign_codewords)
        codes = np.empty((len(vectors), self.code_bytes), dtype=np.uint8)
        coders = [_coder(part) for part in np.split(codewords, self.cut)]
        for start in range(0, len(vectors), BLOCK_ROWS):
            turned = self.rotate_vectors(vectors[start : start + BLOCK_ROWS])
            columns = [
                coder.compute_codes(np.ascontiguousarray(part))
                for coder, part in zip(coders, np.split(turned, self.cut, axis=1), strict=True)
            ]
            codes[start : start + BLOCK_ROWS] = np.concatenate(columns, axis=1)
        return Codes(codes)

    def decode(self, codes: Codes) -> Floats:
        """Vectors [N, d] in the original space, with the codewords that score."""
        codewords = self._fitted(self.score_codewords)
        self.check_codes(codes)
        total = np.zeros((len(codes), self.cut, self.dim // self.cut), dtype=np.float32)
        for part, numbers in enumerate(codes.codes.T):
            total[:, part // (self.code_bytes // self.cut)] += codewords[part][numbers]
        decoded = total.reshape(len(codes), self.dim)
        return decoded if self.rotation is None else decoded @ self.rotation

    def score(self, query: Floats, codes: Codes) -> Floats:
        """[B, d] and N codes to [B, N] by definition, in float64: <q, decode>."""
        queries = finite_floats(query, name="query", dim=self.dim).astype(np.float64)
        blocks = range(0, max(1, len(codes)), BLOCK_ROWS)
        decoded = [self.decode(Codes(codes.codes[start : start + BLOCK_ROWS])) for start in blocks]
        scores: Floats = np.concatenate([queries @ block.T.astype(np.float64) for block in decoded], axis=1)
        return scores.astype(np.float32)

    def rotate_vectors(self, vectors: Floats) -> Floats:
        """[N, d] to [N, d] in the space of the slices: queries and documents alike."""
        self._fitted(self.assign_codewords)
        floats = finite_floats(vectors, name="vectors", dim=self.dim)
        return floats if self.rotation is None else floats @ self.rotation.T

    def as_product(self) -> ProductQuantiser:
        """The same scores as a product quantiser over queries that repeat each slice M/S times: [B, M·w].

        So one scan serves both. Its codewords are these very numbers; nothing gets larger.
        """
        codewords = self._fitted(self.score_codewords)
        repeated = ProductQuantiser(code_bytes=self.code_bytes, metric=self.metric)
        return repeated.with_parts({"assign.codewords": codewords, "score.codewords": codewords})

    def repeat(self, turned: Floats) -> Floats:
        """Rotated queries [B, d] to [B, M·w], for `as_product`."""
        slices = turned.reshape(len(turned), self.cut, 1, -1)
        shape = (len(turned), self.cut, self.code_bytes // self.cut, slices.shape[-1])
        return np.ascontiguousarray(np.broadcast_to(slices, shape)).reshape(len(turned), -1)

    def parts(self) -> Mapping[str, NDArray[Any]]:
        """All learned arrays by name."""
        values = {name: getattr(self, field) for name, field in FIELDS.items()}
        return {name: value for name, value in values.items() if value is not None}

    def with_parts(self, parts: Mapping[str, NDArray[Any]]) -> Self:
        """A copy with these arrays, the inverse of `parts`; arrays left out stay as they are."""
        unknown = sorted(set(parts) - set(FIELDS))
        if unknown:
            raise ConfigError(f"unknown parts {unknown}; sums of codewords have {sorted(FIELDS)}.")
        arrays: dict[str, Any] = {
            FIELDS[name]: np.array(value, dtype=np.float32, order="C") for name, value in parts.items()
        }
        changed = replace(self, **arrays)
        return replace(changed, dim=_checked_dimension(changed))

    def check_codes(self, codes: Codes) -> None:
        """Refuses codes that another quantiser made, as far as their shape tells."""
        fits = codes.codes.ndim == 2 and codes.codes.shape[1] == self.code_bytes
        if not fits or codes.codes.dtype != np.uint8 or codes.lists is not None:
            raise ShapeError(
                f"codes are {codes.codes.dtype} {codes.codes.shape}{' in lists' if codes.lists is not None else ''}; "
                f"must be uint8 [N, {self.code_bytes}] without lists."
            )

    def _sample(self, vectors: Floats, *, seed: int) -> Floats:
        if len(vectors) <= SAMPLE_ROWS:
            return finite_floats(vectors, name="vectors")
        rows = np.random.default_rng(seed).choice(len(vectors), size=SAMPLE_ROWS, replace=False)
        return finite_floats(vectors[np.sort(rows)], name="vectors")

    def _fitted(self, codewords: Floats | None) -> Floats:
        if codewords is None:
            raise ConfigError(
                "this quantiser has no codewords yet.\n\nHint: call `quantiser.fit(vectors, seed=0)` first."
            )
        return codewords


def fewest_slices(code_bytes: int, dim: int) -> int:
    """The least number of slices, of those that divide both, with which all codewords fit into 8 MiB."""
    fitting = [s for s in range(1, code_bytes + 1) if code_bytes % s == 0 and (dim == 0 or dim % s == 0)]
    small = [s for s in fitting if 4 * code_bytes * CODEWORDS * dim // s <= MOST_TABLE_BYTES]
    return min(small, default=fitting[-1])


def _codewords(vectors: Floats, parts: int, *, seed: int) -> Floats:
    """[parts, 256, w]: k-means on the vectors, then on what its codewords leave, and so on."""
    import faiss

    residual = vectors.copy()
    found = []
    for part in range(parts):
        codewords = kmeans(residual, CODEWORDS, seed=seed + part, iterations=ITERATIONS)
        residual -= codewords[faiss.knn(residual, codewords, 1)[1][:, 0]]
        found.append(codewords)
    return np.stack(found)


def _coder(codewords: Floats) -> Any:
    """Beam search by faiss over these codewords [parts, 256, w], with products between codewords from a table."""
    import faiss

    parts, _, width = codewords.shape
    coder = faiss.ResidualQuantizer(width, parts, 8, faiss.AdditiveQuantizer.ST_LUT_nonorm)
    faiss.copy_array_to_vector(np.ascontiguousarray(codewords).ravel(), coder.codebooks)
    coder.max_beam_size = BEAM
    coder.use_beam_LUT = 1
    coder.is_trained = True
    coder.compute_codebook_tables()
    return coder


def _checked_dimension(quantiser: SumQuantiser) -> int:
    """d, after all arrays were found to fit together."""
    assign, score = quantiser.assign_codewords, quantiser.score_codewords
    if assign is None or score is None:
        raise ShapeError(
            "codewords come in two parts, `assign.codewords` and `score.codewords`; give both at first."
        )
    slices = quantiser.slices or 1
    dim = slices * int(assign.shape[-1])
    shapes = {
        "assign.codewords": (assign, (quantiser.code_bytes, CODEWORDS, dim // slices)),
        "score.codewords": (score, (quantiser.code_bytes, CODEWORDS, dim // slices)),
        "rotation": (quantiser.rotation, (dim, dim)),
    }
    for name, (array, shape) in shapes.items():
        if array is None:
            continue
        if array.shape != shape:
            raise ShapeError(f"`{name}` has shape {array.shape}; must be {shape} beside the other parts.")
        if not np.isfinite(array).all():
            raise DataError(f"`{name}` holds NaN or infinite values.")
    return dim
