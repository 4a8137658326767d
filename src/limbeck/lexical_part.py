"""The lexical part of an artefact, which it may have or not: BM25 over its documents, and how both sides are fused.

lexical/
  fusion.json     method, weight and depth, and what they were fitted on
  bm25.json ...   see `limbeck.index.lexical`
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from limbeck.errors import ConfigError, CorruptArtefact
from limbeck.fusion import Fusion
from limbeck.index.lexical import LexicalIndex
from limbeck.storage import durable

FOLDER = "lexical"
FUSION = "fusion.json"


@dataclass(frozen=True, slots=True)
class LexicalPart:
    """BM25 and its fusion with the dense index."""

    index: LexicalIndex
    fusion: Fusion
    fitted_on: Mapping[str, Any] = field(
        default_factory=dict
    )  # data set, split, figures; empty where nothing was

    @classmethod
    def open(cls, generation: Path, *, documents: int) -> Self | None:
        """What a generation holds; None where it has no such part. raises CorruptArtefact where it cannot be read"""
        folder = generation / FOLDER
        if not folder.is_dir():
            return None
        path = folder / FUSION
        try:
            fields = json.loads(path.read_bytes())
            fitted_on = dict(fields.pop("fitted_on"))
            fusion = Fusion(**fields)
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
            ConfigError,
        ) as error:
            raise CorruptArtefact(f"{path}: cannot be read: {error}") from error
        return cls(LexicalIndex.open(folder, documents=documents), fusion, fitted_on)

    def save(self, generation: Path) -> None:
        """Writes the folder into a generation that is being made."""
        self.index.save(generation / FOLDER)
        told = {**asdict(self.fusion), "fitted_on": dict(self.fitted_on)}
        durable.write_file(generation / FOLDER / FUSION, json.dumps(told, allow_nan=False, indent=1).encode())
