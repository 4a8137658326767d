"""Running the app: connections that must not be slow, signals that drain, and an exit status that says so."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from limbeck.serve.limits import Limits
from limbeck.serve.refusals import Refused, busy

if TYPE_CHECKING:
    from limbeck.serve.app import State
    from limbeck.serve.guard import App

log = logging.getLogger(__name__)

PHRASES = {408: "Request Timeout", 503: "Service Unavailable"}


def protocol(limits: Limits) -> type[HttpToolsProtocol]:
    """The protocol of uvicorn, which waits for ever for a request to be sent, with a deadline for that."""

    class Punctual(HttpToolsProtocol):
        """A connection whose requests must arrive whole within `limits.body_seconds`."""

        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                self._say(busy(f"{limits.connections} connections are open already."))
                return
            self._deadline = self.loop.call_later(limits.body_seconds, self._too_slow)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            if self._deadline is None:
                self._deadline = self.loop.call_later(limits.body_seconds, self._too_slow)

        def on_message_complete(self) -> None:
            self._cancel()
            super().on_message_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel()
            super().connection_lost(exc)

        def _cancel(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _too_slow(self) -> None:
            self._deadline = None
            self._say(
                Refused(408, "too_slow", f"the request did not come within {limits.body_seconds:g} seconds.")
            )

        def _say(self, refused: Refused) -> None:
            """A last answer; a client that is in the middle of one just sees the connection end."""
            if self.cycle is None or not self.cycle.response_started:
                body = refused.body
                lines = [
                    f"HTTP/1.1 {refused.status} {PHRASES[refused.status]}",
                    "content-type: application/json",
                    f"content-length: {len(body)}",
                    "connection: close",
                    *(f"{name}: {value}" for name, value in refused.headers.items()),
                ]
                self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
            self.transport.close()

    return Punctual


class Server(uvicorn.Server):
    """Drains on SIGTERM and SIGINT and ends with status 0; a second signal ends it at once."""

    def __init__(self, config: uvicorn.Config, state: State) -> None:
        super().__init__(config)
        self.state = state

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's own, but the signal is not raised again at the end: a drained server did what it was asked."""
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._asked_to_stop) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _asked_to_stop(self, number: int, frame: Any) -> None:
        self.state.is_draining = True
        self.force_exit = self.should_exit
        self.should_exit = True


def serve(app: App, state: State, *, host: str, port: int, limits: Limits) -> None:
    """Answer until a signal comes, then finish what was begun."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what clients get wrong is theirs to read
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol(limits),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=int(limits.keep_alive_seconds),
        timeout_graceful_shutdown=int(limits.drain_seconds),
        backlog=2048,
    )
    Server(config, state).run()
