"""An exported encoder: onnxruntime, tokenizers and numpy, without torch. What `search` and serving use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from limbeck.encoders.fingerprint import Fingerprint
from limbeck.encoders.saved import (
    SETTINGS,
    TOKENIZER,
    check_files,
    open_tokenizer,
    read_settings,
    write_settings,
)
from limbeck.encoders.texts import check_texts, longest_first
from limbeck.errors import ConfigError, CorruptArtefact
from limbeck.types import Floats, Reps, Side

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Encoding, Tokenizer

MODEL = "model.onnx"
OUTPUT = "vectors"
_FIELD = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


@dataclass(frozen=True, slots=True)
class Settings:
    """The file `encoder.json` beside the graph."""

    fingerprint: Fingerprint
    inputs: tuple[str, ...]  # names of the graph's inputs, in its order
    padding: Mapping[str, Any]  # of tokenizers: pad_id, pad_type_id, pad_token, direction
    files: Mapping[str, str]  # name to sha256 hex
    space: Fingerprint | None = None  # of the encoder whose documents its queries are for; None = its own

    def save(self, folder: Path) -> None:
        """Write `encoder.json`."""
        values = {
            "fingerprint": self.fingerprint.to_json(),
            "inputs": list(self.inputs),
            "padding": dict(self.padding),
            "files": dict(self.files),
        }
        if self.space is not None:
            values["space"] = self.space.to_json()
        write_settings(folder, values)

    @classmethod
    def open(cls, folder: Path) -> Settings:
        """Read `encoder.json`; CorruptArtefact or VersionMismatch if it cannot be used."""
        values = read_settings(folder)
        try:
            fingerprint = Fingerprint.from_json(values["fingerprint"])
            space = Fingerprint.from_json(values["space"]) if "space" in values else None
            inputs, padding, files = tuple(values["inputs"]), dict(values["padding"]), dict(values["files"])
            return cls(fingerprint, inputs, padding, files, space)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptArtefact(
                f"{folder / SETTINGS}: not the settings of an exported encoder: {error!r}."
            ) from error


class OnnxEncoder:
    """An exported encoder. Made by `open`; `encode` may be called from many threads."""

    def __init__(self, session: InferenceSession, tokenizer: Tokenizer, settings: Settings) -> None:
        self._session = session
        self._tokenizer = tokenizer
        self._inputs = settings.inputs
        self.fingerprint = settings.fingerprint
        self.space = settings.space or settings.fingerprint

    @classmethod
    def open(cls, folder: Path | str, *, threads: int | None = None) -> OnnxEncoder:
        """The encoder that `export_onnx` wrote, after its files passed their sha256.

        threads  for one call; None = one for each core. With many callers at once, 1 serves the most queries
        raises   CorruptArtefact if a file is missing or differs, VersionMismatch for another format
        """
        folder = Path(folder)
        if threads is not None and threads < 1:
            raise ConfigError(f"`threads` must be at least 1, found {threads}.")
        settings = Settings.open(folder)
        check_files(folder, settings.files)
        return cls(_session(folder / MODEL, threads), _tokenizer(folder / TOKENIZER, settings), settings)

    @property
    def dim(self) -> int:
        """The width of a vector."""
        return self.fingerprint.dim

    def encode(self, texts: Sequence[str], *, side: Side, batch_size: int = 64) -> Reps:
        """[len(texts), 1, dim] float32. Sorted by length into batches, given back in the order of `texts`."""
        check_texts(texts)
        vectors = np.empty((len(texts), self.dim), np.float32)
        prompt = self.fingerprint.prompts.get(side, "")
        order = longest_first(texts)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            vectors[rows] = self._run([prompt + texts[row] for row in rows])
        return Reps.single(vectors)

    def encode_query(self, texts: Sequence[str], *, batch_size: int = 64) -> Floats:
        """[len(texts), dim] float32, with the model's prompt for queries."""
        vectors: Floats = self.encode(texts, side="query", batch_size=batch_size).flat
        return vectors

    def encode_document(self, texts: Sequence[str], *, batch_size: int = 64) -> Floats:
        """[len(texts), dim] float32, with the model's prompt for documents."""
        vectors: Floats = self.encode(texts, side="doc", batch_size=batch_size).flat
        return vectors

    def _run(self, texts: list[str]) -> Floats:
        encoded = self._tokenizer.encode_batch(texts)
        feed = {name: _stack(encoded, name) for name in self._inputs}
        vectors: Floats = self._session.run([OUTPUT], feed)[0]
        return vectors


def _stack(encoded: Sequence[Encoding], name: str) -> NDArray[np.int64]:
    return np.array([getattr(one, _FIELD[name]) for one in encoded], np.int64)


def _tokenizer(path: Path, settings: Settings) -> Tokenizer:
    tokenizer = open_tokenizer(path)
    try:
        tokenizer.enable_padding(**settings.padding)
    except (TypeError, ValueError, OverflowError) as error:
        raise CorruptArtefact(f"{path.with_name(SETTINGS)}: `padding` cannot be used: {error}.") from error
    if settings.fingerprint.max_length is None:
        tokenizer.no_truncation()
    return tokenizer


def _session(path: Path, threads: int | None) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0  # 0 = onnxruntime chooses: one for each core
    options.inter_op_num_threads = 1
    # no arena: it keeps the memory of the largest batch ever seen, and shapes change with every batch here
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # threads that wait sleep: spinning ones take the cores from faiss and from other callers
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors; they are raised as well
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class
        raise CorruptArtefact(f"{path}: no graph that can be run: {error}") from error
