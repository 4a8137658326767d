"""Errors as exit codes, and as one line that says what, where, and what to do."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from limbeck.errors import LimbeckError

UNEXPECTED, BAD_INPUT, BAD_ARTEFACT, STORAGE, INTERRUPTED = 1, 2, 3, 4, 5


@dataclass(frozen=True, slots=True)
class Failure:
    """What to show of an error, and the exit code."""

    code: int
    what: str
    hint: str = ""


def failure_of(error: BaseException, *, command: Sequence[str] = ()) -> Failure:
    """The line, the advice and the exit code of any error. command: what was typed, to be typed again."""
    if isinstance(error, LimbeckError):
        what, _, hint = str(error).partition("\n\n")
        return Failure(error.exit_code, " ".join(what.split()), hint.removeprefix("Hint: ").strip())
    if isinstance(error, KeyboardInterrupt):
        return _interrupted(command)
    if isinstance(error, MemoryError):
        needs = f" ({error})" if str(error) else ""
        return Failure(STORAGE, f"not enough memory{needs}.", "take fewer documents, or a machine with more.")
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(error, ModuleNotFoundError):
        return Failure(
            BAD_INPUT,
            f"the package {error.name!r} is not installed, and this needs it.",
            "install everything with: pip install 'limbeck[quickstart]'",
        )
    text = " ".join(str(error).split())[:300]
    return Failure(
        UNEXPECTED,
        f"unexpected {type(error).__name__}: {text or 'no message'}",
        "this is a defect of Limbeck. The same command with --debug shows where; please report it.",
    )


def _interrupted(command: Sequence[str]) -> Failure:
    again = shlex.join(command)
    hint = f"to continue, type the same again: {again}" if again else "to continue, type the same again."
    if "distil" in command and not any(word.startswith("--checkpoints") for word in command):
        hint += " (with --checkpoints FOLDER, training goes on where it was as well)"
    return Failure(
        INTERRUPTED, "interrupted. Nothing half-made was left; texts encoded so far are kept.", hint
    )


def _of_system(error: OSError) -> Failure:
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    where = f"{' and '.join(names)}: " if names else ""
    reason = error.strerror or str(error) or type(error).__name__
    return Failure(STORAGE, f"{where}{reason}.", "check the path, its permissions and the free space.")
