"""Every error becomes one line and the right exit code."""

import errno
import logging
import warnings

import pytest
import typer
from typer.testing import CliRunner

from limbeck import errors
from limbeck.cli.failures import failure_of
from limbeck.cli.verb import verb


def raising(error):
    """A program of one verb that raises this."""
    app = typer.Typer(pretty_exceptions_enable=False)

    def fails() -> None:
        """Fail."""
        raise error

    app.command()(verb(fails))
    return app


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.DataError("x"), 2),
        (errors.ConfigError("x"), 2),
        (errors.MissingExtra("x"), 2),
        (errors.ExportError("x"), 2),
        (errors.CorruptArtefact("x"), 3),
        (errors.VersionMismatch("x"), 3),
        (errors.EncoderMismatch("x"), 3),
        (errors.StorageError("x"), 4),
        (OSError(errno.ENOSPC, "No space left on device", "/full"), 4),
        (MemoryError(), 4),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 2),
        (KeyboardInterrupt(), 5),
        (ZeroDivisionError("division by zero"), 1),
    ],
)
def test_each_error_ends_with_its_exit_code_and_no_traceback(error, code):
    ended = CliRunner().invoke(raising(error), [])
    assert ended.exit_code == code
    assert ended.stdout == ""
    assert ended.stderr.startswith("Error: ")
    assert "Traceback" not in ended.stderr


def test_debug_shows_the_traceback():
    ended = CliRunner().invoke(raising(ZeroDivisionError("x")), ["--debug"])
    assert ended.exit_code == 1
    assert "Traceback" in ended.stderr


def test_an_unexpected_error_names_debug():
    assert "--debug" in failure_of(ZeroDivisionError("x")).hint


def test_the_hint_stands_below_the_one_line():
    ended = CliRunner().invoke(raising(errors.DataError("f:3: found\n  two.\n\nHint: do this.")), [])
    assert ended.stderr.splitlines() == ["Error: f:3: found two.", "  Hint: do this."]


def test_markup_in_a_message_is_text():
    ended = CliRunner().invoke(raising(errors.DataError("ids [red]a[/red] and [/b]")), [])
    assert "[red]a[/red] and [/b]" in ended.stderr


def test_system_errors_name_the_path():
    what = failure_of(OSError(errno.EACCES, "Permission denied", "/there/index")).what
    assert what == "/there/index: Permission denied."


def test_an_interrupted_command_is_given_to_be_typed_again():
    words = ["limbeck", "distil", "--corpus", "my docs.jsonl", "--out", "index"]
    hint = failure_of(KeyboardInterrupt(), command=words).hint
    assert "limbeck distil --corpus 'my docs.jsonl' --out index" in hint
    assert "--checkpoints" in hint
    with_them = failure_of(KeyboardInterrupt(), command=[*words, "--checkpoints", "c"]).hint
    assert "with --checkpoints" not in with_them


class _Ours(UserWarning):
    """Counts as a warning of the library."""


_Ours.__module__ = "limbeck.somewhere"


def noisy() -> None:
    """Say much."""
    logging.getLogger("limbeck.part").info("a note")
    logging.getLogger("limbeck.part").warning("careful with %s", "this")
    warnings.simplefilter("always")
    warnings.warn("nearly uniform", _Ours, stacklevel=1)
    warnings.warn("an upgrade is near", FutureWarning, stacklevel=1)


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (["--quiet"], []),
        ([], ["Warning: careful with this", "Warning: nearly uniform"]),
    ],
)
def test_quiet_hides_notes_and_the_default_shows_warnings_of_ours_alone(options, lines):
    app = typer.Typer()
    app.command()(verb(noisy))
    assert CliRunner().invoke(app, options).stderr.splitlines() == lines


def test_verbose_shows_everything():
    app = typer.Typer()
    app.command()(verb(noisy))
    with pytest.warns(FutureWarning, match="an upgrade"), pytest.warns(_Ours):
        shown = CliRunner().invoke(app, ["--verbose"]).stderr
    assert "a note" in shown


def test_the_log_is_left_as_it_was():
    log = logging.getLogger("limbeck")
    before = (log.level, list(log.handlers))
    CliRunner().invoke(raising(errors.DataError("x")), ["--verbose"])
    assert (log.level, list(log.handlers)) == before
