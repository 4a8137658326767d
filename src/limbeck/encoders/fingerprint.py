"""What an encoder is, in one small record: equal fingerprints, equal vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from limbeck.errors import CorruptArtefact, EncoderMismatch

Similarity: TypeAlias = Literal["cosine", "dot", "euclidean", "manhattan"]

MAY_DIFFER = frozenset({"precision"})  # bf16, float32 and int8 are the same space, a little blurred


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """All that decides the vector of a text.

    weights     sha256 hex: of the one weights file as published, or of the sorted list `path sha256` of
                several
    pooling     "mean", "cls", "max", "mean+max"; steps between pooling and normalising follow after "|"
    prompts     what is put before a text, by side: {"query": "query: ", "doc": ""}; empty ones are dropped
    max_length  tokens kept of a text, special tokens counted; None = no limit
    normalise   every vector has length 1
    precision   "float32", "bfloat16" or "int8": what the transformer computes in
    similarity  how the model's authors compare two vectors
    """

    weights: str
    dim: int
    pooling: str
    prompts: Mapping[str, str] = field(default_factory=dict)
    max_length: int | None = None
    normalise: bool = True
    precision: str = "float32"
    similarity: Similarity = "cosine"

    def __post_init__(self) -> None:
        kept = {side: prompt for side, prompt in sorted(self.prompts.items()) if prompt}
        object.__setattr__(self, "prompts", MappingProxyType(kept))

    def __hash__(self) -> int:
        return hash(self.digest)

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for a manifest."""
        return {
            f.name: dict(self.prompts) if f.name == "prompts" else getattr(self, f.name) for f in fields(self)
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Fingerprint:
        """The inverse of `to_json`; CorruptArtefact if fields are missing, unknown or of another type."""
        names = {f.name for f in fields(cls)}
        if not isinstance(values, Mapping):
            raise CorruptArtefact(f"an encoder fingerprint is a JSON object; found {values!r}.")
        if set(values) != names:
            raise CorruptArtefact(
                f"an encoder fingerprint needs the fields {sorted(names)}, found {sorted(values)}.\n\n"
                "Hint: was the manifest edited by hand, or written by another version?"
            )
        _check_types(values)
        return cls(**values)

    @property
    def digest(self) -> str:
        """sha256 hex of the canonical JSON: equal if and only if every field is equal."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


def check_pair(query: Fingerprint, documents: Fingerprint) -> None:
    """EncoderMismatch unless queries of the one can be compared with documents of the other.

    Only the precision may differ. The prompts and the maximum length must agree too, although they are not
    part of the space itself: with others the same text gets another vector, and the quality that was measured
    no longer holds.
    """
    for f in fields(Fingerprint):
        ours, theirs = getattr(query, f.name), getattr(documents, f.name)
        if f.name in MAY_DIFFER or ours == theirs:
            continue
        raise EncoderMismatch(
            f"the query encoder's `{f.name}` is {_shown(ours)}, but the document vectors were made with "
            f"{_shown(theirs)}; their scores would mean nothing.\n\n"
            "Hint: open the encoder that made this index, or encode the documents again with this one."
        )


def space_of(encoder: Any) -> Fingerprint:
    """The encoder of the documents that this one's queries are for: itself, or the teacher that it learned from."""
    space: Fingerprint = getattr(encoder, "space", None) or encoder.fingerprint
    return space


def _shown(value: object) -> str:
    return repr(dict(value)) if isinstance(value, Mapping) else repr(value)


def _check_types(values: Mapping[str, Any]) -> None:
    expected: dict[str, tuple[type, ...]] = {
        "weights": (str,),
        "dim": (int,),
        "pooling": (str,),
        "prompts": (dict,),
        "max_length": (int, type(None)),
        "normalise": (bool,),
        "precision": (str,),
        "similarity": (str,),
    }
    for name, types in expected.items():
        value = values[name]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            wanted = " or ".join(t.__name__ for t in types)
            raise CorruptArtefact(f"the fingerprint's `{name}` must be {wanted}, found {value!r}.")
