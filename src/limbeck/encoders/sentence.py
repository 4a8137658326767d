"""Any sentence-transformers model as an encoder of ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.encoders.default_teacher import DEFAULT_TEACHER
from limbeck.encoders.fingerprint import Fingerprint
from limbeck.encoders.model_folder import find_model, weights_digest
from limbeck.encoders.precision import Precision, chosen
from limbeck.encoders.texts import check_texts
from limbeck.errors import ConfigError, MissingExtra
from limbeck.types import Floats, Reps, Side

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_DOCUMENT_PROMPTS = (
    "document",
    "passage",
    "corpus",
)  # in this order (sentence-transformers' encode_document)
_PLAIN_MODULES = frozenset({"Transformer", "Pooling", "Dense", "Normalize"})
_OFFSET_POSITIONS = frozenset(
    {"roberta", "xlm-roberta", "camembert", "mpnet"}
)  # positions start behind the pad id


class SentenceEncoder:
    """A sentence-transformers model for inference. Made by `open`.

    About 20 ms of one core a 100-token text for a 6-layer model of width 384. Not to be shared between
    threads while `encode` runs: torch is parallel inside.
    """

    def __init__(
        self, model: SentenceTransformer, *, folder: Path, fingerprint: Fingerprint, normalise: bool | None
    ) -> None:
        self.model = model
        self.folder = folder
        self.fingerprint = fingerprint
        self._normalise = normalise

    @classmethod
    def open(
        cls,
        name_or_path: str | Path = DEFAULT_TEACHER,
        *,
        precision: Precision = "auto",
        max_length: int | None = None,
        normalise: bool | None = None,
        device: str | None = "cpu",
        revision: str | None = None,
    ) -> SentenceEncoder:
        """A model by folder or hub name.

        precision   "auto" = bfloat16 where the hardware multiplies it itself (two to three times faster on
                    such a CPU), else float32. Pooling, dense layers and normalising always run in float32.
        max_length  tokens kept of a text; None = what the model says
        normalise   True makes vectors unit length; None leaves it to the model
        device      None = the fastest there is
        revision    of a hub name: branch, tag or commit
        raises      MissingExtra without sentence-transformers, ConfigError without a model, and for what it cannot do,
                    CorruptArtefact if the default teacher's files are not the published ones
        """
        folder = find_model(name_or_path, revision=revision)
        model = _load(folder, device)
        if max_length is not None:
            _set_max_length(model, max_length)
        chosen = _choose_precision(model, precision)
        fingerprint = _fingerprint(model, folder, precision=chosen, normalise=normalise)
        if chosen == "bfloat16":
            _compute_in_bfloat16(model)
        return cls(model, folder=folder, fingerprint=fingerprint, normalise=normalise)

    @property
    def dim(self) -> int:
        """The width of a vector."""
        return self.fingerprint.dim

    def in_float32(self) -> SentenceEncoder:
        """The same encoder computing in float32: itself, or opened again. What an export is compared with."""
        if self.fingerprint.precision == "float32":
            return self
        return SentenceEncoder.open(
            self.folder,
            precision="float32",
            max_length=self.fingerprint.max_length,
            normalise=self._normalise,
            device=str(self.model.device),
        )

    def with_model(self, model: SentenceTransformer, fingerprint: Fingerprint) -> SentenceEncoder:
        """The encoder of another model that reads texts as this one does: a student of it."""
        return SentenceEncoder(model, folder=self.folder, fingerprint=fingerprint, normalise=self._normalise)

    def encode(self, texts: Sequence[str], *, side: Side, batch_size: int = 64) -> Reps:
        """[len(texts), 1, dim] float32. Sorted by length into batches, given back in the order of `texts`."""
        check_texts(texts)
        if not len(texts):
            return Reps.single(np.empty((0, self.dim), np.float32))
        encode = self.model.encode_query if side == "query" else self.model.encode_document
        vectors = encode(
            list(texts),
            batch_size=batch_size,
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=self._normalise is True,
        )
        return Reps.single(np.ascontiguousarray(vectors, np.float32))

    def encode_query(self, texts: Sequence[str], *, batch_size: int = 64) -> Floats:
        """[len(texts), dim] float32, with the model's prompt for queries."""
        vectors: Floats = self.encode(texts, side="query", batch_size=batch_size).flat
        return vectors

    def encode_document(self, texts: Sequence[str], *, batch_size: int = 64) -> Floats:
        """[len(texts), dim] float32, with the model's prompt for documents."""
        vectors: Floats = self.encode(texts, side="doc", batch_size=batch_size).flat
        return vectors


