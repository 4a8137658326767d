"""The paths of the service. A body is read once, straight into its schema; the work is done in threads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, PlainTextResponse
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.routing import Match

from limbeck.serve import schema
from limbeck.serve.changes import Applier
from limbeck.serve.guard import LOCAL, App, Guard, Turnstile
from limbeck.serve.limits import MOST_DIMENSIONS, Limits
from limbeck.serve.metrics import Metrics
from limbeck.serve.refusals import BUSY, Refused, refused
from limbeck.serve.service import Service
from limbeck.version import __version__

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
SCRIPTS = ("app", "answers", "beside", "controls", "dom", "keyboard", "server", "why", "words")
PAGE_FILES = ("index.html", "style.css", "icon.svg", *(f"{name}.js" for name in SCRIPTS))
POLL_SECONDS = 1.0  # between two looks at CURRENT

Asked = TypeVar("Asked", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Who may ask, and how much."""

    limits: Limits = field(default_factory=Limits)
    token: str | None = None  # sent as `Authorization: Bearer TOKEN`; None = anybody who reaches the port
    hosts: Sequence[str] = ()  # names beside those of this machine; "*" = any
    origins: Sequence[str] = ()  # other sites whose pages may ask
    page: bool = True  # serve the search page at /


@dataclass
class State:
    """What the paths share."""

    service: Service
    turnstile: Turnstile
    metrics: Metrics
    applier: Applier | None
    is_draining: bool = False


def create_app(service: Service, settings: Settings, *, applier: Applier | None = None) -> tuple[App, State]:
    """The whole server as an ASGI app behind its guard, and the state that its runner tells to drain."""
    turnstile = Turnstile(settings.limits)
    state = State(service, turnstile, Metrics(service, turnstile), applier)
    app = FastAPI(
        title="Limbeck",
        version=__version__,
        description="Search in a distilled index.",
        docs_url=None,  # its page comes from a content network
        redoc_url=None,
        lifespan=lambda _: _running(state),
    )
    _add_searches(app, state)
    _add_documents(app, state)
    _add_watching(app, state)
    if settings.page and PAGE.is_dir():
        _add_page(app)
    _add_failures(app)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization", "content-type"],
        )
    public = ("/", *(f"/{name}" for name in PAGE_FILES)) if settings.page else ()
    hosts = (*LOCAL, *settings.hosts)
    return Guard(app, limits=settings.limits, hosts=hosts, token=settings.token, public=public), state


def _add_searches(app: FastAPI, state: State) -> None:
    service = state.service
    _add_post(app, state, "/search", schema.Search, schema.Found, service.search)
    _add_post(app, state, "/search/batch", schema.Batch, schema.FoundBatch, service.search_batch)
    _add_post(app, state, "/explain", schema.Explain, schema.Explanations, service.explain)


def _add_documents(app: FastAPI, state: State) -> None:
    service = state.service
    path = "/documents/{identifier:path}"

    def changed(accepted: dict[str, Any]) -> dict[str, Any]:
        if state.applier is not None:
            state.applier.wake()
        return accepted

    def add(asked: schema.Addition) -> dict[str, Any]:
        """Add documents, or put them in the place of those with the same ids, from the next generation on."""
        return changed(service.add(asked))

    _add_post(app, state, "/documents", schema.Addition, schema.Accepted, add, status=202)

    @app.get(path, response_model=None, responses=_responses(schema.StoredDocument, 200))
    async def document(identifier: str, request: Request) -> Response:
        """One document, by its id."""
        return await _answered(state, request, "/documents/{id}", lambda: service.document(identifier))

    @app.delete(path, response_model=None, status_code=202, responses=_responses(schema.Accepted, 202))
    async def delete(identifier: str, request: Request) -> Response:
        """Leave a document out from the next generation on."""
        work = lambda: changed(service.delete(identifier))  # noqa: E731
        return await _answered(state, request, "/documents/{id}", work, status=202)


