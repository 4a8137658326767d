"""Sums of codewords: a document is the sum of several codewords in each of a few slices of the (rotated) space.

One slice is residual quantisation: every codeword is as wide as the space, so nothing is cut apart. As many slices as
parts is product quantisation. Codewords are large, [M, K, r/S] numbers that all documents share, and a query multiplies
with all of them; so an index keeps them as bytes with a scale for each axis. Where that is not enough, long codes of
wide vectors keep fewer principal axes (r < d) or take more slices.

    quantiser = SumQuantiser(code_bytes=16).fit(vectors, seed=0)
    codes = quantiser.encode(vectors)                            # [N, 16] bytes
    taught = quantiser.with_parts({"score.codewords": better})   # the codes stay valid
    small = taught.rounded()                                     # what an index keeps

Letters: B queries, N documents, d dimension, r principal axes kept, S slices, M parts (bytes of a code), K = 256
codewords a part, w = r/S.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError, DataError, ShapeError
from limbeck.quantisers.engine import BLOCK_ROWS, MOST, finite_floats, is_bounded, kmeans, nearest
from limbeck.quantisers.product import refuse_empty
from limbeck.quantisers.rotation import principal_rotation
from limbeck.types import Codes, Floats, Metric

SAMPLE_ROWS = 65_536  # 256 for each codeword, as many as k-means looks at
CODEWORDS = 256
MOST_TABLE_BYTES = 8_000_000  # that a search holds beside codes: 8 bytes a document at a million documents
LARGEST = 127  # of a codeword rounded to bytes
SOLVED_PARTS = 64  # refitted at once: their equations take 1 GB, and as much to be solved
SWEEPS = 3  # over all parts, so many at a time
LEAST_AXES = 0.58  # of the dimension
ITERATIONS = 10  # of k-means at each width
RIDGE = 1e-3  # of a codeword's mean number of documents
BEAM = 16  # partial sums kept while a document is coded

Number = TypeVar("Number", bound=np.number[Any])

FIELDS = {
    "rotation": "rotation",
    "assign.codewords": "assign_codewords",
    "score.codewords": "score_codewords",
    "score.scales": "score_scales",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class SumQuantiser:
    """Additive codes over S slices; 8 bits a part, inner product. Codewords that assign and that score are two parts.

    slices, axes  None = as `usual_shape` has it: what a search holds stays within 8 MB
    assign.codewords are float16, and may stay in a file: only `encode` reads them
    score.codewords are floats, or bytes to be multiplied by score.scales (`rounded`)
    """

    code_bytes: int = 16
    slices: int | None = None  # S
    axes: int | None = None  # r
    metric: Metric = "ip"
    dim: int = 0  # 0 until fitted
    rotation: Floats | None = None  # [r, d], rows orthonormal; row vectors turn by x @ rotation.T
    assign_codewords: NDArray[np.float16] | None = None  # [M, K, w]
    score_codewords: NDArray[Any] | None = None  # [M, K, w] float32 | int8
    score_scales: Floats | None = None  # [M, w] of codewords that are bytes, for each axis

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
        """S, once fitted."""
        return self.slices or 1

    def check_fits(self, vectors: int, dim: int) -> None:
        """Raises ConfigError where `fit` would refuse this many vectors of this width; cheap, so ask it first."""
        if vectors < CODEWORDS:
            raise ConfigError(
                f"8-bit codes need at least {CODEWORDS} vectors to learn from, found {vectors}.\n\n"
                "Hint: search so few vectors exactly, with Flat."
            )
        slices, axes = self._shape(dim)
        if not 1 <= axes <= dim or axes % slices:
            raise ConfigError(
                f"`axes` must be at most the dimension and a multiple of `slices`; found {axes} axes of {dim} and "
                f"{slices} slices."
            )

    def fit(self, vectors: Floats, *, seed: int) -> Self:
        """A trained copy: principal axes, then in each part what those before leave, then least squares over all parts.

        vectors [N, d], N at least 256; of more than 65,536 a sample is drawn with the seed and copied.
        cost    about M/S · 14 · n · 256 · d multiply-adds for a sample of n
        """
        sample = self._sample(vectors, seed=seed)
        dim = sample.shape[1]
        self.check_fits(len(sample), dim)
        slices, axes = self._shape(dim)
        rotation = None if (slices, axes) == (1, dim) else balanced_axes(sample, slices, axes)
        turned = sample if rotation is None else sample @ rotation.T
        parts = self.code_bytes // slices
        codewords = np.concatenate(
            [
                _codewords(np.ascontiguousarray(part), parts, seed=seed + 1000 * number)
                for number, part in enumerate(np.split(turned, slices, axis=1))
            ]
        )
        fitted = replace(
            self,
            dim=dim,
            slices=slices,
            axes=axes,
            rotation=rotation,
            assign_codewords=codewords.astype(np.float16),
            score_codewords=codewords,
        )
        return fitted._with_least_squares(turned, fitted.encode(sample))

    def _with_least_squares(self, turned: Floats, codes: Codes) -> Self:
        """Codewords that score, refitted all at once to the codes; those that assign stay: a beam needs their order."""
        each = self.code_bytes // self.cut
        start = self.scoring_codewords()
        codewords = np.concatenate(
            [
                refitted(part, codes.codes[:, rows], start[rows])
                for part, rows in zip(np.split(turned, self.cut, axis=1), self._slices(each), strict=True)
            ]
        )
        return replace(self, score_codewords=codewords)

    def _slices(self, each: int) -> list[slice]:
        return [slice(first, first + each) for first in range(0, self.code_bytes, each)]

    def rounded(self) -> Self:
        """The codewords that score as bytes, with a scale for each axis of a part: a quarter of the memory.

        Rounded once, they stay what they are.
        """
        if self.score_scales is not None:
            return self
        floats = self._fitted(self.score_codewords)
        scales = np.abs(floats).max(axis=1).astype(np.float32) / LARGEST
        scales[scales == 0] = 1
        whole = np.rint(floats / scales[:, None]).astype(np.int8)
        return replace(self, score_codewords=whole, score_scales=scales)

    def scoring_codewords(self) -> Floats:
        """The codewords that score [M, K, w], as floats."""
        codewords: Floats = self._fitted(self.score_codewords).astype(np.float32, copy=False)
        return codewords if self.score_scales is None else codewords * self.score_scales[:, None]

    def encode(self, vectors: Floats) -> Codes:
        """Codes of vectors [N, d] by beam search, with the codewords that assign; memory maps block by block.

        cost  N · M · 256 · (d + beam·M/S) multiply-adds
        """
        codewords = self._fitted(self.assign_codewords).astype(np.float32)
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
        codewords = self.scoring_codewords()
        self.check_codes(codes)
        decoded = np.concatenate(
            [
                added_up(codewords[rows], codes.codes[:, rows])
                for rows in self._slices(self.code_bytes // self.cut)
            ],
            axis=1,
        )
        return decoded if self.rotation is None else decoded @ self.rotation

    def score(self, query: Floats, codes: Codes) -> Floats:
        """[B, d] and N codes to [B, N] by definition, in float64: <q, decode>."""
        queries = finite_floats(query, name="query", dim=self.dim).astype(np.float64)
        blocks = range(0, max(1, len(codes)), BLOCK_ROWS)
        decoded = [self.decode(Codes(codes.codes[start : start + BLOCK_ROWS])) for start in blocks]
        scores: Floats = np.concatenate([queries @ block.T.astype(np.float64) for block in decoded], axis=1)
        return scores.astype(np.float32)

    def rotate_vectors(self, vectors: Floats) -> Floats:
        """[N, d] to [N, r], the space of the slices: queries and documents alike."""
        self._fitted(self.assign_codewords)
        floats = finite_floats(vectors, name="vectors", dim=self.dim)
        return floats if self.rotation is None else floats @ self.rotation.T

    def tables(self, turned: Floats) -> Floats:
        """[B, M, K]: products of rotated queries [B, r] with all codewords, whose sums by code are the scores.

        cost  M·K·w multiply-adds a query; bytes become floats for one part at a time
        """
        codewords = self._fitted(self.score_codewords)
        each = self.code_bytes // self.cut
        queries = (
            turned.reshape(len(turned), self.cut, -1).transpose(1, 0, 2).repeat(each, axis=0)
        )  # [M, B, w]
        if self.score_scales is not None:
            queries *= self.score_scales[:, None]
        found = np.empty((len(turned), self.code_bytes, CODEWORDS), dtype=np.float32)
        for part, words in enumerate(codewords):
            found[:, part] = queries[part] @ words.astype(np.float32, copy=False).T
        return found

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
            FIELDS[name]: np.array(value, dtype=_kept_type(name, value), order="C")
            for name, value in parts.items()
            if name != "assign.codewords"
        }
        if "score.codewords" in parts and "score.scales" not in parts:
            arrays["score_scales"] = None
        if "assign.codewords" in parts:
            arrays["assign_codewords"] = np.asanyarray(parts["assign.codewords"]).astype(
                np.float16, copy=False
            )
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

    def _shape(self, dim: int) -> tuple[int, int]:
        """S and r for vectors of this width."""
        slices, axes = usual_shape(self.code_bytes, dim)
        if self.slices is not None:
            slices, axes = self.slices, dim
        return slices, self.axes or axes

    def _sample(self, vectors: Floats, *, seed: int) -> Floats:
        if len(vectors) <= SAMPLE_ROWS:
            return finite_floats(vectors, name="vectors")
        rows = np.random.default_rng(seed).choice(len(vectors), size=SAMPLE_ROWS, replace=False)
        return finite_floats(vectors[np.sort(rows)], name="vectors")

    def _fitted(self, codewords: NDArray[Number] | None) -> NDArray[Number]:
        if codewords is None:
            raise ConfigError(
                "this quantiser has no codewords yet.\n\nHint: call `quantiser.fit(vectors, seed=0)` first."
            )
        return codewords


def usual_shape(code_bytes: int, dim: int) -> tuple[int, int]:
    """Slices S and axes r that keep codewords and axes within 8 MB: the fewest slices that leave 58 % of the axes.

    (1, 384) up to 80 bytes at 384 dimensions; at 768 (1, 768) up to 40 and (2, 688) at 64. Where 8 slices do not leave
    so many, as many axes as may be.
    """
    shapes = [
        (slices, _most_axes(code_bytes, slices, dim)) for slices in range(1, 9) if code_bytes % slices == 0
    ]
    enough = [shape for shape in shapes if shape[1] >= LEAST_AXES * dim]
    return enough[0] if enough else max(shapes, key=lambda shape: shape[1])


def _most_axes(code_bytes: int, slices: int, dim: int) -> int:
    """r, all of them or a multiple of 8 in each slice, with which codewords and axes stay within 8 MB."""
    codewords = (
        (CODEWORDS + 4) * code_bytes // slices
    )  # bytes for each axis with its scale, beside the rotation
    if slices == 1 and codewords * dim <= MOST_TABLE_BYTES:
        return dim
    axes = min(dim, MOST_TABLE_BYTES // (codewords + 4 * dim))
    step = 8 * slices if axes >= 8 * slices else slices
    return axes // step * step


def balanced_axes(vectors: Floats, slices: int, axes: int) -> Floats:
    """[r, d]: the first r principal axes, dealt out so that slices have about the same product of variances."""
    principal = principal_rotation(vectors, 1)[:axes]
    return principal_rotation(vectors @ principal.T, slices) @ principal


def _codewords(vectors: Floats, parts: int, *, seed: int) -> Floats:
    """[parts, 256, w]: each part's codewords are learnt on what the parts before leave.

    In few principal axes first, then in four times as many, and so on: k-means in all dimensions at once follows the
    noise of small clusters, and later parts then add noise (on 6,825 documents at 8 bytes .65 of the exact top 10 after
    distillation, against .77).
    """
    residual = vectors.copy()
    found = []
    for part in range(parts):
        codewords = _coarse_to_fine(residual, seed=seed + part)
        residual -= codewords[nearest(residual, codewords)]
        found.append(codewords)
    return np.stack(found)


def _coarse_to_fine(vectors: Floats, *, seed: int) -> Floats:
    """256 centroids by k-means in d/64, d/16, d/4 and d principal axes, each from where the one before ended."""
    axes = principal_rotation(vectors, 1)  # rows by falling variance
    turned = vectors @ axes.T
    width = turned.shape[1]
    centroids: Floats | None = None
    for share in (64, 16, 4, 1):
        dims = max(1, width // share)
        start = None
        if centroids is not None:
            start = np.pad(centroids, ((0, 0), (0, dims - centroids.shape[1])))
        cut = np.ascontiguousarray(turned[:, :dims])
        centroids = kmeans(cut, CODEWORDS, seed=seed, iterations=ITERATIONS, start=start)
    assert centroids is not None
    return np.ascontiguousarray(centroids @ axes)


def refitted(vectors: Floats, codes: NDArray[np.uint8], start: Floats) -> Floats:
    """Codewords [M, 256, w] whose sums by codes [N, M] are near to vectors [N, w]: block by block of parts, from start.

    Up to 64 parts are solved at once and exactly; more would take memory and time with the square and cube of M.
    """
    parts = codes.shape[1]
    blocks = [slice(first, first + SOLVED_PARTS) for first in range(0, parts, SOLVED_PARTS)]
    if len(blocks) == 1:
        return least_squares(vectors, codes)
    words = start.copy()
    residual = vectors - added_up(words, codes)
    for _ in range(SWEEPS):
        for block in blocks:
            residual += added_up(words[block], codes[:, block])
            words[block] = least_squares(residual, codes[:, block])
            residual -= added_up(words[block], codes[:, block])
    return words


def added_up(codewords: Floats, codes: NDArray[np.uint8]) -> Floats:
    """[N, w]: the sum of the codewords [M, 256, w] that codes [N, M] name."""
    total = np.zeros((len(codes), codewords.shape[2]), dtype=np.float32)
    for words, numbers in zip(codewords, codes.T, strict=True):
        total += words[numbers]
    return total


def least_squares(vectors: Floats, codes: NDArray[np.uint8]) -> Floats:
    """The codewords [M, 256, w] whose sums by codes [N, M] are nearest to vectors [N, w], with a little ridge.

    cost  M²·N to count pairs, N·M·w to add up, 2·(256·M)³/3 to solve; twice 4·(256·M)² bytes
    """
    documents, parts = codes.shape
    size = parts * CODEWORDS
    gram = np.zeros((parts, CODEWORDS, parts, CODEWORDS), dtype=np.float32)  # whole numbers: exact
    sums = np.zeros((parts, CODEWORDS, vectors.shape[1]))
    for left in range(parts):
        order = np.argsort(codes[:, left], kind="stable")
        used, first = np.unique(codes[order, left], return_index=True)
        sums[left, used] = np.add.reduceat(vectors[order], first, axis=0, dtype=np.float64)
        for right in range(left, parts):
            pairs = codes[:, left].astype(np.int64) * CODEWORDS + codes[:, right]
            counts = np.bincount(pairs, minlength=CODEWORDS**2).reshape(CODEWORDS, CODEWORDS)
            gram[left, :, right] = counts
            gram[right, :, left] = counts.T
    flat = gram.reshape(size, size)
    flat[np.diag_indices(size)] += RIDGE * documents / CODEWORDS
    solved = np.linalg.solve(flat, sums.reshape(size, -1).astype(np.float32))
    return np.ascontiguousarray(solved.reshape(parts, CODEWORDS, -1), dtype=np.float32)


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


def _kept_type(name: str, values: NDArray[Any]) -> type[np.generic]:
    """Bytes for codewords that are bytes already, else floats."""
    return np.int8 if name == "score.codewords" and np.asarray(values).dtype == np.int8 else np.float32


def _checked_dimension(quantiser: SumQuantiser) -> int:
    """d, after all arrays were found to fit together."""
    assign, score = quantiser.assign_codewords, quantiser.score_codewords
    if assign is None or score is None:
        raise ShapeError(
            "codewords come in two parts, `assign.codewords` and `score.codewords`; give both at first."
        )
    refuse_empty(quantiser.parts())
    axes = (quantiser.slices or 1) * int(assign.shape[-1])
    dim = axes if quantiser.rotation is None else int(quantiser.rotation.shape[-1])
    expected = (quantiser.code_bytes, CODEWORDS, assign.shape[-1])
    shapes: dict[str, tuple[NDArray[Any] | None, tuple[int, ...]]] = {
        "assign.codewords": (assign, expected),
        "score.codewords": (score, expected),
        "score.scales": (quantiser.score_scales, (expected[0], expected[2])),
        "rotation": (quantiser.rotation, (axes, dim)),
    }
    if (score.dtype == np.int8) != (quantiser.score_scales is not None):
        raise ShapeError("`score.scales` [M, w] belong to `score.codewords` that are int8, and to no others.")
    for name, (array, shape) in shapes.items():
        if array is None:
            continue
        if array.shape != shape:
            raise ShapeError(f"`{name}` has shape {array.shape}; must be {shape} beside the other parts.")
        if not is_bounded(array):
            raise DataError(f"`{name}` holds NaN or infinite values, or some beyond {MOST:.0e}.")
    return dim
