"""A code index as two files: `index.faiss` for faiss, and `quantiser.safetensors`, which holds everything."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from limbeck.errors import CorruptArtefact, LimbeckError
from limbeck.quantisers.faiss_io import faiss_bytes, from_faiss, read_faiss, same
from limbeck.quantisers.product import ProductQuantiser
from limbeck.storage import durable
from limbeck.types import Codes, Floats

DESCRIPTION = "limbeck"
SETTINGS = ("code_bytes", "bits", "metric", "by_residual")


def save_index(folder: Path, quantiser: ProductQuantiser, plain: Any, *, query_map: Floats | None) -> None:
    """Writes both files; `plain` is the faiss index over the codes."""
    from safetensors.numpy import save

    durable.make_folders(folder)
    data = faiss_bytes(plain).tobytes()
    arrays = dict(quantiser.parts())
    if query_map is not None:
        arrays["query_map"] = query_map
    settings = {name: getattr(quantiser, name) for name in SETTINGS}
    described = {"settings": settings, "index_sha256": hashlib.sha256(data).hexdigest()}
    durable.write_file(folder / "index.faiss", data)
    durable.write_file(folder / "quantiser.safetensors", save(arrays, metadata=_one_key(described)))


def load_index(folder: Path) -> tuple[ProductQuantiser, Codes, Floats | None]:
    """Quantiser, codes and query map from both files; CorruptArtefact if they do not belong together."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data, raw = _bytes_of(folder / "index.faiss"), _bytes_of(folder / "quantiser.safetensors")
    try:
        arrays = load(raw)
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        described = json.loads(header["__metadata__"][DESCRIPTION])
        settings, expected = described["settings"], described["index_sha256"]
        query_map = arrays.pop("query_map", None)
        quantiser = ProductQuantiser(**{name: settings[name] for name in SETTINGS}).with_parts(arrays)
    except (SafetensorError, ValueError, KeyError, TypeError, LimbeckError) as error:
        raise CorruptArtefact(f"{folder / 'quantiser.safetensors'} cannot be read: {error}") from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise CorruptArtefact(
            f"{folder / 'index.faiss'}: checksum mismatch; it is damaged or from another save."
        )
    found, codes, _ = from_faiss(read_faiss(data))
    if not (same(found.score_codewords, quantiser.score_codewords) and same(found.base, quantiser.base)):
        raise CorruptArtefact(f"{folder}: index.faiss and quantiser.safetensors hold different codewords.")
    return quantiser, codes, query_map


def _one_key(described: dict[str, Any]) -> dict[str, str]:
    """Safetensors writes several keys in an order of its own: equal indexes would differ in their bytes."""
    return {DESCRIPTION: json.dumps(described, sort_keys=True)}


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CorruptArtefact(f"{path} is missing.") from None
