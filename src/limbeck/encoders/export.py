"""A sentence-transformers model as one ONNX graph, compared with torch before anyone may use it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limbeck.encoders.export_check import check_close, check_same
from limbeck.encoders.fingerprint import Fingerprint
from limbeck.encoders.onnx import MODEL, OUTPUT, OnnxEncoder, Settings
from limbeck.encoders.saved import TOKENIZER
from limbeck.encoders.sentence import SentenceEncoder
from limbeck.errors import DataError, ExportError, MissingExtra
from limbeck.storage.hashing import sha256_file
from limbeck.storage.whole import replaced_folder

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)
POOLINGS = frozenset({"mean", "cls", "max"})
_STEPS = ("Pooling", "Dense", "Normalize")  # what may follow the transformer
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_ONE_FILE_BYTES = 1_500_000_000  # a protobuf ends at 2 GB; larger weights go to a file of their own


def export_onnx(
    encoder: SentenceEncoder,
    folder: Path | str,
    *,
    sample_texts: Sequence[str],
    quantise: bool = False,
    space: Fingerprint | None = None,
) -> OnnxEncoder:
    """Write transformer, pooling, dense layers and normalising as ONE float32 graph, and open it.

    The graph takes any batch size and any length. Before the folder appears, its vectors are compared with
    torch's in float32 on `sample_texts`, in padded batches and one by one, as queries and as documents: to
    1e-5, else ExportError with the worst text, and nothing is left behind. An older folder there is replaced.

    sample_texts  real queries of all lengths, a thousand or so
    space         of a student: the teacher, for whose documents its queries are
    quantise      weights of matrix products as 8-bit integers: a quarter of the file, other vectors (the
                  fingerprint says "int8"); ExportError if one of them has a cosine below 0.95 with torch's
    cost          about 20 s and three times the model's memory, and the encoding of the samples
    raises        ExportError for models with other steps than these, MissingExtra without onnxscript
    source        `torch.onnx.export(dynamo=True)`: the older exporter froze shapes into the graph, and its
                  vectors were wrong for other lengths without any error
    """
    if not sample_texts:
        raise DataError(
            "`sample_texts` is empty; give about a thousand real queries to check the export with."
        )
    check_exportable(encoder.model)
    reference = encoder.in_float32()
    with replaced_folder(folder) as part:
        _write(reference, part, space)
        # one thread: for single short texts more would wait for each other, for minutes on a busy machine
        check_same(OnnxEncoder.open(part, threads=1), reference, sample_texts)
        if quantise:
            _quantise(part)
            check_close(OnnxEncoder.open(part, threads=1), reference, sample_texts)
    log.info("%s: exported, %d texts agree with torch", folder, len(sample_texts))
    return OnnxEncoder.open(folder)


def check_exportable(model: Any) -> None:
    """ExportError naming the step of the model that has no place in the graph."""
    modules = list(model)
    names = [type(module).__name__ for module in modules]
    if not names or names[0] != "Transformer":
        raise ExportError(f"the model must begin with a Transformer, found {names[:1] or 'nothing'}.")
    if not hasattr(modules[0].tokenizer, "backend_tokenizer"):
        name = type(modules[0].tokenizer).__name__
        raise ExportError(f"the tokenizer {name} has no `tokenizer.json` form.")
    if "message" in modules[0].modality_config:
        raise ExportError("the Transformer puts texts into a chat template, which no tokenizer.json holds.")
    for side in ("query_length", "document_length", "query_expansion"):
        if getattr(modules[0], side, None):
            raise ExportError(f"the Transformer has `{side}`; only one length for both sides is exported.")
    for name, module in zip(names[1:], modules[1:], strict=True):
        _check_step(name, module)
    if getattr(model, "truncate_dim", None):
        raise ExportError(f"the model cuts its vectors to {model.truncate_dim} dimensions at the end.")


def _check_step(name: str, module: Any) -> None:
    if name not in _STEPS:
        raise ExportError(f"the model has a step {name}, which is not exported; {_STEPS} are.")
    if name == "Dense" and module.module_input_name != "sentence_embedding":
        raise ExportError(f"Dense reads {module.module_input_name!r}; only 'sentence_embedding' is exported.")
    if name != "Pooling":
        return
    modes = (module.pooling_mode,) if isinstance(module.pooling_mode, str) else tuple(module.pooling_mode)
    if not POOLINGS.issuperset(modes):
        raise ExportError(f"Pooling {modes} cannot be exported; supported: {sorted(POOLINGS)}.")
    if not module.include_prompt:
        raise ExportError("Pooling leaves the prompt's tokens out (`include_prompt=False`): not exported.")


def _write(encoder: SentenceEncoder, folder: Path, space: Fingerprint | None) -> None:
    inputs = _graph_inputs(encoder.model)
    _write_graph(encoder, folder, inputs)
    padding = _write_tokenizer(encoder, folder)
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
    Settings(encoder.fingerprint, inputs, padding, files, space).save(folder)


def _graph_inputs(model: Any) -> tuple[str, ...]:
    known = model[0].tokenizer.model_input_names
    return tuple(name for name in _INPUTS if name in known)


def _write_graph(encoder: SentenceEncoder, folder: Path, inputs: tuple[str, ...]) -> None:
    import torch

    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "exporting to ONNX needs onnx and onnxscript.\n\nInstall it with: pip install 'limbeck[train]'"
        ) from error
    example = encoder.model.preprocess(["a first text", "a second, somewhat longer text as an example"])
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    size = 4 * sum(parameter.numel() for parameter in encoder.model.parameters())
    with _quiet_exporter(), torch.no_grad():
        try:
            torch.onnx.export(
                _graph(encoder),
                tuple(example[name].cpu() for name in inputs),
                folder / MODEL,
                dynamo=True,
                input_names=list(inputs),
                output_names=[OUTPUT],
                dynamic_shapes=(({0: batch, 1: length},) * len(inputs),),  # one element: *tensors
                external_data=size > _ONE_FILE_BYTES,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            name = type(encoder.model[0].model).__name__
            raise ExportError(
                f"torch could not export {name} as a graph: {_last_line(error)}\n\n"
                "Hint: keep the torch encoder (`SentenceEncoder`) for this model."
            ) from error


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter warns of deprecations inside itself and of packages that nobody asked for."""
    root = logging.getLogger()
    loggers = [logging.getLogger("torch.onnx"), root]
    levels, handlers = [logger.level for logger in loggers], root.handlers[:]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the comparison with torch decides, not the warnings
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        root.handlers[:] = handlers  # the quantiser's first warning would add one for good


