"""Paths as new users give them: what is not there, or is something else, is answered with what to type."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from limbeck.errors import DataError

CURRENT = "CURRENT"  # marks an artefact folder; see limbeck.index.store
GENERATION = "gen-*"
ENCODER = "encoder.json"  # marks the folder of a saved encoder; see limbeck.encoders.saved


def existing(path: Path, what: str) -> Path:
    """The path, if something is there. raises DataError with the nearest names beside it"""
    if path.exists():
        return path
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if parent != path.absolute().parent:
        hint = f"the folder {path.parent} is not there either; the nearest that is: {parent}."
    else:
        names = [entry.name for entry in parent.iterdir()]
        near = get_close_matches(path.name, names, n=3, cutoff=0.5)
        hint = "did you mean " + " or ".join(str(path.parent / name) for name in near) + "?" if near else ""
    raise DataError(f"{path}: there is no such {what}." + (f"\n\nHint: {hint}" if hint else ""))


def artefact(path: Path) -> Path:
    """The folder of an index that Limbeck saved. raises DataError when it is plainly something else"""
    existing(path, "index folder")
    if path.is_file():
        raise DataError(f"{path}: is a file; expected the folder of an index.{_hint_for_file(path)}")
    if (path / CURRENT).exists() or any(path.glob(GENERATION)):
        return path
    inner = sorted(entry.parent for entry in path.glob(f"*/{CURRENT}"))
    if inner:
        hint = f"\n\nHint: did you mean {' or '.join(map(str, inner[:3]))}?"
    elif is_dataset(path):
        hint = f"\n\nHint: this is a data set. First: limbeck distil --corpus {path} --out INDEX"
    else:
        hint = "\n\nHint: an index folder is what `limbeck distil` or `limbeck build` wrote to --out."
    raise DataError(f"{path}: is not the folder of an index.{hint}")


def dataset(path: Path) -> Path:
    """A BEIR folder. raises DataError when it is plainly something else"""
    existing(path, "data set folder")
    if is_artefact(path):
        raise DataError(
            f"{path}: is an index, not a data set.\n\nHint: the order is `limbeck evaluate INDEX DATA`."
        )
    if path.is_file():
        raise DataError(
            f"{path}: is a file; expected a folder with corpus.jsonl, queries.jsonl and qrels/<split>.tsv."
        )
    return path


def corpus(path: Path) -> Path:
    """Something to make an index from. raises DataError when it is not there, or is an index already"""
    existing(path, "corpus")
    if is_artefact(path):
        raise DataError(
            f"{path}: is an index already; expected a corpus.\n\n"
            f"Hint: search it with: limbeck search {path} 'a question'"
        )
    return path


def encoder(path: Path) -> Path:
    """The folder of a saved query encoder. raises DataError when it is plainly something else"""
    existing(path, "folder of a query encoder")
    if not (path / ENCODER).is_file():
        raise DataError(
            f"{path}: is no query encoder: it has no {ENCODER}.\n\n"
            "Hint: `limbeck distil-encoder --out FOLDER` makes one."
        )
    return path


def file(path: Path, what: str) -> Path:
    """A file. raises DataError when it is not there or is a folder"""
    existing(path, what)
    if path.is_dir():
        inner = sorted(entry for entry in path.iterdir() if entry.is_file())[:3]
        hint = f"\n\nHint: it holds {', '.join(map(str, inner))}." if inner else ""
        raise DataError(f"{path}: is a folder; expected a {what}.{hint}")
    return path


def is_artefact(path: Path) -> bool:
    """Whether Limbeck saved an index here."""
    return path.is_dir() and (path / CURRENT).is_file()


def is_dataset(path: Path) -> bool:
    """Whether it has the layout of BEIR."""
    return any(path.glob("corpus.*")) and any(path.glob("queries.*"))


def _hint_for_file(path: Path) -> str:
    if path.suffix in (".faiss", ".index"):
        return f"\n\nHint: make an index folder of it with: limbeck import {path} FOLDER"
    if path.name in (CURRENT, "manifest.json"):
        return f"\n\nHint: did you mean the folder {path.parent}?"
    return ""
