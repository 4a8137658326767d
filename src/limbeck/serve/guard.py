"""What every request passes before any of it is looked at: host, token, size, and a place in the queue. Plain ASGI.

How long a body may take is the business of the connection: `limbeck.serve.server`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

from limbeck.serve.limits import Limits
from limbeck.serve.refusals import Refused, busy

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

Result = TypeVar("Result")

log = logging.getLogger(__name__)

OPEN = ("/healthz", "/readyz")  # for those who watch the server, and have no token
LOCAL = ("localhost", "127.0.0.1", "[::1]")
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
]


class Guard:
    """Lets a request through to the app, or refuses it.

    hosts   names that the Host header may hold; a page elsewhere cannot reach a local server through a name of its own
    token   sha256 of the token that `Authorization: Bearer` must hold; None = none is asked for
    public  paths of the page, which asks for the token itself
    """

    def __init__(
        self, app: App, *, limits: Limits, hosts: Iterable[str], token: str | None, public: Iterable[str] = ()
    ) -> None:
        self.app = app
        self.limits = limits
        self.hosts = frozenset(host.lower() for host in hosts)
        self.digest = None if token is None else hashlib.sha256(token.encode()).digest()
        self.public = frozenset((*OPEN, *public))

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"the server speaks HTTP; found {scope['type']!r}")
        begun = False

        async def sent(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        try:
            self._check(scope)
            body = await self._body(scope, receive)
            await self.app(scope, _given(body, receive), sent)
        except Refused as refused:
            await refuse(sent, refused, close=refused.status in (400, 413))
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if not begun:
                await refuse(sent, Refused(500, "internal", "a defect of the server; its log says more."))

    def _check(self, scope: MutableMapping[str, Any]) -> None:
        headers = scope["headers"]
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1:
            raise Refused(400, "bad_host", "expected exactly one Host header.")
        if not self._is_known(hosts[0].decode("latin-1")):
            raise Refused(400, "bad_host", "this server does not answer to that name: see --allow-host.")
        if self.digest is not None and scope["path"] not in self.public and not self._is_allowed(headers):
            raise Refused(
                401,
                "no_token",
                "expected the header `Authorization: Bearer TOKEN` with this server's token.",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _is_known(self, host: str) -> bool:
        name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
        return "*" in self.hosts or name.lower() in self.hosts

    def _is_allowed(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Compares hashes: in the same time, whatever came."""
        given = [value for name, value in headers if name == b"authorization"]
        token = given[0][7:] if len(given) == 1 and given[0][:7].lower() == b"bearer " else b""
        return hmac.compare_digest(hashlib.sha256(token).digest(), self.digest or b"")

    async def _body(self, scope: MutableMapping[str, Any], receive: Receive) -> bytes:
        """The whole body, refused as soon as it is known to be too large."""
        most = self.limits.body_bytes
        for name, value in scope["headers"]:
            if name == b"content-length" and (not value.isdigit() or len(value) > 18 or int(value) > most):
                raise self._too_large()
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "gone", "the connection was closed before the body was there.")
            part = message.get("body", b"")
            size += len(part)
            if size > most:
                raise self._too_large()
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def _too_large(self) -> Refused:
        return Refused(413, "too_large", f"the body may have {self.limits.body_bytes:,} bytes.")


class Turnstile:
    """The threads that work, and a bounded number of calls that wait for one; the others are told to come again.

    For one event loop.
    """

    def __init__(self, limits: Limits) -> None:
        self.most = limits.threads + limits.queue
        self.seconds = limits.request_seconds
        self.refusal_seconds = limits.refusal_seconds
        self.inside = 0
        self._threads = ThreadPoolExecutor(limits.threads, thread_name_prefix="search")

    async def run(self, call: Callable[..., Result], *arguments: Any) -> Result:
        """The result of the call, or 503. A call that takes too long is answered with 503, and keeps its thread."""
        if self.inside >= self.most:
            raise busy(f"{self.inside} requests are waiting already.")
        self.inside += 1
        work = asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
        work.add_done_callback(self._leave)
        done, _ = await asyncio.wait([work], timeout=self.seconds)
        if not done:
            raise busy(f"the answer took more than {self.seconds:g} seconds.")
        return work.result()

    def close(self) -> None:
        """No more calls; those that run end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _leave(self, work: asyncio.Future[Any]) -> None:
        self.inside -= 1
        if not work.cancelled():
            work.exception()  # seen here, also when nobody waits for it any more


def _given(body: bytes, receive: Receive) -> Receive:
    """The body that was read already, then whatever the connection says."""
    waiting = True

    async def again() -> Message:
        nonlocal waiting
        if waiting:
            waiting = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again


async def refuse(send: Send, refused: Refused, *, close: bool = False) -> None:
    """Send it; `close` where the rest of the request was not read."""
    body = refused.body
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in refused.headers.items()]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
