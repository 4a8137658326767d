"""Codebooks as files: all that a quantiser learnt, by name, in safetensors, and its settings in the header.

    save_codebook(Path("codebook.safetensors"), quantiser)
    quantiser = open_codebook(Path("codebook.safetensors")).quantiser
    codes = quantiser.encode(vectors)                       # the codes that the first quantiser gives

Tensors: rotation, base, routing, assign.base, assign.codewords, score.codewords (those that there are), and query_map.
The header's one key "limbeck" holds JSON: {"kind": "product", "settings": {...}}. The `quantiser.safetensors` of a
saved index is such a file, with the hash of its codes beside the settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import DataError, LimbeckError, VersionMismatch
from limbeck.quantisers.engine import is_bounded
from limbeck.quantisers.product import ProductQuantiser
from limbeck.quantisers.sums import SumQuantiser
from limbeck.storage import durable
from limbeck.types import Floats

DESCRIPTION = "limbeck"
QUERY_MAP = "query_map"
AnyQuantiser: TypeAlias = ProductQuantiser | SumQuantiser
KINDS: Mapping[str, tuple[type[ProductQuantiser] | type[SumQuantiser], tuple[str, ...]]] = {
    "product": (ProductQuantiser, ("code_bytes", "bits", "metric", "by_residual")),
    "sums": (SumQuantiser, ("code_bytes", "slices", "axes", "metric")),
}
SETTINGS: Mapping[str, tuple[type, ...]] = {  # what each may be
    "code_bytes": (int,),
    "bits": (int,),
    "slices": (int, type(None)),
    "axes": (int, type(None)),
    "metric": (str,),
    "by_residual": (bool,),
}
FIRST_KIND = "product"  # of files that do not say


@dataclass(frozen=True, slots=True)
class Codebook:
    """A fitted quantiser without any documents."""

    quantiser: AnyQuantiser
    query_map: Floats | None = None  # [d, d] what queries pass before the rotation, q @ query_map.T
    description: Mapping[str, Any] | None = None  # the header as it was found


def save_codebook(path: Path, quantiser: AnyQuantiser, *, query_map: Floats | None = None) -> None:
    """Writes the file in one step. Equal quantisers make equal bytes."""
    quantiser.rotate_vectors(np.empty((0, quantiser.dim), np.float32))  # refuses one that is not fitted
    durable.write_file(path, codebook_bytes(quantiser, query_map=query_map))


def open_codebook(path: Path) -> Codebook:
    """The codebook in a file. raises DataError where it is none, VersionMismatch for kinds of later versions"""
    try:
        return codebook_in(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read the codebook {str(path)!r}: {error.strerror}.") from error
    except VersionMismatch as error:
        raise VersionMismatch(f"{path}: {error}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def codebook_bytes(
    quantiser: AnyQuantiser, *, query_map: Floats | None, more: Mapping[str, Any] | None = None
) -> bytes:
    """The content of such a file; `more` joins kind and settings in the header."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in quantiser.parts().items()}
    if query_map is not None:
        arrays[QUERY_MAP] = np.ascontiguousarray(query_map)
    kind = next(name for name, (made, _) in KINDS.items() if isinstance(quantiser, made))
    settings = {name: getattr(quantiser, name) for name in KINDS[kind][1]}
    described = {"kind": kind, "settings": settings, **(more or {})}
    # one key: safetensors writes several in an order of its own, and equal quantisers would differ in their bytes
    return bytes(save(arrays, metadata={DESCRIPTION: json.dumps(described, sort_keys=True)}))


def codebook_in(raw: bytes) -> Codebook:
    """The inverse of `codebook_bytes`. raises DataError that says what is wrong with the bytes"""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = checked_arrays(load(raw))
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        described = json.loads(header["__metadata__"][DESCRIPTION])
        kind, settings = str(described.get("kind", FIRST_KIND)), dict(described["settings"])
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"is no codebook of Limbeck: {type(error).__name__} {error}.\n\n"
            "Hint: `limbeck export INDEX codebook.safetensors` writes one; a faiss file goes to `limbeck import`."
        ) from error
    if kind not in KINDS:
        raise VersionMismatch(f"holds a codebook of kind {kind!r}; this build reads {sorted(KINDS)}.")
    query_map = arrays.pop(QUERY_MAP, None)
    try:
        made, names = KINDS[kind]
        quantiser = made(**checked_settings(settings, names)).with_parts(arrays)
        return Codebook(quantiser, _checked_map(query_map, quantiser.dim), described)
    except (LimbeckError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"holds parts that do not fit together: {error}") from error


def checked_arrays(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays as they are. raises DataError where one is of a type that no build writes"""
    for name, array in arrays.items():
        if array.dtype.kind != "f" and array.dtype != np.int8:
            raise DataError(f"`{name}` holds {array.dtype}; must be floats, or int8.")
    return dict(arrays)


def checked_settings(settings: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The settings of these names. raises DataError where one is missing, or of a type that no build writes"""
    for name in names:
        if name not in settings or type(settings[name]) not in SETTINGS[name]:
            raise DataError(
                f"the setting `{name}` is {settings.get(name)!r}; must be {SETTINGS[name][0].__name__}."
            )
    return {name: settings[name] for name in names}


def _checked_map(query_map: Floats | None, dim: int) -> Floats | None:
    if query_map is not None and (query_map.shape != (dim, dim) or not is_bounded(query_map)):
        raise DataError(f"`query_map` is {query_map.shape}; must be [{dim}, {dim}] and finite.")
    return query_map
