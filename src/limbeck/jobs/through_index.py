"""An index whose codes a query encoder is taught over, and the next one, whose codewords have moved along."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from limbeck.data.corpus import Corpus
from limbeck.errors import ConfigError, DataError, StorageError
from limbeck.index.changing import distortion
from limbeck.index.document_store import FILE as DOCUMENTS
from limbeck.index.document_store import DocumentStore
from limbeck.index.opening import open_index
from limbeck.index.store import Manifest, current_name, open_current, publish, take_over
from limbeck.jobs.evaluate import indexed_fingerprint
from limbeck.jobs.make import DISTORTION_ROWS, built, changes_so_far
from limbeck.recipes.through_codes import ThroughCodes, over
from limbeck.retrieve import check_encoder
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
    recipe: ThroughCodes
    new: Path | None  # where the index with the codewords that moved goes; None = they stand still

    @classmethod
    def open(
        cls, folder: Path, corpus: Corpus | None, teacher: SentenceEncoder, *, new: Path | None, seed: int
    ) -> Self:
        """The artefact in `folder`.

        raises  ConfigError without a corpus, or for an index that nothing is taught over; DataError where it holds
                other documents; EncoderMismatch where another teacher made it
        """
        if corpus is None:
            raise ConfigError(
                "an encoder is taught over codes by how the teacher ranks documents, but there is no corpus.\n\n"
                "Hint: give --corpus, what the index was made from."
            )
        generation, manifest = open_current(folder)
        index = open_index(generation, kind=manifest.content.get("index"))
        check_encoder(teacher, manifest, index.dim)
        if not _holds(corpus, manifest, DocumentStore(generation / DOCUMENTS, rows=len(index))):
            raise DataError(
                f"{folder}: holds {len(index)} documents, and the corpus {len(corpus)}, or others; rows would not mean "
                "the same documents.\n\nHint: give the corpus that the index was made from, or distil this one."
            )
        recipe = ThroughCodes(seed=seed) if new else ThroughCodes(seed=seed, codeword_rate=0.0)
        return cls(generation, manifest, over(index), recipe, new)

    def publish(self, system: System, *, documents: Floats, history: History) -> None:
        """Where codewords moved, the index with them in `new`; all else in it is as it was."""
        if self.new is None:
            return
        out, index = self.new, built(system)
        some = slice(0, min(len(documents), DISTORTION_ROWS))
        content = {
            **self.manifest.content,
            "recipe": {"name": type(self.recipe).__name__, "constants": asdict(self.recipe)},
            "made_from": self.manifest.content.get("recipe"),
            "training": history.as_json(),
            "bytes_per_document": index.nbytes / len(index),
            "drift": {"trained": distortion(index, np.asarray(documents[some]), some)},
            "last_change": 0,  # another folder has no journal yet
        }

        def write(into: Path) -> None:
            is_same = out.resolve() == self.generation.parent.resolve()
            if is_same and current_name(out) != self.generation.name:
                raise StorageError(
                    f"{out}: another process published meanwhile.\n\nHint: give another folder."
                )
            index.save(into)
            rest = [name for name in self.manifest.files if not (into / name).exists()]
            take_over(self.generation, into, rest)

        publish(out, write, {**content, **changes_so_far(out)})


def _holds(corpus: Corpus, manifest: Manifest, documents: DocumentStore) -> bool:
    """Whether an index holds this corpus in its order; of one made from vectors only ids can tell."""
    if len(documents) != len(corpus):
        return False
    indexed = indexed_fingerprint(manifest, documents)
    if indexed:
        return indexed == corpus.fingerprint
    return all(own == other for own, other in zip(documents.ids(), corpus.ids, strict=True))
