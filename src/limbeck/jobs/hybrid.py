"""BM25 for an artefact that exists already, and the weight with which both sides count."""

from __future__ import annotations

import logging
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from limbeck.data.dataset import Dataset
from limbeck.errors import ConfigError, StorageError
from limbeck.evaluate import score_hits
from limbeck.evaluate.measures import parse_measure
from limbeck.fusion import DEPTH, MEASURE, Fusion, fit_weight
from limbeck.index.lexical import LexicalIndex
from limbeck.index.store import current_name, open_current, publish, take_over
from limbeck.jobs.evaluate import refuse_other_corpus
from limbeck.lexical_part import FOLDER, LexicalPart
from limbeck.retrieve import Searcher
from limbeck.text import analyser_for
from limbeck.text.analysers import SAMPLE

log = logging.getLogger(__name__)


def hybrid(
    folder: Path | str,
    data: Path | str | Dataset | None = None,
    *,
    split: str = "dev",
    analyser: str | None = None,
    depth: int = DEPTH,
    progress: bool = True,
) -> Searcher:
    """Add BM25 over an artefact's own documents, as its next generation, and open it. Nothing else in it changes.

    data      the BEIR folder that was distilled: the weight of both scores is fitted by nDCG@10 on its labelled
              queries in `split`, which must not be those you report on. Without it both are fused by their ranks
    analyser  "english", "cjk" or "words"; guessed from the documents when left out
    depth     candidates of each side
    cost      one pass over the documents, a second for 8 MB of English; on disk 8 bytes for each word of each document
    raises    DataError where the documents hold no text, or `data` holds others; MissingExtra for `data` without
              ir-measures
    """
    folder = Path(folder)
    generation, manifest = open_current(folder)
    searcher = Searcher.open(folder, verify=False)
    fusion = Fusion(depth=depth)
    dataset = Dataset.open(data) if isinstance(data, (str, Path)) else data
    if dataset is not None:
        refuse_other_corpus(searcher, dataset)
        dataset.split(split)
        parse_measure(MEASURE)  # refused before the work where ir-measures is not installed
    if analyser is None:
        analyser = analyser_for(
            document.content for document in islice(searcher.documents.all(), SAMPLE)
        ).name
    texts = (document.content for document in searcher.documents.all())
    part = LexicalPart(LexicalIndex.build(texts, analyser=analyser, progress=progress), fusion)
    if dataset is not None:
        part = fitted(searcher, part, dataset, split)

    def write(into: Path) -> None:
        if current_name(folder) != generation.name:
            raise StorageError(f"{folder}: another process published meanwhile.\n\nHint: run this again.")
        take_over(generation, into, [name for name in manifest.files if not name.startswith(f"{FOLDER}/")])
        part.save(into)

    told = {
        "analyser": analyser,
        "bytes": part.index.nbytes,
        **asdict(part.fusion),
        "fitted_on": dict(part.fitted_on),
    }
    publish(folder, write, {**manifest.content, "lexical": told})
    return Searcher.open(folder, verify=False)


def fitted(searcher: Searcher, part: LexicalPart, dataset: Dataset, split: str) -> LexicalPart:
    """The part with the weight that is best on the queries of the split, and what each side reaches on them."""
    if searcher.encoder is None:
        raise ConfigError(
            "this index was made from vectors and has no query encoder, so no weight can be fitted.\n\n"
            "Hint: leave the labelled queries out; both sides are then fused by their ranks."
        )
    queries, qrels = dataset.split(split)
    labels = qrels.rows(queries.ids, dataset.corpus.ids)
    depth = max(10, min(part.fusion.depth, len(searcher)))
    dense = searcher.search(queries.texts, depth)
    lexical = part.index.search(queries.texts, depth)
    found = fit_weight(dense, lexical, labels)
    alone = [score_hits(hits, labels, (MEASURE,)).mean(MEASURE) for hits in (dense, lexical)]
    log.info("%s on %s: dense %.4f, lexical %.4f, both %.4f", MEASURE, split, *alone, found.figure)
    fitted_on: dict[str, Any] = {
        "data": dataset.name,
        "split": split,
        "queries": len(queries),
        MEASURE: {"dense": alone[0], "lexical": alone[1], "hybrid": found.figure},
    }
    return LexicalPart(part.index, Fusion("scores", found.weight, part.fusion.depth), fitted_on)
