"""Files of indexes. A code index is two: `index.faiss` for faiss, and `quantiser.safetensors`, which holds everything.

Arrays that are too large for such a file, or are to stay on disk, are `.npy` files whose sha256 stands in another one.
"""

from __future__ import annotations

import hashlib
import io
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import CorruptArtefact, LimbeckError
from limbeck.quantisers.codebook_file import codebook_bytes, codebook_in
from limbeck.quantisers.faiss_io import faiss_bytes, from_faiss, read_faiss, same
from limbeck.quantisers.product import ProductQuantiser
from limbeck.storage import durable
from limbeck.types import Codes, Floats

_BAD_NPY = (  # what numpy raises for headers of files that are no arrays
    *(ValueError, OSError, EOFError, TypeError, OverflowError, LookupError, SyntaxError, MemoryError),
    *(AttributeError, RuntimeError, tokenize.TokenError),
)


def save_index(folder: Path, quantiser: ProductQuantiser, plain: Any, *, query_map: Floats | None) -> None:
    """Writes both files; `plain` is the faiss index over the codes."""
    durable.make_folders(folder)
    data = faiss_bytes(plain).tobytes()
    described = {"index_sha256": hashlib.sha256(data).hexdigest()}
    durable.write_file(folder / "index.faiss", data)
    raw = codebook_bytes(quantiser, query_map=query_map, more=described)
    durable.write_file(folder / "quantiser.safetensors", raw)


def load_index(folder: Path) -> tuple[ProductQuantiser, Codes, Floats | None]:
    """Quantiser, codes and query map from both files; CorruptArtefact if they do not belong together."""
    data, raw = bytes_of(folder / "index.faiss"), bytes_of(folder / "quantiser.safetensors")
    try:
        codebook = codebook_in(raw)
        expected = (codebook.description or {})["index_sha256"]
    except (LimbeckError, KeyError) as error:
        what = str(error).partition("\n\n")[0]
        raise CorruptArtefact(f"{folder / 'quantiser.safetensors'} cannot be read: {what}") from error
    quantiser = codebook.quantiser
    if not isinstance(quantiser, ProductQuantiser):
        raise CorruptArtefact(f"{folder / 'quantiser.safetensors'} holds another kind of codebook.")
    if hashlib.sha256(data).hexdigest() != expected:
        raise CorruptArtefact(
            f"{folder / 'index.faiss'}: checksum mismatch; it is damaged or from another save."
        )
    try:
        found, codes, rows = from_faiss(read_faiss(data))
    except LimbeckError as error:
        raise CorruptArtefact(f"{folder / 'index.faiss'} cannot be used: {error}") from error
    if not np.array_equal(rows, np.arange(len(rows))):
        raise CorruptArtefact(f"{folder / 'index.faiss'}: its ids are not the rows 0, 1, 2 ...")
    if not (same(found.score_codewords, quantiser.score_codewords) and same(found.base, quantiser.base)):
        raise CorruptArtefact(f"{folder}: index.faiss and quantiser.safetensors hold different codewords.")
    return quantiser, codes, codebook.query_map


def save_array(path: Path, array: NDArray[Any]) -> str:
    """Writes an `.npy` file in one step and gives the sha256 of its bytes. Holds a copy of the array meanwhile."""
    data = io.BytesIO()
    np.lib.format.write_array(data, np.ascontiguousarray(array), allow_pickle=False)
    durable.write_file(path, data.getvalue())
    return hashlib.sha256(data.getvalue()).hexdigest()


def load_array(path: Path, *, sha256: str) -> NDArray[Any]:
    """The array in an `.npy` file, left there: memory-mapped. CorruptArtefact unless its bytes have this sha256."""
    if hashlib.sha256(bytes_of(path)).hexdigest() != sha256:
        raise CorruptArtefact(f"{path}: checksum mismatch; it is damaged or from another save.")
    return mapped_array(path)


def mapped_array(path: Path) -> NDArray[Any]:
    """The array in an `.npy` file, left there: memory-mapped. CorruptArtefact where it holds none.

    Without rows it may be: an index whose documents were all deleted.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except _BAD_NPY as error:
        found = str(error).split("\n", 1)[0] or type(error).__name__
        raise CorruptArtefact(f"{path} holds no plain array: {found}") from error
    if array.ndim == 0 or 0 in array.shape[1:]:
        raise CorruptArtefact(f"{path} holds an array of shape {array.shape}.")
    return array


def bytes_of(path: Path) -> bytes:
    """The bytes of the file; CorruptArtefact where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CorruptArtefact(f"{path} is missing.") from None
    except OSError as error:
        raise CorruptArtefact(f"{path} cannot be read: {error.strerror}.") from error
