"""What a transformer student is before training: some layers of the teacher, as they are or narrower, or another model.

One that was not made for the teacher's space gets a linear map to it (`projected`), and an index may keep the smaller
vectors before that map (`folded`).

Letters: V tokens of the vocabulary, d the teacher's width, w the student's own.
"""

from __future__ import annotations

import copy
import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.encoders.fingerprint import Fingerprint
from limbeck.encoders.sentence import SentenceEncoder, no_loading_bars
from limbeck.encoders.static_student import check_width, token_vectors, widest_axes
from limbeck.encoders.tokens import TokenLists, padded
from limbeck.errors import ConfigError
from limbeck.types import Floats

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module, ModuleList
    from transformers import PreTrainedModel

HEAD = 32  # numbers of an attention head, as in MiniLM
SPREAD = 0.05  # size of a new token vector's numbers: as in BERT, so that its rates fit
POSITIONS = 512  # of a new transformer, where the teacher names no limit
TOKENS = 8192  # that narrower layers are fitted on
TOGETHER = 64


def with_layers(encoder: SentenceEncoder, layers: Sequence[int]) -> SentenceEncoder:
    """A copy in float32 that keeps these layers of its transformer, from 0, in this order.

    raises  ConfigError where there are no such layers
    """
    import torch

    plain = encoder.in_float32()
    check_layers(plain, layers)
    stack = _stack(plain.model[0].model)
    kept = torch.nn.ModuleList(copy.deepcopy(stack[layer]) for layer in layers)
    model = copy.deepcopy(
        plain.model, {id(stack): kept}
    )  # with these for the stack: the others are never copied
    model[0].model.config.num_hidden_layers = len(layers)
    return plain.with_model(model, plain.fingerprint)


def check_layers(encoder: SentenceEncoder, layers: Sequence[int]) -> None:
    """ConfigError unless these are layers of the encoder's transformer, one at least."""
    count = len(_stack(encoder.model[0].model))
    if not layers or not all(0 <= layer < count for layer in layers):
        raise ConfigError(
            f"`layers` must name at least one of the model's, 0 to {count - 1}; found {tuple(layers)}."
        )


