"""From training queries to new ones that ask much the same, in a file beside them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from limbeck.data.dataset import Dataset
from limbeck.data.queries import Queries
from limbeck.data.vectors import Vectors
from limbeck.errors import ConfigError, DataError
from limbeck.jobs.make import refuse_unwritable
from limbeck.jobs.material import CorpusLike, asked_texts, opened_corpus, opened_encoder
from limbeck.storage.whole import replaced_file

if TYPE_CHECKING:
    from limbeck.encoders.generator import QueryGenerator
    from limbeck.encoders.sentence import SentenceEncoder
    from limbeck.recipes.query_generation import Made, QueryGeneration

log = logging.getLogger(__name__)

SAMPLE = 200  # queries that a generator must be able to repeat
REPEATS = 0.5  # the share of them from which on nothing is said


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """How many new queries there are, and how many were left out, each for the first reason that holds."""

    asked: int  # training queries
    made: int
    written: int
    forbidden: int  # equal to a query of another split, or of a file that was named
    known: int  # equal to a training query
    repeated: int  # equal to a new query before them, or empty


def make_queries(
    queries: Path | str | Queries | Sequence[str] | None = None,
    *,
    out: Path | str,
    corpus: CorpusLike | None = None,
    generator: Path | str | QueryGenerator | None = None,
    teacher: Path | str | SentenceEncoder | None = None,
    recipe: QueryGeneration | None = None,
    never: Iterable[Path | str | Queries] = (),
    save_generator: Path | str | None = None,
    checkpoints: Path | str | None = None,
    progress: bool = True,
) -> Written:
    """Write new queries made from training queries to `out`, a .jsonl file that `distil_encoder` reads.

    A line has `_id`, `text`, `from` (the id of the training query) and `noise`. Equal texts are written once, upper
    and lower case and spaces aside; none equals a training query.

    queries         a file, or texts; a BEIR folder as corpus brings its train split
    corpus          a BEIR folder: no new query equals one of its other queries either
    generator       a folder with a BART or T5, or one saved here before: taken as it is. Without one, a generator is
                    made from the teacher and trained on the queries
    never           further queries that no new one may equal: those that the student will be judged on
    save_generator  a folder for the generator
    checkpoints     a folder: training that was stopped goes on from there
    cost            of a generator made here, on one core: 15 ms for each query and pass of training, 3 ms for each new
                    query. A given one costs as much more as it is larger
    """
    from limbeck.recipes.query_generation import QueryGeneration, generator_in

    out = Path(out)
    refuse_unwritable(out.parent)
    if out.suffix != ".jsonl":
        raise ConfigError(
            f"{out}: new queries are written as JSON lines; expected a name that ends in .jsonl."
        )
    opened = None if corpus is None else opened_corpus(corpus)
    if isinstance(opened, Vectors):
        raise ConfigError("the corpus is ready vectors; new queries are made from texts.")
    asked = asked_texts(opened, queries)
    if not len(asked):
        raise DataError(
            "there are no training queries to make others from.\n\n"
            "Hint: give --queries FILE, or a BEIR folder with a train split as --corpus."
        )
    avoided = [*_other_queries(opened), *_texts_of(never)]
    recipe = recipe or (QueryGeneration() if generator is None else QueryGeneration(epochs=0))
    start = opened_encoder(teacher) if generator is None else _opened_generator(generator, recipe)
    folder = None if checkpoints is None else Path(checkpoints)
    chosen = generator_in(recipe.run(asked.texts, start, folder=folder, progress=progress))
    if save_generator is not None:
        chosen.save(save_generator)
    _warn_if_it_cannot_repeat(chosen, asked.texts, seed=recipe.seed)
    made = recipe.make(chosen, asked.texts, progress=progress)
    kept, counts = _kept(made, _keys(asked.texts, chosen), _keys(avoided, chosen))
    with replaced_file(out) as part, part.open("w", encoding="utf-8") as file:
        file.writelines(_lines(kept, asked))
    return Written(asked=len(asked), made=len(made), written=len(kept), **counts)


def normalised(text: str) -> str:
    """What equal texts have in common: lower case, without spaces, since tokenizers put some around every mark."""
    return "".join(text.casefold().split())


def _kept(made: Sequence[Made], known: set[str], avoided: set[str]) -> tuple[list[Made], dict[str, int]]:
    """The new queries to be written, and how many are left out for which reason."""
    kept: dict[str, Made] = {}
    counts = {"forbidden": 0, "known": 0, "repeated": 0}
    for query in made:
        key = normalised(query.text)
        if key in known:
            counts["known"] += 1
        elif key in avoided:
            counts["forbidden"] += 1
        elif not key or key in kept:
            counts["repeated"] += 1
        else:
            kept[key] = query
    return list(kept.values()), counts


def _keys(texts: Sequence[str], generator: QueryGenerator) -> set[str]:
    """The normalised texts, and what is left of them behind the generator's tokenizer: accents may be lost there."""
    plain = generator.plain(generator.tokens(texts))
    return {normalised(text) for text in (*texts, *plain)}


def _lines(kept: Sequence[Made], asked: Queries) -> Iterator[str]:
    for query in kept:
        source = asked.ids[query.row]
        record = {
            "_id": f"{source}~{query.noise:g}",
            "text": query.text,
            "from": source,
            "noise": query.noise,
        }
        yield json.dumps(record, ensure_ascii=False) + "\n"


def _other_queries(opened: object) -> list[str]:
    """All queries of a BEIR folder but those of its train split."""
    if not isinstance(opened, Dataset):
        return []
    train = set(opened.qrels["train"].query_ids) if "train" in opened.splits else set()
    return [text for identifier, text in opened.queries if identifier not in train]


def _texts_of(files: Iterable[Path | str | Queries]) -> list[str]:
    opened = (file if isinstance(file, Queries) else Queries.open(file) for file in files)
    return [text for queries in opened for text in queries.texts]


def _opened_generator(generator: Path | str | QueryGenerator, recipe: QueryGeneration) -> QueryGenerator:
    from limbeck.encoders.generator import QueryGenerator

    if isinstance(generator, QueryGenerator):
        return generator
    return QueryGenerator.open(generator, most_tokens=recipe.most_tokens)


def _warn_if_it_cannot_repeat(generator: QueryGenerator, texts: Sequence[str], *, seed: int) -> None:
    rows = np.random.default_rng(seed).permutation(len(texts))[:SAMPLE]
    share = generator.repeated([texts[row] for row in rows])
    log.info("without masks and noise the generator repeats %.1f %% of %d queries", 100 * share, len(rows))
    if share < REPEATS:
        log.warning(
            "without masks and noise the generator repeats %.0f %% of the queries only: new ones may mean something "
            "else. Let it learn them for some more epochs",
            100 * share,
        )
