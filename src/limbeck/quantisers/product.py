"""Product quantisation: a vector becomes the numbers of its nearest codewords (Jégou et al., 2011).

With `rotate` the space is turned first so that less is lost (OPQ, Ge et al., 2013); with `lists` only what
remains after subtracting a coarse centroid is coded, and search visits only some lists (IVF). All learned
arrays go in and out by name.

    quantiser = ProductQuantiser(code_bytes=16, rotate=True).fit(vectors, seed=0)
    codes = quantiser.encode(vectors)                      # [N, 16] bytes
    taught = quantiser.with_parts({"score.codewords": better})   # the codes stay valid

Letters: B queries, N documents, d dimension of the vectors, e dimension after the rotation (= d but for
imported indexes that also reduce), L lists, M sub-vectors, K = 2^bits codewords a sub-vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError, DataError, ShapeError
from limbeck.quantisers.coarse import assign_lists, train_lists
from limbeck.quantisers.engine import (
    BLOCK_ROWS,
    MOST,
    encode_codes,
    finite_floats,
    is_bounded,
    train_codewords,
)
from limbeck.quantisers.packing import unpack
from limbeck.quantisers.rotation import learn_rotation
from limbeck.types import Codes, Floats, Metric, Rows

SAMPLE_ROWS = 65_536  # 256 for each of 256 codewords, as many as k-means looks at
SAMPLE_ROWS_PER_LIST = 64  # faiss asks for 39 at least
FIELDS = {
    "rotation": "rotation",
    "base": "base",
    "routing": "routing",
    "assign.base": "assign_base",
    "assign.codewords": "assign_codewords",
    "score.codewords": "score_codewords",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class ProductQuantiser:
    """PQ, OPQ, IVF-PQ and IVF-OPQ codes: code_bytes a document, and 8 more where there are lists.

    Documents go to the list of the L2-nearest base centroid, for both metrics; queries choose lists by the
    metric, against `routing`. Parts that assign make codes; parts that score read them: after `fit` they
    are the same numbers, and teaching moves the second only, so that documents added later are coded as the
    first ones were.
    """

    code_bytes: int = 16
    bits: Literal[4, 8] = 8
    rotate: bool = False  # OPQ
    lists: int | None = None  # IVF; None = no coarse lists
    metric: Metric = "ip"
    by_residual: bool = True  # with lists: code what remains after the base centroid
    dim: int = 0  # 0 until fitted
    rotation: Floats | None = None  # [e, d]; row vectors turn by x @ rotation.T
    base: Floats | None = None  # [L, e] what scores add around the codewords
    routing: Floats | None = None  # [L, e] what queries choose lists by
    assign_base: Floats | None = None  # [L, e] what documents choose lists by, and residuals are taken from
    assign_codewords: Floats | None = None  # [M, K, e / M]
    score_codewords: Floats | None = None  # [M, K, e / M]

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise ConfigError(f"`bits` must be 4 or 8, got {self.bits!r}.")
        if self.metric not in ("ip", "l2"):
            raise ConfigError(
                f"`metric` must be 'ip' or 'l2', got {self.metric!r}; for cosine, normalise and use 'ip'."
            )
        if self.code_bytes < 1:
            raise ConfigError(f"`code_bytes` must be at least 1, got {self.code_bytes!r}.")
        if self.lists is not None and self.lists < 1:
            raise ConfigError(f"`lists` must be at least 1, or None for no lists, got {self.lists!r}.")

    @property
    def sub_vectors(self) -> int:
        """M, the number of codes in each document."""
        return self.code_bytes * 8 // self.bits

    @property
    def is_fitted(self) -> bool:
        """Whether there are codewords to encode with."""
        return self.assign_codewords is not None

    def fit(self, vectors: Floats, *, seed: int) -> Self:
        """A trained copy: rotation, then lists, then codewords of what the lists leave over.

        vectors [N, d], N at least 2^bits; of more than 65,536 (or 64 a list) a sample is drawn with the
        seed and copied, so memory stays bounded for memory maps. Raises ConfigError where the settings and
        the vectors do not fit.
        """
        sample = self._training_sample(vectors, seed=seed)
        self.check_fits(len(sample), sample.shape[1])
        rotation = (
            learn_rotation(sample, self.sub_vectors, bits=self.bits, seed=seed) if self.rotate else None
        )
        turned = sample if rotation is None else sample @ rotation.matrix.T
        start = None if rotation is None else rotation.codewords
        base = None if self.lists is None else train_lists(turned, self.lists, seed=seed)
        if base is not None and self.by_residual:
            turned, start = (
                turned - base[assign_lists(turned, base)],
                None,
            )  # residuals need codewords of their own
        codewords = train_codewords(turned, self.sub_vectors, bits=self.bits, seed=seed, start=start)
        return replace(
            self,
            dim=sample.shape[1],
            rotation=None if rotation is None else rotation.matrix,
            base=base,
            routing=base,
            assign_base=base,
            assign_codewords=codewords,
            score_codewords=codewords,
        )

    def encode(self, vectors: Floats) -> Codes:
        """Codes of vectors [N, d], with the parts that assign. Works through memory maps block by block."""
        codewords = self._fitted(self.assign_codewords)
        codes = np.empty((len(vectors), self.code_bytes), dtype=np.uint8)
        lists = None if self.base is None else np.empty(len(vectors), dtype=np.int64)
        for start in range(0, len(vectors), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            turned = self.rotate_vectors(vectors[rows])
            if self.assign_base is not None and lists is not None:
                lists[rows] = assign_lists(turned, self.assign_base)
                if self.by_residual:
                    turned = turned - self.assign_base[lists[rows]]
            codes[rows] = encode_codes(turned, codewords, bits=self.bits)
        return Codes(codes, lists)

    def decode(self, codes: Codes) -> Floats:
        """Vectors [N, d] in the original space (rotation undone), with the codewords that score."""
        decoded = self.decode_rotated(codes)
        return decoded if self.rotation is None else decoded @ self.rotation

    def decode_rotated(self, codes: Codes) -> Floats:
        """Vectors [N, e] in the rotated space: base centroid (by residual) plus codewords that score."""
        codewords = self._fitted(self.score_codewords)
        self.check_codes(codes)
        numbers = unpack(codes.codes, bits=self.bits)
        decoded = codewords[np.arange(self.sub_vectors), numbers].reshape(len(numbers), -1)
        if self.base is not None and self.by_residual:
            decoded += self.base[codes.lists]
        return decoded

    def score(self, query: Floats, codes: Codes) -> Floats:
        """[B, d] and N codes to [B, N] by definition, in float64: "ip" <q, decode>, "l2" -|q - decode|^2."""
        turned = self.rotate_vectors(query).astype(np.float64)
        scores = np.empty((len(turned), len(codes)), dtype=np.float32)
        for rows, part in _blocks(codes):
            decoded = self.decode_rotated(part).astype(np.float64)
            products = turned @ decoded.T
            if self.metric == "l2":
                products = 2 * products - (turned**2).sum(1)[:, None] - (decoded**2).sum(1)[None]
            scores[:, rows] = products
        return scores

    def rotate_vectors(self, vectors: Floats) -> Floats:
        """[N, d] to [N, e]: queries and documents alike."""
        self._fitted(self.assign_codewords)
        floats = finite_floats(vectors, name="vectors", dim=self.dim)
        return floats if self.rotation is None else floats @ self.rotation.T

    def nearest_lists(self, vectors: Floats) -> Rows:
        """The list [N] that each vector [N, d] belongs to as a document."""
        return assign_lists(self.rotate_vectors(vectors), self._fitted(self.assign_base, name="lists"))

    def lookup_tables(self, query: Floats, *, lists: Rows | None = None) -> Floats:
        """[B, M, K]: what each codeword adds to the score of a document, besides its base centroid.

        "ip": <q_m, c_mk>. "l2": -|q_m - c_mk|^2, where q is the query less `base[lists]` ([B]) if codes are
        residuals.
        """
        codewords = self._fitted(self.score_codewords)
        turned = self.rotate_vectors(query)
        if self.metric == "l2" and self.base is not None and self.by_residual:
            if lists is None:
                raise ConfigError(
                    "L2 tables of residual codes differ from list to list: give `lists`, one for each query."
                )
            turned = turned - self.base[lists]
        parts = turned.reshape(len(turned), self.sub_vectors, codewords.shape[2])
        products: Floats = np.einsum("bmw,mkw->bmk", parts, codewords, optimize=True)
        if self.metric == "ip":
            return products
        distances: Floats = (parts**2).sum(2)[:, :, None] + (codewords**2).sum(2)[None] - 2 * products
        return -distances

    def parts(self) -> Mapping[str, NDArray[Any]]:
        """All learned arrays by name; what this quantiser does not have is left out."""
        values = {name: getattr(self, field) for name, field in FIELDS.items()}
        return {name: value for name, value in values.items() if value is not None}

    def with_parts(self, parts: Mapping[str, NDArray[Any]]) -> Self:
        """A copy with these arrays, the inverse of `parts`; arrays left out stay as they are."""
        unknown = sorted(set(parts) - set(FIELDS))
        if unknown:
            raise ConfigError(f"unknown parts {unknown}; a product quantiser has {sorted(FIELDS)}.")
        arrays: dict[str, Any] = {
            FIELDS[name]: np.array(value, dtype=np.float32, order="C") for name, value in parts.items()
        }
        changed = replace(self, **arrays)
        return replace(changed, **_checked_shapes(changed))

    def _training_sample(self, vectors: Floats, *, seed: int) -> Floats:
        wanted = max(SAMPLE_ROWS, SAMPLE_ROWS_PER_LIST * (self.lists or 0))
        if len(vectors) <= wanted:
            return finite_floats(vectors, name="vectors")
        rows = np.random.default_rng(seed).choice(len(vectors), size=wanted, replace=False)
        return finite_floats(vectors[np.sort(rows)], name="vectors")

    def check_fits(self, vectors: int, dim: int) -> None:
        """Raises ConfigError where `fit` would refuse this many vectors of this width; cheap, so ask it first."""
        self._check_divides(dim)
        if vectors < 2**self.bits:
            raise ConfigError(self._too_few(vectors))

    def _check_divides(self, dim: int) -> None:
        if dim % self.sub_vectors == 0:
            return
        fitting = [n for n in range(1, dim + 1) if dim % n == 0 and (n * self.bits) % 8 == 0]
        near = sorted(sorted(n * self.bits // 8 for n in fitting), key=lambda n: abs(n - self.code_bytes))[:3]
        raise ConfigError(
            f"`code_bytes`={self.code_bytes} with {self.bits} bits makes {self.sub_vectors} sub-vectors, "
            f"which must divide the dimension: {dim} % {self.sub_vectors} = {dim % self.sub_vectors}. "
            f"Nearest `code_bytes` that do: {sorted(near)}."
        )

    def _too_few(self, found: int) -> str:
        hint = (
            "use bits=4, which needs 16"
            if self.bits == 8 and found >= 16
            else "search so few vectors exactly, with Flat"
        )
        needed = f"{self.bits}-bit codes need at least {2**self.bits} vectors to learn from, found {found}."
        return f"{needed}\n\nHint: {hint}."

    def _fitted(self, part: Floats | None, *, name: str = "codewords") -> Floats:
        if part is None:
            raise ConfigError(
                f"this quantiser has no {name} yet.\n\nHint: call `quantiser.fit(vectors, seed=0)` first."
            )
        return part

    def check_codes(self, codes: Codes) -> None:
        """Refuses codes that another quantiser made, as far as their shape tells."""
        if codes.codes.ndim != 2 or codes.codes.shape[1] != self.code_bytes or codes.codes.dtype != np.uint8:
            raise ShapeError(
                f"codes are {codes.codes.dtype} {codes.codes.shape}; must be uint8 [N, {self.code_bytes}]."
            )
        if (codes.lists is None) != (self.base is None):
            raise ShapeError(
                f"codes have {'no ' if codes.lists is None else ''}lists, the quantiser has {self.lists}."
            )
        if codes.lists is not None and len(codes.lists) != len(codes.codes):
            raise ShapeError(
                f"{len(codes.codes)} codes but {len(codes.lists)} lists; must be one for each document."
            )


def _blocks(codes: Codes) -> Iterator[tuple[slice, Codes]]:
    for start in range(0, len(codes), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        yield rows, Codes(codes.codes[rows], None if codes.lists is None else codes.lists[rows])


def refuse_empty(parts: Mapping[str, NDArray[Any]]) -> None:
    """Raises ShapeError unless codewords are [M, K, w] and other parts matrices, all of them with numbers in them."""
    for name, array in parts.items():
        if array.ndim != (3 if name.endswith("codewords") else 2) or not array.size:
            raise ShapeError(f"`{name}` has shape {array.shape}; must be codewords [M, K, w], or a matrix.")


def _checked_shapes(quantiser: ProductQuantiser) -> dict[str, Any]:
    """Settings that follow from the arrays, after all arrays were found to fit together."""
    assign, score = quantiser.assign_codewords, quantiser.score_codewords
    if assign is None or score is None:
        raise ShapeError(
            "codewords come in two parts, `assign.codewords` and `score.codewords`; give both at first."
        )
    refuse_empty(quantiser.parts())
    codewords, width = 2**quantiser.bits, assign.shape[-1]
    expected = (quantiser.sub_vectors, codewords, width)
    inner = quantiser.sub_vectors * width
    dim = inner if quantiser.rotation is None else quantiser.rotation.shape[-1]
    lists = None if quantiser.base is None else len(quantiser.base)
    routing = quantiser.base if quantiser.routing is None else quantiser.routing
    assign_base = quantiser.base if quantiser.assign_base is None else quantiser.assign_base
    shapes = {
        "assign.codewords": (assign, expected),
        "score.codewords": (score, expected),
        "rotation": (quantiser.rotation, (inner, dim)),
        "base": (quantiser.base, (lists, inner)),
        "routing": (routing, (lists, inner)),
        "assign.base": (assign_base, (lists, inner)),
    }
    for name, (array, shape) in shapes.items():
        if array is None:
            continue
        if array.shape != shape:
            raise ShapeError(f"`{name}` has shape {array.shape}; must be {shape} beside the other parts.")
        if not is_bounded(array):
            raise DataError(f"`{name}` holds NaN or infinite values, or some beyond {MOST:.0e}.")
    return {
        "dim": dim,
        "lists": lists,
        "routing": routing,
        "assign_base": assign_base,
        "rotate": quantiser.rotation is not None,
    }