def narrow(
    teacher: SentenceEncoder, *, width: int, layers: int, seed: int, progress: bool = True
) -> SentenceEncoder:
    """A new BERT of width w over the teacher's tokens, with mean pooling.

    A token starts as the teacher's vector of it alone, on the principal axes of all. The layers start small and random,
    so that a text begins as the mean of its tokens.

    cost    the teacher's vector of each token (cached): about a minute of a core
    raises  ConfigError for a width that heads of 32 do not divide, and one not below the teacher's
    """
    import torch
    from transformers import BertConfig, BertModel

    check_new(teacher, width=width, layers=layers)
    vectors = token_vectors(teacher, progress=progress)
    vectors = vectors @ widest_axes(vectors, width)
    config = BertConfig(
        vocab_size=len(vectors),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // HEAD,
        intermediate_size=4 * width,
        max_position_embeddings=teacher.fingerprint.max_length or POSITIONS,
        pad_token_id=teacher.model[0].tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = BertModel(config)
    embeddings = transformer.embeddings
    with torch.no_grad():
        size = float(np.sqrt(np.square(vectors).mean()))
        embeddings.word_embeddings.weight.copy_(torch.from_numpy(vectors * (SPREAD / size)))
        embeddings.position_embeddings.weight.mul_(0.1)
        embeddings.token_type_embeddings.weight.zero_()
    return _with_mean(transformer, teacher)


def check_new(teacher: SentenceEncoder, *, width: int, layers: int) -> None:
    """ConfigError unless a new transformer of this width and depth can be a student of the teacher's."""
    if width % HEAD or layers < 1:
        raise ConfigError(
            f"a narrow transformer has a width of whole heads of {HEAD}, and layers; found width {width} and "
            f"{layers} layers.\n\nHint: width=256, or 128."
        )
    check_width(width, teacher.dim)


def narrowed(
    teacher: SentenceEncoder, layers: Sequence[int], *, width: int, texts: TokenLists, seed: int
) -> SentenceEncoder:
    """Some layers of the teacher, a BERT, made narrower (`encoders.slicing`), with mean pooling.

    texts   of which a sample of 8,192 tokens is read
    raises  ConfigError for other teachers, layers that it does not have, and widths that its heads do not divide
    """
    from limbeck.encoders.slicing import sliced

    wide = with_layers(teacher, layers).model[0].model
    batches = _sample(texts, int(teacher.model[0].tokenizer.pad_token_id), seed=seed)
    positions = teacher.fingerprint.max_length or POSITIONS
    return _with_mean(sliced(wide, width, batches, positions=positions, seed=seed), teacher)


def without_unit(encoder: SentenceEncoder) -> SentenceEncoder:
    """The same before its vectors are made unit length: what a linear map reads. It shares the parameters."""
    steps = [module for module in encoder.model if type(module).__name__ != "Normalize"]
    return _behind(encoder, steps, replace(encoder.fingerprint, normalise=False))


def projected(encoder: SentenceEncoder, weight: Floats, space: Fingerprint) -> SentenceEncoder:
    """The encoder behind a linear map [d, w] to the teacher's space, of unit length where the teacher's vectors are.

    There is no bias: with one the length of a vector would depend on more than its w numbers.
    """
    import torch
    from sentence_transformers.base.modules import Dense

    weight = np.ascontiguousarray(weight, np.float32)
    wide, own = weight.shape
    dense = Dense(
        own,
        wide,
        bias=False,
        activation_function=torch.nn.Identity(),
        init_weight=torch.from_numpy(weight.copy()),
    )
    fingerprint = replace(
        encoder.fingerprint,
        dim=wide,
        pooling=f"{encoder.fingerprint.pooling}|Dense",
        normalise=space.normalise,
        similarity=space.similarity,
    )
    return _behind(encoder, [*without_unit(encoder).model, dense], fingerprint)


def folded(encoder: SentenceEncoder, space: Fingerprint) -> tuple[SentenceEncoder, Floats, Fingerprint]:
    """A projected student at its own width w, the map Q [d, w] of document vectors to it, and that narrower space.

    The projection is Q·R with orthonormal Q: <Q·R·e, x> = <R·e, Qᵀ·x>, and both sides of Q have one length. So an index
    over x @ Q gives the scores of the wide one, to rounding.

    space   of the wide vectors: the teacher's
    raises  ConfigError where there is no projection from fewer numbers
    """
    *steps, last = encoder.model
    is_map = type(last).__name__ == "Dense" and last.linear.bias is None
    weight = last.linear.weight.detach().cpu().numpy() if is_map else np.empty((0, 0))
    if not weight.shape[1] < weight.shape[0]:
        raise ConfigError(
            f"this encoder of width {encoder.dim} does not end in a linear map from fewer numbers.\n\n"
            "Hint: train a narrow one: NarrowQueries(width=256)."
        )
    axes, small = np.linalg.qr(weight)
    digest = hashlib.sha256((space.weights + hashlib.sha256(axes.tobytes()).hexdigest()).encode()).hexdigest()
    own = replace(space, dim=len(small), weights=digest)
    pooling = encoder.fingerprint.pooling.removesuffix("|Dense")
    before = _behind(encoder, steps, replace(encoder.fingerprint, dim=len(small), pooling=pooling))
    return projected(before, small, own), axes, own


def _behind(encoder: SentenceEncoder, modules: Sequence[Module], fingerprint: Fingerprint) -> SentenceEncoder:
    """The encoder of these steps, with the prompts of another."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        modules=list(modules),
        prompts=dict(encoder.model.prompts),
        default_prompt_name=encoder.model.default_prompt_name,
        similarity_fn_name=fingerprint.similarity,
        device=str(encoder.model.device),
    ).eval()
    return SentenceEncoder(
        model, folder=encoder.folder, fingerprint=fingerprint, normalise=fingerprint.normalise
    )


def _with_mean(transformer: PreTrainedModel, teacher: SentenceEncoder) -> SentenceEncoder:
    """Mean pooling behind a transformer that has the teacher's tokenizer, prompts and length."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    # the module is made from a folder only
    with tempfile.TemporaryDirectory() as folder, no_loading_bars():
        transformer.save_pretrained(folder)
        teacher.model[0].tokenizer.save_pretrained(folder)
        first = Transformer(folder, max_seq_length=teacher.fingerprint.max_length)
    width = int(transformer.config.hidden_size)
    model = SentenceTransformer(
        modules=[first, Pooling(width, "mean")],
        prompts=dict(teacher.model.prompts),
        default_prompt_name=teacher.model.default_prompt_name,
        device=str(teacher.model.device),
    ).eval()
    return teacher.with_model(
        model, replace(teacher.fingerprint, dim=width, pooling="mean", precision="float32")
    )


def _sample(texts: TokenLists, pad: int, *, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of texts drawn at random, as many as make `TOKENS`; those of like length together."""
    import torch

    lengths = np.diff(texts.starts)
    drawn = np.random.default_rng(seed).permutation(len(texts))
    drawn = drawn[: 1 + int(np.searchsorted(np.cumsum(lengths[drawn]), TOKENS))]
    order = drawn[np.argsort(lengths[drawn], kind="stable")]
    batches = []
    for start in range(0, len(order), TOGETHER):
        ids, mask = padded(texts.take(order[start : start + TOGETHER]), pad)
        batches.append((torch.from_numpy(ids), torch.from_numpy(mask)))
    return batches


def _stack(model: Any) -> ModuleList:
    """The transformer's layers."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == model.config.num_hidden_layers:
            return module
    raise ConfigError(
        f"{type(model).__name__} has no list of {model.config.num_hidden_layers} layers to choose from.\n\n"
        "Hint: a static student learns from any teacher."
    )
