"""Text to vectors: sentence-transformers models, their ONNX export, and encoding that survives being killed.

Names are loaded when they are first used, so `import limbeck.encoders` needs neither torch nor
sentence-transformers. The function `default_teacher` lies in the module of its name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limbeck.encoders.corpus_encoding import cache_folder, encode_corpus
    from limbeck.encoders.default_teacher import DEFAULT_TEACHER
    from limbeck.encoders.export import export_onnx
    from limbeck.encoders.fingerprint import Fingerprint, check_pair
    from limbeck.encoders.onnx import OnnxEncoder
    from limbeck.encoders.sentence import SentenceEncoder
    from limbeck.encoders.stored import StoredVectors
    from limbeck.encoders.texts import text_fingerprint

_HOME = {
    "DEFAULT_TEACHER": "default_teacher",
    "Fingerprint": "fingerprint",
    "OnnxEncoder": "onnx",
    "SentenceEncoder": "sentence",
    "StoredVectors": "stored",
    "cache_folder": "corpus_encoding",
    "check_pair": "fingerprint",
    "encode_corpus": "corpus_encoding",
    "export_onnx": "export",
    "text_fingerprint": "texts",
}

__all__ = [
    "DEFAULT_TEACHER",
    "Fingerprint",
    "OnnxEncoder",
    "SentenceEncoder",
    "StoredVectors",
    "cache_folder",
    "check_pair",
    "encode_corpus",
    "export_onnx",
    "text_fingerprint",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
