"""What the folders of saved encoders have in common: `encoder.json` with the sha256 of each file beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limbeck.encoders.stored import read_json
from limbeck.errors import CorruptArtefact, VersionMismatch
from limbeck.storage.hashing import sha256_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FORMAT = 1
SAMPLE = ["", "some \U0001f50d words, \u4e2d\u6587 and \x7f"]  # known and unknown to any tokenizer
SETTINGS = "encoder.json"
TOKENIZER = "tokenizer.json"
ONNX, STATIC = "onnx", "static"  # kinds; folders from before there were two say nothing and are ONNX


def write_settings(folder: Path, values: Mapping[str, Any]) -> None:
    """Write `encoder.json`."""
    text = json.dumps({"format": FORMAT, **values}, indent=1, sort_keys=True)
    (folder / SETTINGS).write_text(text + "\n", encoding="utf-8")


def read_settings(folder: Path) -> dict[str, Any]:
    """What `encoder.json` says. raises CorruptArtefact or VersionMismatch if it cannot be used"""
    path = folder / SETTINGS
    values = read_json(path)
    if values.get("format") != FORMAT:
        raise VersionMismatch(
            f"{path}: written in format {values.get('format')!r}; this build reads {FORMAT}.\n\n"
            "Hint: export or distil the encoder again."
        )
    return values


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Raises CorruptArtefact unless each file, by name, has its sha256."""
    for name, expected in files.items():
        path = folder / name
        if Path(name).name != name:
            raise CorruptArtefact(f"{folder / SETTINGS}: {name!r} is not the name of a file beside it.")
        if not path.is_file():
            raise CorruptArtefact(f"{path}: missing.\n\nHint: export or distil the encoder again.")
        found = sha256_file(path)
        if found != expected:
            raise CorruptArtefact(
                f"{path}: sha256 is {found}, {SETTINGS} says {expected}.\n\n"
                "Hint: the file was damaged or replaced; copy the folder again, or make it again."
            )


def open_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a file, without padding, after it read a text. raises CorruptArtefact where it cannot"""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_padding()
        tokenizer.encode_batch(SAMPLE)
    except Exception as error:  # tokenizers raises nothing narrower
        raise CorruptArtefact(f"{path}: no tokenizer that can be used: {error}.") from error
    return tokenizer
