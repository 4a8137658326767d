"""The paths of the service. A body is read once, straight into its schema; the work is done in threads."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from limbeck.serve import schema
from limbeck.serve.changes import Applier
from limbeck.serve.guard import LOCAL, App, Guard, Turnstile
from limbeck.serve.limits import Limits
from limbeck.serve.metrics import Metrics
from limbeck.serve.refusals import Refused, refused
from limbeck.serve.service import Service
from limbeck.version import __version__

PAGE = Path(__file__).parent / "page"
PAGE_FILES = ("app.js", "style.css", "icon.svg")
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
    _add_paths(app, state)
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
    public = ("/", "/index.html", *(f"/{name}" for name in PAGE_FILES)) if settings.page else ()
    hosts = (*LOCAL, *settings.hosts)
    return Guard(app, limits=settings.limits, hosts=hosts, token=settings.token, public=public), state


def _add_paths(app: FastAPI, state: State) -> None:
    service = state.service

    def posted(
        path: str,
        asked: type[Asked],
        found: type[BaseModel],
        work: Callable[[Any], dict[str, Any]],
        *,
        status: int = 200,
    ) -> None:
        """A path that takes a JSON body of one schema and answers with another."""

        async def answer(request: Request) -> Response:
            return await _answered(
                state, path, lambda body: work(asked.model_validate_json(body)), request, status=status
            )

        answer.__doc__ = work.__doc__
        app.post(
            path,
            status_code=status,
            response_model=None,
            responses=_responses(found, status),
            openapi_extra=_body(app, asked),
            name=work.__name__,
            summary=(work.__doc__ or "").partition(":")[0],
        )(answer)

    def shown(path: str, found: type[BaseModel], work: Callable[[Request], Any]) -> None:
        async def answer(request: Request) -> Response:
            return await _answered(state, path, work, request, reads_body=False)

        app.get(path, response_model=None, responses=_responses(found, 200), name=path.strip("/"))(answer)

    posted("/search", schema.Search, schema.Found, service.search)
    posted("/search/batch", schema.Batch, schema.FoundBatch, service.search_batch)
    posted("/explain", schema.Explain, schema.Explanations, service.explain)
    posted(
        "/documents",
        schema.Addition,
        schema.Accepted,
        lambda asked: _changed(state, service.add(asked)),
        status=202,
    )
    shown("/index", schema.About, lambda _: service.about())

    @app.get(
        "/documents/{identifier:path}", response_model=None, responses=_responses(schema.StoredDocument, 200)
    )
    async def document(identifier: str, request: Request) -> Response:
        """One document, by its id."""
        return await _answered(
            state, "/documents/{id}", lambda _: service.document(identifier), request, reads_body=False
        )

    @app.delete(
        "/documents/{identifier:path}",
        response_model=None,
        status_code=202,
        responses=_responses(schema.Accepted, 202),
    )
    async def delete(identifier: str, request: Request) -> Response:
        """Leave a document out from the next generation on."""

        def work(_: Request) -> Any:
            return _changed(state, service.delete(identifier))

        return await _answered(state, "/documents/{id}", work, request, reads_body=False, status=202)

    @app.post("/reload", response_model=None, responses=_responses(schema.About, 200))
    async def reload(request: Request) -> Response:
        """Look for a new generation now, instead of within a second."""

        def work(_: Request) -> Any:
            service.live.reload()
            return service.about()

        return await _answered(state, "/reload", work, request, reads_body=False)

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

    @app.get("/metrics", response_model=None, response_class=Response)
    async def metrics() -> Response:
        """Counts and times, for Prometheus."""
        return Response(state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _answered(
    state: State,
    path: str,
    work: Callable[[Any], Any],
    request: Request,
    *,
    reads_body: bool = True,
    status: int = 200,
) -> Response:
    """The result of the work as JSON, or a refusal; counted either way."""
    begun = time.perf_counter()
    failure: Refused | None = None
    try:
        if reads_body:
            _refuse_other_types(request)
            body = await request.body()
            content = await state.turnstile.run(lambda: to_json(work(body)))
        else:
            content = await state.turnstile.run(lambda: to_json(work(request)))
    except Exception as error:
        failure = refused(error)
        if failure.status == 500:
            raise
        content, status = failure.body, failure.status
    finally:
        state.metrics.answered(
            path, 500 if failure and failure.status == 500 else status, time.perf_counter() - begun
        )
    headers = None if failure is None else failure.headers
    return Response(content, status_code=status, headers=headers, media_type="application/json")


def _refuse_other_types(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(
            415, "not_json", f"expected the header `Content-Type: application/json`, found {kind[:80]!r}."
        )


def _changed(state: State, accepted: dict[str, Any]) -> dict[str, Any]:
    if state.applier is not None:
        state.applier.wake()
    return accepted


def _body(app: FastAPI, asked: type[BaseModel]) -> dict[str, Any]:
    """The body in OpenAPI: we read it ourselves, so FastAPI does not know of it."""
    described = asked.model_json_schema(ref_template="#/components/schemas/{model}")
    app.state.schemas = {
        **getattr(app.state, "schemas", {}),
        **described.pop("$defs", {}),
        asked.__name__: described,
    }
    reference = {"$ref": f"#/components/schemas/{asked.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}


def _responses(found: type[BaseModel], status: int) -> dict[int | str, dict[str, Any]]:
    refusals = (400, 401, 404, 408, 413, 415, 422, 500, 503)
    return {status: {"model": found}, **{number: {"model": schema.Refusal} for number in refusals}}


def _add_page(app: FastAPI) -> None:
    app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")


def _add_failures(app: FastAPI) -> None:
    async def failed(_: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            found = Refused(error.status_code, "no_such_path", str(error.detail), headers=error.headers)
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
