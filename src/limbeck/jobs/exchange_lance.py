"""An artefact as a Lance dataset with its own IVF-PQ index: the same lists, the same codes, the same scores.

Lance makes codes itself, from vectors, lists, centroids and codewords that it is given. It takes residuals for L2 and
none for inner products, so two kinds match: L2 with residuals and inner product without; codes without lists match for
both. The dataset's vectors are the decoded ones: coded again they give the codes that they came from.

    turn = numpy.load("my-index.turn.npy")               # where there is one: a rotation, a learnt query map
    lance.dataset("my-index.lance").to_table(
        columns=["id", "_distance"], nearest={"column": "vector", "q": turn @ vector, "k": 10, "nprobes": 26})

Letters: N documents, d dimension, e dimension after the rotation, L lists.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from limbeck.errors import ConfigError, MissingExtra
from limbeck.index.compressed import CodeIndex, probed_lists
from limbeck.index.files import save_array
from limbeck.jobs.make import refuse_unwritable
from limbeck.quantisers.faiss_io import query_transform, same
from limbeck.quantisers.product import ProductQuantiser
from limbeck.retrieve import Searcher
from limbeck.storage.whole import replaced_folder
from limbeck.types import Codes, Rows

COLUMN = "vector"
VERSIONS = "_versions"  # what every Lance dataset holds
ROWS = 4096  # documents in memory at once


@dataclass(frozen=True, slots=True)
class LanceExport:
    """What was written, and how to ask it."""

    dataset: Path
    turn: Path | None  # an [e, d] matrix for queries: give Lance `turn @ vector`; None = vectors as they are
    probes: int  # lists that a search of the artefact visits by itself: Lance's `nprobes`
    metric: Literal[
        "dot", "L2"
    ]  # Lance's distance: 1 - our score, or the square that our score is the negative of


def export_lance(
    folder: Path | str, out: Path | str, *, routing: Literal["keep", "base"] = "keep"
) -> LanceExport:
    """A Lance dataset in the folder `out`: id, title, text, metadata (JSON), decoded vectors, and the IVF-PQ index.

    A matrix that queries must pass first is written beside it, as `<stem>.turn.npy`.
    routing  as `export_faiss` takes it
    cost     4·e bytes a document on disk for the decoded vectors, beside codes and texts; 4096 documents in memory
    raises   ConfigError, with the way out, where Lance would score otherwise; MissingExtra without pylance
    """
    searcher, out = Searcher.open(folder), Path(out)
    index = searcher.codes
    quantiser = index.quantiser
    _refuse_unmatched(quantiser, routing=routing)
    lance = _lance()
    _refuse_other_folder(out)
    codes = index.codes
    with replaced_folder(out) as part:
        dataset = lance.write_dataset(_batches(searcher, quantiser, codes), part, schema=_schema(index))
        _index(dataset, quantiser, codes)
    return LanceExport(
        dataset=out, turn=_saved_turn(index, out), probes=_probes(index), metric=_metric(quantiser)
    )


def _refuse_unmatched(quantiser: ProductQuantiser, *, routing: str) -> None:
    """Raises ConfigError for codes that Lance would read otherwise."""
    if quantiser.base is None:
        return
    if routing == "keep" and not same(quantiser.routing, quantiser.base):
        raise ConfigError(
            "queries are routed by vectors of their own; Lance has base centroids only.\n\n"
            "Hint: `export_lance(..., routing='base')` drops them, which costs recall at few lists."
        )
    if (quantiser.metric == "l2") == quantiser.by_residual:
        return
    found, reason = (
        ("inner products of residual codes", "takes no residuals for inner products")
        if quantiser.metric == "ip"
        else ("L2 distances of codes without residuals", "takes residuals for L2")
    )
    raise ConfigError(
        f"this index compares by {found}, but Lance {reason}, so it would give other answers; it matches L2 with "
        "residuals, inner products without, and codes without lists.\n\n"
        "Hint: build the index without lists (lists=None), or export it for faiss or Pyserini."
    )


def _refuse_other_folder(out: Path) -> None:
    refuse_unwritable(out)
    if out.is_dir() and any(out.iterdir()) and not (out / VERSIONS).is_dir():
        raise ConfigError(
            f"{out}: holds other files; expected a Lance dataset, an empty folder, or nothing there.\n\n"
            f"Hint: {out / 'index.lance'}"
        )


def _schema(index: CodeIndex) -> Any:
    import pyarrow

    text = pyarrow.string()
    described = {"metric": _metric(index.quantiser), "nprobes": _probes(index)}
    return pyarrow.schema(
        [
            ("id", text),
            ("title", text),
            ("text", text),
            ("metadata", text),
            (COLUMN, pyarrow.list_(pyarrow.float32(), _width(index.quantiser))),
        ],
        metadata={"limbeck": json.dumps(described)},
    )


def _batches(searcher: Searcher, quantiser: ProductQuantiser, codes: Codes) -> Iterator[Any]:
    """Documents in row order with their decoded vectors. Lance asks for each batch from a thread of its choice."""
    import pyarrow

    for start in range(0, len(codes), ROWS):
        rows = slice(start, start + ROWS)
        lists = None if codes.lists is None else codes.lists[rows]
        decoded = quantiser.decode_rotated(Codes(codes.codes[rows], lists))
        part = searcher.documents.documents(range(start, start + len(decoded)))
        yield pyarrow.record_batch(
            {
                "id": [document.id for document in part],
                "title": [document.title for document in part],
                "text": [document.text for document in part],
                "metadata": [json.dumps(dict(document.metadata), ensure_ascii=False) for document in part],
                COLUMN: pyarrow.FixedSizeListArray.from_arrays(decoded.ravel(), decoded.shape[1]),
            }
        )


def _index(dataset: Any, quantiser: ProductQuantiser, codes: Codes) -> None:
    """Lance's index with our centroids and codewords, over our lists: without lists, one around the origin."""
    codewords = quantiser.score_codewords
    assert codewords is not None
    base = np.zeros((1, _width(quantiser)), np.float32) if quantiser.base is None else quantiser.base
    lists = np.zeros(len(codes), np.int64) if codes.lists is None else codes.lists
    with tempfile.TemporaryDirectory() as folder:
        dataset.create_index(
            COLUMN,
            "IVF_PQ",
            metric=_metric(quantiser),
            num_partitions=len(base),
            ivf_centroids=base,
            num_sub_vectors=len(codewords),
            num_bits=quantiser.bits,
            pq_codebook=codewords,
            precomputed_partition_dataset=_given_lists(dataset, lists, Path(folder) / "lists.lance"),
        )