def _last_line(error: BaseException) -> str:
    cause: BaseException = error.__cause__ or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]


def _graph(encoder: SentenceEncoder) -> Any:
    """The whole model from tensors to a tensor, without sentence-transformers' dictionaries."""
    import torch

    transformer, *steps = list(encoder.model)
    inputs = _graph_inputs(encoder.model)
    normalise = encoder.fingerprint.normalise and type(steps[-1]).__name__ != "Normalize"

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transformer = transformer.model
            self.steps = torch.nn.ModuleList(steps)

        def forward(self, *tensors: Tensor) -> Tensor:
            features: dict[str, Any] = dict(zip(inputs, tensors, strict=True))
            features["token_embeddings"] = self.transformer(**features, return_dict=True).last_hidden_state
            for step in self.steps:
                features = step(features)
            vectors: Tensor = features["sentence_embedding"]
            return torch.nn.functional.normalize(vectors, dim=1) if normalise else vectors

    return Graph().eval()


def _write_tokenizer(encoder: SentenceEncoder, folder: Path) -> dict[str, Any]:
    """Save the fast tokenizer with its truncation; returns how it pads."""
    from tokenizers import Tokenizer

    outer = encoder.model[0].tokenizer
    tokenizer = Tokenizer.from_str(outer.backend_tokenizer.to_str())  # a copy: settings are kept inside
    if encoder.fingerprint.max_length is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(encoder.fingerprint.max_length, direction=outer.truncation_side)
    padding = {
        "direction": outer.padding_side,
        "pad_id": outer.pad_token_id,
        "pad_type_id": outer.pad_token_type_id,
        "pad_token": outer.pad_token,
    }
    tokenizer.enable_padding(**padding)
    tokenizer.save(str(folder / TOKENIZER))
    return padding


def _quantise(folder: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source, target = folder / MODEL, folder / f"int8-{MODEL}"
    model = onnx.load(source)
    del model.graph.value_info[
        :
    ]  # the quantiser transposes weights and then trips over their recorded shapes
    with _quiet_exporter():
        # a scale for each column: with one a matrix, cosines fall from 0.99 to 0.93 (MiniLM, 200 queries)
        quantize_dynamic(model, target, weight_type=QuantType.QInt8, per_channel=True)
    for old in folder.glob(f"{MODEL}*"):
        old.unlink()
    target.rename(source)
    before = Settings.open(folder)
    fingerprint = Fingerprint(**{**before.fingerprint.to_json(), "precision": "int8"})
    files = {name: sha256_file(folder / name) for name in (MODEL, TOKENIZER)}
    replace(before, fingerprint=fingerprint, files=files).save(folder)
