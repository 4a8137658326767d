"""Every answer that is not a success: one body, one place where failures become status codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from limbeck.errors import ArtefactError, ConfigError, LimbeckError, StorageError

BUSY = "busy"


class Refused(Exception):
    """A request that is answered with a status of its own."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field = status, code, message, field
        self.headers = dict(headers or {})

    @property
    def body(self) -> bytes:
        """A `schema.Refusal` as JSON."""
        error = {"code": self.code, "message": self.message, "field": self.field}
        return to_json({"error": error})


def busy(message: str) -> Refused:
    """503: come again in a second."""
    return Refused(503, BUSY, message, headers={"Retry-After": "1"})


def refused(error: Exception) -> Refused:
    """What a failure means to the one who asked. Anything unforeseen is a 500 that tells nothing of the inside."""
    from limbeck.serve.service import NotThere

    if isinstance(error, Refused):
        return error
    if isinstance(error, ValidationError):
        return invalid(error)
    if isinstance(error, NotThere):
        return Refused(404, "not_found", str(error))
    if isinstance(error, StorageError):
        return Refused(503, "storage", str(error), headers={"Retry-After": "10"})
    if isinstance(error, ArtefactError):
        return Refused(500, "artefact", "the index is damaged; the server's log says where.")
    if isinstance(error, ConfigError):
        return Refused(409, "not_here", str(error))
    if isinstance(error, LimbeckError):
        return Refused(422, "refused", str(error))
    if isinstance(error, MemoryError):
        return busy("out of memory.")
    return Refused(500, "internal", "a defect of the server; its log says more.")


def invalid(error: ValidationError) -> Refused:
    """422 with the first of the mistakes, and the field that it is in; 400 for what is no JSON at all."""
    first: Any = error.errors(include_url=False, include_input=False, include_context=False)[0]
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return Refused(400, "not_json", message)
    field = ".".join(str(place) for place in first["loc"]) or None
    return Refused(422, "invalid", message if field is None else f"{field}: {message}", field=field)