def resolved_prompts(model: Any) -> dict[str, str]:
    """{"query": ..., "doc": ...}: what the model's encode_query and encode_document put before a text."""
    prompts: dict[str, str] = model.prompts
    fallback = prompts.get(model.default_prompt_name) or "" if model.default_prompt_name else ""
    document = next((prompts[name] for name in _DOCUMENT_PROMPTS if name in prompts), fallback)
    return {"query": prompts.get("query", fallback), "doc": document}


def module_names(model: Any) -> list[str]:
    """The class names of the model's steps, in order."""
    return [type(module).__name__ for module in model]


def _load(folder: Path, device: str | None) -> SentenceTransformer:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtra(
            "encoding with a sentence-transformers model needs torch and sentence-transformers.\n\n"
            "Install it with: pip install 'limbeck[train]'"
        ) from error
    if not any((folder / name).is_file() for name in ("modules.json", "config.json")):
        raise ConfigError(
            f"{folder} holds no model: neither modules.json nor config.json is there.\n\n"
            "Hint: give a folder saved with `model.save_pretrained(path)`, or a hub name."
        )
    with no_loading_bars():
        model = SentenceTransformer(
            str(folder), device=device, local_files_only=True, trust_remote_code=False
        )
    return model.float().eval()  # checkpoints in half precision would otherwise be computed in it


@contextmanager
def no_loading_bars() -> Iterator[None]:
    """A bar for each model that is loaded, however small, is none of ours: transformers draws it."""
    from transformers.utils import logging

    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()


def _set_max_length(model: Any, max_length: int) -> None:
    config = getattr(model[0], "config", None)
    limit = getattr(config, "max_position_embeddings", None)
    if limit and config is not None and config.model_type in _OFFSET_POSITIONS:
        limit -= (config.pad_token_id or 0) + 1
    if max_length < 1 or (limit and max_length > limit):
        raise ConfigError(
            f"`max_length` must be between 1 and {limit or 'any length'} for this model: {max_length}."
        )
    model.max_seq_length = max_length


def _choose_precision(model: Any, precision: Precision) -> str:
    odd = sorted(set(module_names(model)) - _PLAIN_MODULES)
    if precision == "bfloat16" and odd:
        raise ConfigError(f"bfloat16 is supported for {sorted(_PLAIN_MODULES)}; this model also has {odd}.")
    if precision == "auto" and odd:
        return "float32"
    return chosen(precision, device=model.device.type)


def _compute_in_bfloat16(model: Any) -> None:
    """The transformer in bfloat16, all behind it in float32: unit length then holds to 1e-7, not to 1e-3."""
    import torch

    def back_to_float32(_module: Any, _inputs: Any, features: dict[str, Any]) -> dict[str, Any]:
        features["token_embeddings"] = features["token_embeddings"].float()
        return features

    model[0].to(torch.bfloat16)
    model[0].register_forward_hook(back_to_float32)


def _fingerprint(model: Any, folder: Path, *, precision: str, normalise: bool | None) -> Fingerprint:
    modules = list(model)
    model_normalises = bool(modules) and type(modules[-1]).__name__ == "Normalize"
    if normalise is False and model_normalises:
        raise ConfigError(
            "`normalise=False`, but normalising is this model's own last step."
            "\n\nHint: leave `normalise` away."
        )
    return Fingerprint(
        weights=weights_digest(folder),
        dim=int(model.get_embedding_dimension()),
        pooling="|".join(_step(module) for module in modules if _step(module)),
        prompts=resolved_prompts(model),
        max_length=model.get_max_seq_length(),
        normalise=model_normalises or normalise is True,
        precision=precision,
        similarity=model.similarity_fn_name,
    )


def _step(module: Any) -> str:
    """How a module shows in `Fingerprint.pooling`; "" for those that other fields speak of."""
    kind = type(module).__name__
    if kind in ("Transformer", "Normalize"):
        return ""
    if kind != "Pooling":
        return kind
    modes = module.pooling_mode
    joined = modes if isinstance(modes, str) else "+".join(modes)
    return joined if module.include_prompt else f"{joined} without prompt"
