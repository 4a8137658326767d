"""From a teacher and queries to a small query encoder, for an index that exists already."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from limbeck.data.corpus import Corpus
from limbeck.data.dataset import Dataset
from limbeck.data.labels import Labels, Qrels
from limbeck.data.queries import Queries
from limbeck.data.text_data import TextData
from limbeck.data.vectors import Vectors
from limbeck.encoders.opening import open_encoder
from limbeck.encoders.saved import SETTINGS
from limbeck.encoders.static import StaticEncoder
from limbeck.errors import ConfigError, DataError
from limbeck.jobs.make import refuse_other_folder, refuse_unwritable
from limbeck.jobs.material import (
    HELD_OUT,
    MOST_HELD_OUT,
    CorpusLike,
    asked_texts,
    opened_corpus,
    opened_encoder,
)
from limbeck.storage.whole import replaced_folder
from limbeck.types import Rows

if TYPE_CHECKING:
    from limbeck.encoders.corpus_encoding import KnownEncoder
    from limbeck.encoders.onnx import OnnxEncoder
    from limbeck.encoders.sentence import SentenceEncoder
    from limbeck.recipes.embed_distill import EmbedDistill
    from limbeck.recipes.students import StudentRecipe
    from limbeck.train.history import History

log = logging.getLogger(__name__)

SAMPLE = 1000  # queries that an export is checked with


def distil_encoder(
    queries: Path | str | Queries | Sequence[str] | None = None,
    *,
    out: Path | str,
    teacher: Path | str | SentenceEncoder | None = None,
    corpus: CorpusLike | None = None,
    recipe: StudentRecipe | None = None,
    more_queries: Path | str | Queries | Sequence[str] | None = None,
    labels: Path | str | Qrels | None = None,
    objective: EmbedDistill | None = None,
    index: Path | str | None = None,
    new_index: Path | str | None = None,
    checkpoints: Path | str | None = None,
    progress: bool = True,
) -> StaticEncoder | OnnxEncoder:
    """Distil a query encoder from the teacher's vectors into the folder `out`, and open it. No index there changes.

    queries     of the kind the index gets, without labels: a file, or texts. A BEIR folder as corpus brings its own
    teacher     the encoder of the index's documents: a folder or hub name; MiniLM when left out
    corpus      a BEIR folder or a file of documents. They are matched as well, which keeps more; without it the
                encoder is made from queries alone
    recipe      `StaticQueries()` when left out: a table of token vectors. Transformers are exported to ONNX with 8-bit
                weights: `LayerQueries(...)`, some of the teacher's layers; `NarrowQueries(...)`, narrower ones;
                `ModelQueries(model=...)`, any sentence-transformers model
    more_queries
                matched beside the queries, never held out: those that `limbeck make-queries` made
    labels      relevant documents of the queries, by id: a file. They are learned from as well
    objective   `EmbedDistill()` where labels are given: how much labels, scores and vectors count
    index       the folder of the index that will be searched, made from `corpus`: the encoder is taught over its codes
                as well, by how the teacher ranks decoded documents, and finds more through them
    new_index   a folder: the codewords of `index` move along, which finds still more; the index that fits is written
                there, with the same codes
    checkpoints a folder: a run that was stopped continues from there
    cost        one encoding of all texts by the teacher (cached), and the training. A static student also needs one
                encoding of each token of the vocabulary (cached); it trains in about ten seconds for 20,000 texts on
                two cores. Two layers take minutes for each of their epochs
    """
    from limbeck.jobs.through_index import ThroughIndex
    from limbeck.recipes.embed_distill import EmbedDistill
    from limbeck.recipes.static_student import StaticQueries
    from limbeck.recipes.students import encoder_of

    out, new = Path(out), None if new_index is None else Path(new_index)
    _refuse_combinations(labels=labels, objective=objective, index=index, new=new, out=out)
    refuse_unwritable(out)
    refuse_others(out)
    if new is not None:
        refuse_unwritable(new)
        refuse_other_folder(new)
    opened = None if corpus is None else opened_corpus(corpus)
    if isinstance(opened, Vectors):
        raise ConfigError(
            "the corpus is ready vectors; a student reads texts.\n\nHint: leave the corpus out."
        )
    texts = opened.corpus if isinstance(opened, Dataset) else opened
    teacher = opened_encoder(teacher)
    recipe = recipe or StaticQueries()
    recipe.check(teacher)
    through = None
    if index is not None:
        through = ThroughIndex.open(Path(index), texts, teacher, new=new, seed=recipe.seed)
    data = _texts(opened, queries, teacher, more_queries=more_queries, labels=labels, progress=progress)
    histories: list[History] = []
    options: dict[str, Any] = {
        "folder": None if checkpoints is None else Path(checkpoints),
        "on_history": histories.append,
        "progress": progress,
    }
    if through is not None:
        system = through.recipe.run(data, teacher, through.start, student=recipe, **options)
    elif data.labels is not None:
        system = (objective or EmbedDistill()).run(data, teacher, student=recipe, **options)
    else:
        system = recipe.run(data, teacher, **options)
    _tell(histories[0], by="the index" if through else "exact search" if texts is not None else None)
    _write(encoder_of(system, teacher), out, data.queries[:SAMPLE], teacher)
    if through is not None and data.documents is not None:
        through.publish(system, documents=data.documents, history=histories[0])
    return open_encoder(out)


def _refuse_combinations(
    *, labels: object, objective: EmbedDistill | None, index: object, new: Path | None, out: Path
) -> None:
    if objective is not None and labels is None:
        raise ConfigError("`objective` weighs labels, but `labels` is None.\n\nHint: give `labels`.")
    if objective is not None and objective.documents == "student":
        raise ConfigError(
            "a query encoder is for the teacher's document vectors; with `documents='student'` the student has its own."
            "\n\nHint: objective=EmbedDistill(), or run that recipe itself and index `system.documents.stored()`."
        )
    if index is not None and labels is not None:
        raise ConfigError(
            "over the codes of an index nothing is learned from labels.\n\nHint: leave the labels or the index out."
        )
    if new is not None and index is None:
        raise ConfigError("a new index is made of one that exists.\n\nHint: give --index as well.")
    if new is not None and new.resolve() == out.resolve():
        raise ConfigError(
            f"{out}: the encoder and the new index cannot share a folder.\n\nHint: give each one of its own."
        )


def _write(encoder: KnownEncoder, out: Path, sample_texts: Sequence[str], teacher: SentenceEncoder) -> None:
    """The folder that is opened without torch; a transformer only after its export agreed with torch."""
    if isinstance(encoder, StaticEncoder):
        with replaced_folder(out) as part:
            encoder.save(part)
        return
    from limbeck.encoders.export import export_onnx

    student = cast("SentenceEncoder", encoder)
    export_onnx(student, out, sample_texts=sample_texts, quantise=True, space=teacher.fingerprint)


def refuse_others(out: Path) -> None:
    """Raises ConfigError where `out` holds other things than an encoder, which would be lost."""
    if out.is_dir() and any(out.iterdir()) and not (out / SETTINGS).is_file():
        raise ConfigError(
            f"{out}: holds other files; expected an empty folder, an encoder, or nothing there.\n\n"
            f"Hint: give a folder of its own, such as {out / 'query-encoder'}."
        )


def _texts(
    opened: Corpus | Dataset | None,
    queries: Path | str | Queries | Sequence[str] | None,
    teacher: SentenceEncoder,
    *,
    more_queries: Path | str | Queries | Sequence[str] | None,
    labels: Path | str | Qrels | None,
    progress: bool,
) -> TextData:
    """Everything that is matched, encoded by the teacher; a part of the queries is held out."""
    from limbeck.encoders.collection import encode_texts

    corpus = opened.corpus if isinstance(opened, Dataset) else opened
    asked = asked_texts(opened, queries)
    if len(asked) < 2:
        raise DataError(
            f"there are {len(asked)} training queries; expected thousands of the kind that will be asked.\n\n"
            "Hint: give --queries FILE, or a BEIR folder with a train split as --corpus."
        )
    texts = list(asked.texts)
    vectors = encode_texts(texts, teacher, "query", progress=progress)  # all: `distil` may have cached them
    train, dev = _held_out(texts)
    held_out = {texts[row] for row in dev}
    more = [] if more_queries is None else asked_texts(None, more_queries).texts
    more = [text for text in more if text not in held_out]
    return TextData(
        queries=[texts[row] for row in train],
        vectors=vectors[train],
        more_queries=more,
        more_vectors=encode_texts(more, teacher, "query", progress=progress) if more else None,
        dev_queries=[texts[row] for row in dev],
        dev_vectors=vectors[dev],
        corpus=corpus,
        documents=None if corpus is None else encode_texts(corpus, teacher, "doc", progress=progress),
        labels=None if labels is None else _labels(labels, asked, corpus).take(train),
    )


def _labels(labels: Path | str | Qrels, asked: Queries, corpus: Corpus | None) -> Labels:
    """By rows of queries and documents. raises DataError where they name none of them"""
    if corpus is None:
        raise ConfigError("labels name documents, but there is no corpus.\n\nHint: give --corpus as well.")
    qrels = labels if isinstance(labels, Qrels) else Qrels.open(labels)
    joined = qrels.rows(asked.ids, corpus.ids)
    if not (joined.gains > 0).any():
        raise DataError(
            f"the labels name no pair of a training query and a document, such as {asked.ids[0]!r} and "
            f"{corpus.ids[0]!r}.\n\nHint: ids of labels, queries and documents must be the same; texts given "
            "without ids have none."
        )
    return joined


def _held_out(asked: Sequence[str], seed: int = 0) -> tuple[Rows, Rows]:
    """Rows to train on, and rows kept back to choose the epoch; repeated texts once, so none stands in both."""
    first = np.array(
        sorted({text: row for row, text in reversed(list(enumerate(asked)))}.values()), dtype=np.int64
    )
    count = min(MOST_HELD_OUT, int(len(first) * HELD_OUT))
    order = np.random.default_rng(seed).permutation(len(first))
    return first[np.sort(order[count:])], first[np.sort(order[:count])]


def _tell(history: History, *, by: str | None) -> None:
    if history.best is None or history.before is None:
        return
    best = history.epochs[history.best - 1].dev if history.best else history.before
    assert best is not None
    if by is None:
        log.info("held-out queries: mean distance to the teacher's vector %.3f", -best)
    else:
        log.info("held-out queries: of the teacher's exact top 10, %s finds %.3f for the student", by, best)
