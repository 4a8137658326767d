"""Opening a saved query encoder of whichever kind. Without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from limbeck.encoders.saved import ONNX, STATIC, read_settings

if TYPE_CHECKING:
    from limbeck.encoders.onnx import OnnxEncoder
    from limbeck.encoders.static import StaticEncoder


def open_encoder(folder: Path | str, *, threads: int | None = None) -> OnnxEncoder | StaticEncoder:
    """The encoder saved in the folder, after its files passed their sha256.

    threads  of one call of a graph; a table needs none
    raises   CorruptArtefact if a file is missing or differs, VersionMismatch for another format
    """
    if read_settings(Path(folder)).get("kind", ONNX) == STATIC:
        from limbeck.encoders.static import StaticEncoder

        return StaticEncoder.open(folder)
    from limbeck.encoders.onnx import OnnxEncoder

    return OnnxEncoder.open(folder, threads=threads)
