"""A code index as two files: `index.faiss` for faiss, and `quantiser.safetensors`, which holds everything."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from limbeck.errors import CorruptArtefact, LimbeckError
from limbeck.quantisers.codebook_file import codebook_bytes, codebook_in
from limbeck.quantisers.faiss_io import faiss_bytes, from_faiss, read_faiss, same
from limbeck.quantisers.product import ProductQuantiser
from limbeck.storage import durable
from limbeck.types import Codes, Floats


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
    data, raw = _bytes_of(folder / "index.faiss"), _bytes_of(folder / "quantiser.safetensors")
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
    found, codes, _ = from_faiss(read_faiss(data))
    if not (same(found.score_codewords, quantiser.score_codewords) and same(found.base, quantiser.base)):
        raise CorruptArtefact(f"{folder}: index.faiss and quantiser.safetensors hold different codewords.")
    return quantiser, codes, codebook.query_map


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CorruptArtefact(f"{path} is missing.") from None
