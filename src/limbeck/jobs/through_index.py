"""An index whose codes a query encoder is taught over, and the next one, whose codewords have moved along."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from limbeck.data.corpus import Corpus
from limbeck.encoders.fingerprint import Fingerprint, check_pair
from limbeck.errors import ConfigError, DataError, StorageError
from limbeck.index.changing import distortion
from limbeck.index.document_store import FILE as DOCUMENTS
from limbeck.index.document_store import DocumentStore
from limbeck.index.opening import open_index
from limbeck.index.store import Manifest, current_name, open_current, publish, take_over
from limbeck.jobs.evaluate import indexed_fingerprint
from limbeck.jobs.make import DISTORTION_ROWS, built, changes_so_far
from limbeck.recipes.through_codes import ThroughCodes, over
from limbeck.train.history import History
from limbeck.train.system import System
from limbeck.types import Floats

if TYPE_CHECKING:
    from limbeck.encoders.sentence import SentenceEncoder


@dataclass(frozen=True, slots=True)
class ThroughIndex:
    """The generation of an artefact that was there when training began."""

    generation: Path
    manifest: Manifest
    start: System

    @classmethod
    def open(cls, folder: Path, corpus: Corpus | None, teacher: SentenceEncoder) -> Self:
        """The artefact in `folder`.

        raises  ConfigError without a corpus, or for an index that nothing is taught over; DataError where it was made
                from other documents; EncoderMismatch where another teacher made it
        """
        if corpus is None:
            raise ConfigError(
                "an encoder is taught over codes by how the teacher ranks documents, but there is no corpus.\n\n"
                "Hint: give --corpus, what the index was made from."
            )
        generation, manifest = open_current(folder)
        made_by = manifest.content.get("encoder")
        if made_by is not None:
            check_pair(teacher.fingerprint, Fingerprint.from_json(made_by))
        index = open_index(generation, kind=manifest.content.get("index"))
        indexed = indexed_fingerprint(manifest, DocumentStore(generation / DOCUMENTS, rows=len(index)))
        if len(index) != len(corpus) or (indexed and indexed != corpus.fingerprint):
            raise DataError(
                f"{folder}: holds {len(index)} documents, and the corpus {len(corpus)}, or others; rows would not mean "
                "the same documents.\n\nHint: give the corpus that the index was made from, or distil this one."
            )
        return cls(generation, manifest, over(index))

    def publish(
        self, system: System, recipe: ThroughCodes, out: Path, *, documents: Floats, history: History
    ) -> None:
        """The index with the codewords of the trained system in `out`; all else in it is as it was."""
        index = built(system)
        some = slice(0, min(len(documents), DISTORTION_ROWS))
        content = {
            **self.manifest.content,
            "recipe": {"name": type(recipe).__name__, "constants": asdict(recipe)},
            "made_from": self.manifest.content.get("recipe"),
            "training": history.as_json(),
            "bytes_per_document": index.nbytes / len(index),
            "drift": {"trained": distortion(index, np.asarray(documents[some]), some)},
            "last_change": 0,  # another folder has no journal yet
        }

        def write(into: Path) -> None:
            if (
                out.absolute() == self.generation.parent.absolute()
                and current_name(out) != self.generation.name
            ):
                raise StorageError(
                    f"{out}: another process published meanwhile.\n\nHint: give another folder."
                )
            index.save(into)
            rest = [name for name in self.manifest.files if not (into / name).exists()]
            take_over(self.generation, into, rest)

        publish(out, write, {**content, **changes_so_far(out)})
