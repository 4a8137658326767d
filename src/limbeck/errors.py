"""Everything that Limbeck raises on purpose, so that one `except LimbeckError` catches it all.

LimbeckError                       exit code 2 on the command line unless said otherwise
├── DataError                      a file or an array holds something that cannot be used; names file and line
│   ├── ShapeError                 arrays whose shapes do not fit together
│   └── DatasetError               a data set without the file or the split that was asked for
├── ConfigError                    an option, or a combination of options, that cannot work
├── MissingExtra                   a package that only some jobs need is not installed
├── ArtefactError       (exit 3)   a saved folder is damaged, or was written by another version
│   ├── CorruptArtefact            size or sha256 differs from the manifest
│   ├── VersionMismatch            a format that this build does not read
│   └── EncoderMismatch            this encoder did not make the vectors in this index
├── StorageError        (exit 4)   the disk is full, the path cannot be written, another process holds it
└── ExportError                    an exported model or index does not give the same numbers as the original

Usage:
    try:
        searcher = limbeck.open(folder)
    except limbeck.errors.ArtefactError as error:
        print(error)
"""

from __future__ import annotations


class LimbeckError(Exception):
    """Base of all errors that Limbeck raises on purpose. Its text says what came, what was expected, and what to do."""

    exit_code = 2


class DataError(LimbeckError):
    """A file or an array holds something that cannot be used."""


class ShapeError(DataError):
    """Arrays whose shapes do not fit together."""


class DatasetError(DataError):
    """A data set without the file or the split that was asked for; the text lists those that it has."""


class ConfigError(LimbeckError):
    """An option, or a combination of options, that cannot work."""


class MissingExtra(LimbeckError):
    """A package that only some jobs need is not installed; the text names the extra to install."""


class ArtefactError(LimbeckError):
    """A saved folder is damaged, or was written by another version."""

    exit_code = 3


class CorruptArtefact(ArtefactError):
    """A file is missing, or its size or sha256 differs from what the manifest says."""


class VersionMismatch(ArtefactError):
    """The folder was written in a format that this build does not read."""


class EncoderMismatch(ArtefactError):
    """The encoder at hand did not make the vectors in this index, so its answers would mean nothing."""


class StorageError(LimbeckError):
    """The disk is full, the path cannot be written, or another process holds it."""

    exit_code = 4


class ExportError(LimbeckError):
    """An exported model or index does not give the same numbers as the original."""
