"""The generation that is served now, and how the next one takes its place without a failed request."""

from __future__ import annotations

import logging
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from limbeck.errors import LimbeckError
from limbeck.index.filters import MetadataField, metadata_fields
from limbeck.index.kept import FOLDER, KeptVectors
from limbeck.index.store import current_name
from limbeck.retrieve import Searcher
from limbeck.types import Metric

if TYPE_CHECKING:
    from limbeck.encoders.corpus_encoding import KnownEncoder

log = logging.getLogger(__name__)


class Generation:
    """An opened generation: immutable, shared by all requests that began while it was current."""

    def __init__(self, folder: Path, *, encoder: KnownEncoder | Path | None, threads: int | None) -> None:
        self.searcher = Searcher.open(folder, encoder=encoder, threads=threads)
        inside = self.searcher.documents.path.parent
        self.name = inside.name
        kept = inside / FOLDER
        rows, dim = len(self.searcher), self.searcher.index.dim
        self.kept = KeptVectors.open(kept, metric=self.metric, rows=rows, dim=dim) if kept.is_dir() else None

    @property
    def metric(self) -> Metric:
        """How vectors are compared."""
        return "l2" if self.searcher.manifest.content.get("metric") == "l2" else "ip"

    @property
    def last_change(self) -> int:
        """Number of the last change in the journal that it holds."""
        return int(self.searcher.manifest.content.get("last_change", 0))

    @cached_property
    def fields(self) -> list[MetadataField]:
        """What searches can be filtered by."""
        return metadata_fields(self.searcher.documents)


class Live:
    """Holds the current generation. A request takes it once and keeps it to its end; `reload` swaps the pointer.

    The old one is freed by its last reader. One reload at a time; a generation that cannot be opened changes nothing.
    """

    def __init__(
        self, folder: Path, *, encoder: KnownEncoder | Path | None = None, threads: int | None = 1
    ) -> None:
        self.folder = folder
        self._encoder, self._threads = encoder, threads
        self._reloading = threading.Lock()
        self._refused: str | None = None  # a generation that could not be opened: said once
        self.current = Generation(folder, encoder=encoder, threads=threads)

    def reload(self) -> bool:
        """Whether a newer generation took over. raises ArtefactError where CURRENT names one that cannot be opened"""
        with self._reloading:
            if current_name(self.folder) == self.current.name:
                return False
            self.current = Generation(self.folder, encoder=self._encoder, threads=self._threads)
            log.info("serving generation %s: %d documents", self.current.name, len(self.current.searcher))
            return True

    def reload_quietly(self) -> bool:
        """As `reload`, but a generation that cannot be opened is logged, once, and the old one goes on."""
        try:
            return self.reload()
        except LimbeckError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                log.error("the new generation is not served: %s", error)
            return False
