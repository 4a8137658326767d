"""An artefact as a folder that Pyserini's `FaissSearcher` opens: `index`, a faiss file, and `docid`, one id a line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from limbeck.data.lines import shown
from limbeck.errors import ConfigError, DataError
from limbeck.jobs.make import refuse_unwritable
from limbeck.quantisers.faiss_io import faiss_bytes
from limbeck.retrieve import Searcher
from limbeck.storage.durable import write_file
from limbeck.storage.whole import replaced_folder

INDEX, DOCIDS = "index", "docid"


def export_pyserini(
    folder: Path | str,
    out: Path | str,
    *,
    routing: Literal["keep", "base"] = "keep",
    effort: float | None = None,
) -> Path:
    """The folder `out` with the same codes and scores; row n of the index is line n of the ids.

    Pyserini gives what faiss gives: for L2, squared distances, where ours are negative. Its query encoder must be
    the one that made the index. `limbeck import OUT/index FOLDER --ids OUT/docid` is the way back.
    routing  as `export_faiss` takes it
    effort   the share of the lists that searches visit, stored in the file; None = what this index visits by itself
    raises   DataError for ids that one line cannot hold; ConfigError and StorageError as `export_faiss`
    """
    searcher, out = Searcher.open(folder), Path(out)
    _refuse_other_files(out)
    lines = "".join(f"{identifier}\n" for identifier in _checked(searcher.documents.ids()))
    index = searcher.codes.to_faiss(routing=routing, effort=effort)
    with replaced_folder(out) as part:
        write_file(part / INDEX, faiss_bytes(index))
        write_file(part / DOCIDS, lines.encode())
    return out


def _refuse_other_files(out: Path) -> None:
    refuse_unwritable(out)
    others = sorted({entry.name for entry in out.iterdir()} - {INDEX, DOCIDS}) if out.is_dir() else []
    if others:
        raise ConfigError(
            f"{out}: holds other files ({', '.join(others[:3])}); expected a Pyserini folder, an empty one, or nothing "
            f"there.\n\nHint: {out / 'pyserini'}"
        )


def _checked(ids: Iterable[str]) -> Iterable[str]:
    """The ids, unless reading a file of lines and stripping their ends would change one."""
    for row, identifier in enumerate(ids):
        if identifier != identifier.rstrip() or "\n" in identifier or "\r" in identifier:
            raise DataError(
                f"the id {shown(identifier)} of row {row} does not survive Pyserini's file of ids, one a line and "
                "stripped of white space at the end.\n\nHint: rename it in the corpus, or export with `--format faiss`."
            )
        yield identifier