def _given_lists(dataset: Any, lists: Rows, path: Path) -> str:
    """A dataset that says which list each row is in: a decoded vector may lie nearer to another list's centroid."""
    import pyarrow

    rows = dataset.to_table(columns=[], with_row_id=True)["_rowid"].to_numpy()
    table = pyarrow.table({"row_id": rows, "partition": lists.astype(np.uint32)})
    _lance().write_dataset(table, path, max_rows_per_file=len(rows))  # Lance wants them in one file
    return str(path)


def _saved_turn(index: CodeIndex, out: Path) -> Path | None:
    turn = query_transform(index.quantiser, index.query_map)
    if turn is None:
        return None
    path = out.with_name(f"{out.stem}.turn.npy")
    save_array(path, turn.astype(np.float32, copy=False))
    return path


def _width(quantiser: ProductQuantiser) -> int:
    """e, that of decoded vectors before the rotation is undone."""
    codewords = quantiser.score_codewords
    assert codewords is not None
    return int(codewords.shape[0] * codewords.shape[2])


def _metric(quantiser: ProductQuantiser) -> Literal["dot", "L2"]:
    return "dot" if quantiser.metric == "ip" else "L2"


def _probes(index: CodeIndex) -> int:
    base = index.quantiser.base
    return 1 if base is None else probed_lists(index.default_effort, len(base))


def _lance() -> Any:
    try:
        import lance
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "a Lance dataset needs pylance.\n\nInstall it with: pip install 'limbeck[lance]'"
        ) from error
    return lance