def _add_watching(app: FastAPI, state: State) -> None:
    service = state.service

    @app.get("/index", response_model=None, responses=_responses(schema.About, 200))
    async def index(request: Request) -> Response:
        """What is served."""
        return await _answered(state, request, "/index", service.about, waits=False)

    @app.post("/reload", response_model=None, responses=_responses(schema.About, 200))
    async def reload(request: Request) -> Response:
        """Look for a new generation now, instead of within a second."""
        return await _answered(state, request, "/reload", service.reloaded, waits=False)

    @app.get("/healthz", response_model=None)
    async def healthz() -> Response:
        """200 while the process lives."""
        return Response(b'{"status":"ok"}', media_type="application/json")

    @app.get("/readyz", response_model=None, responses={503: {"model": schema.Refusal}})
    async def readyz() -> Response:
        """200 while requests are welcome; 503 once the server was asked to stop."""
        if state.is_draining:
            raise Refused(503, "draining", "the server is about to stop.", headers={"Retry-After": "10"})
        return Response(b'{"status":"ready"}', media_type="application/json")

    @app.get("/metrics", response_model=None, response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counts and times, for Prometheus."""
        return Response(state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_post(
    app: FastAPI,
    state: State,
    path: str,
    asked: type[Asked],
    found: type[BaseModel],
    work: Callable[[Any], dict[str, Any]],
    *,
    status: int = 200,
) -> None:
    """A path that takes a JSON body of one schema and answers with another."""

    async def answer(request: Request) -> Response:
        try:
            _refuse_other_types(request)
        except Refused as error:
            return _response(error.body, error.status, error.headers)
        body = await request.body()
        return await _answered(
            state, request, path, lambda: work(asked.model_validate_json(body)), status=status
        )

    answer.__doc__ = (work.__doc__ or "").partition("\n")[0]
    described = _described(app, asked, dimensions=state.service.about()["dimensions"])
    app.post(
        path,
        name=work.__name__,
        status_code=status,
        response_model=None,
        responses=_responses(found, status),
        openapi_extra=described,
    )(answer)


async def _answered(
    state: State,
    request: Request,
    path: str,
    work: Callable[[], Any],
    *,
    status: int = 200,
    waits: bool = True,
) -> Response:
    """The result of the work, done in a thread, as JSON; or a refusal. Counted either way.

    waits   among the searches, and is refused where too many wait; what an operator asks is done at once
    """
    begun = time.perf_counter()
    headers = None
    try:
        run = state.turnstile.run if waits else asyncio.to_thread
        content = await run(lambda: to_json(work()))
    except Exception as error:
        failure = refused(error)
        if failure.status == 500:
            log.exception("%s %s failed", request.method, path)
        if failure.code == BUSY:
            await asyncio.sleep(state.turnstile.refusal_seconds)
        content, status, headers = failure.body, failure.status, failure.headers
    state.metrics.answered(path, status, time.perf_counter() - begun)
    return _response(content, status, headers)


def _response(content: bytes, status: int, headers: dict[str, str] | None) -> Response:
    return Response(content, status_code=status, headers=headers, media_type="application/json")


def _refuse_other_types(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(
            415, "not_json", f"expected the header `Content-Type: application/json`, found {kind[:80]!r}."
        )


def _described(app: FastAPI, asked: type[BaseModel], *, dimensions: int) -> dict[str, Any]:
    """The body in OpenAPI: we read it ourselves, so FastAPI does not know of it."""
    described = asked.model_json_schema(ref_template="#/components/schemas/{model}")
    _say_width(described, dimensions)
    app.state.schemas = {
        **getattr(app.state, "schemas", {}),
        **described.pop("$defs", {}),
        asked.__name__: described,
    }
    reference = {"$ref": f"#/components/schemas/{asked.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}


def _say_width(described: Any, dimensions: int) -> None:
    """How many numbers a vector has, wherever the description speaks of one."""
    if isinstance(described, dict):
        if described.get("maxItems") == MOST_DIMENSIONS:
            described |= {"minItems": dimensions, "maxItems": dimensions}
        described = list(described.values())
    if isinstance(described, list):
        for part in described:
            _say_width(part, dimensions)


def _responses(found: type[BaseModel], status: int) -> dict[int | str, dict[str, Any]]:
    refusals = (400, 401, 404, 408, 409, 413, 415, 422, 500, 503)
    return {status: {"model": found}, **{number: {"model": schema.Refusal} for number in refusals}}


def _add_page(app: FastAPI) -> None:
    """Each file by its own name: no path of a client is ever joined to a folder."""

    def shown(path: str, file: Path) -> None:
        async def answer() -> Response:
            return FileResponse(file, headers={"cache-control": "no-cache"})

        app.get(path, include_in_schema=False, response_model=None)(answer)

    shown("/", PAGE / "index.html")
    for name in PAGE_FILES:
        shown(f"/{name}", PAGE / name)


def _methods(app: FastAPI, request: Request) -> str:
    """All that this path can be asked with: the router knows those of the first route alone."""
    fitting = [route for route in app.routes if route.matches(request.scope)[0] != Match.NONE]
    return ", ".join(
        sorted({method for route in fitting for method in getattr(route, "methods", None) or ()})
    )


def _add_failures(app: FastAPI) -> None:
    async def failed(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            code = "no_such_method" if error.status_code == 405 else "no_such_path"
            headers = {"allow": _methods(app, request)} if error.status_code == 405 else None
            found = Refused(error.status_code, code, str(error.detail), headers=headers)
        else:
            found = refused(error)
        return Response(
            found.body, status_code=found.status, headers=found.headers, media_type="application/json"
        )

    app.add_exception_handler(HTTPException, failed)
    app.add_exception_handler(Refused, failed)

    made = app.openapi

    def openapi() -> dict[str, Any]:
        found = made()
        found.setdefault("components", {}).setdefault("schemas", {}).update(getattr(app.state, "schemas", {}))
        return found

    app.openapi = openapi  # type: ignore[method-assign]


@contextlib.asynccontextmanager
async def _running(state: State) -> AsyncIterator[None]:
    """While the server runs, somebody looks whether a new generation was published."""
    polling = asyncio.create_task(_poll(state))
    if state.applier is not None:
        state.applier.start()
    try:
        yield
    finally:
        polling.cancel()
        if state.applier is not None:
            state.applier.stop()
        state.turnstile.close()


async def _poll(state: State) -> None:
    while True:
        await asyncio.sleep(POLL_SECONDS)
        await asyncio.to_thread(state.service.live.reload_quietly)
