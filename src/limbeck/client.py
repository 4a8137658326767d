"""Asking a server that `limbeck serve` runs, from Python, with nothing but the standard library.

with Client("http://127.0.0.1:8000", token=...) as client:
for answer in client.search("how to copy a file", k=3)["answers"]:
print(answer["rank"], answer["id"], answer["score"])
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

from limbeck.errors import ConfigError, DataError, LimbeckError, StorageError

TRIES = 5  # of a request that the server is too busy for


class ServerError(LimbeckError):
    """The server's own words, with its status."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{message} ({status}, {code})")
        self.status, self.code = status, code


class Client:
    """Holds a connection for each thread that asks. What comes back is the JSON that the server's description names.

    token    what the server was started with
    timeout  seconds for one request
    tries    how often a request is sent while the server says that it is busy
    """

    def __init__(
        self, address: str, *, token: str | None = None, timeout: float = 30.0, tries: int = TRIES
    ) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"`address` is {address!r}; expected something like http://127.0.0.1:8000.")
        self._parts, self._timeout, self._tries = parts, timeout, max(1, tries)
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._local = threading.local()

    def search(self, query: str | Sequence[float], k: int = 10, **options: Any) -> dict[str, Any]:
        """The best documents of a text or a vector.

        options  mode, where, effort, exact, refine, refine_ms, documents
        """
        name = "text" if isinstance(query, str) else "vector"
        return self._ask("POST", "/search", {name: _plain(query), "k": k, **options})

    def search_batch(
        self, queries: Sequence[str] | Sequence[Sequence[float]], k: int = 10, **options: Any
    ) -> dict[str, Any]:
        """As `search`, of up to 256 texts, or vectors, at once."""
        if isinstance(queries, str):
            raise DataError(f"`queries` is one string, {queries[:40]!r}; expected a list of them.")
        are_texts = len(queries) > 0 and isinstance(queries[0], str)
        name = "texts" if are_texts else "vectors"
        return self._ask(
            "POST", "/search/batch", {name: [_plain(query) for query in queries], "k": k, **options}
        )

    def explain(self, query: str | Sequence[float], ids: Sequence[str], **options: Any) -> dict[str, Any]:
        """Why these documents stand where they stand."""
        name = "text" if isinstance(query, str) else "vector"
        return self._ask("POST", "/explain", {name: _plain(query), "ids": list(ids), **options})

    def document(self, identifier: str) -> dict[str, Any]:
        """One document. raises ServerError 404"""
        return self._ask("GET", f"/documents/{quote(identifier, safe='')}")

    def add(self, documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Documents (id, title, text, metadata, vector) that searches will see from the next generation on."""
        return self._ask("POST", "/documents", {"documents": [dict(one) for one in documents]})

    def delete(self, identifier: str) -> dict[str, Any]:
        """Leave a document out from the next generation on."""
        return self._ask("DELETE", f"/documents/{quote(identifier, safe='')}")

    def about(self) -> dict[str, Any]:
        """What is served."""
        return self._ask("GET", "/index")

    def wait_until_seen(self, sequence: int, *, seconds: float = 60.0) -> None:
        """Until searches see the change with this number. raises StorageError when the time is over"""
        deadline = time.monotonic() + seconds
        while self.about()["last_change"] < sequence:
            if time.monotonic() > deadline:
                raise StorageError(
                    f"change {sequence} was not seen within {seconds:g} seconds; the server's log says why."
                )
            time.sleep(0.1)

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            del self._local.connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        for left in range(self._tries - 1, -1, -1):
            status, headers, content = self._sent(method, self._parts.path.rstrip("/") + path, data)
            if status == 503 and left and method != "DELETE" and path != "/documents":
                time.sleep(float(headers.get("Retry-After", 1)))
                continue
            break
        if status < 300:
            found: dict[str, Any] = json.loads(content)
            return found
        raise _failure(status, content)

    def _sent(self, method: str, path: str, data: bytes | None) -> tuple[int, Mapping[str, str], bytes]:
        """One exchange; once more on a new connection where the server had closed an idle one."""
        for is_new in (not hasattr(self._local, "connection"), True):
            connection = self._connection(anew=is_new)
            try:
                connection.request(method, path, body=data, headers=self._headers)
                answer = connection.getresponse()
                return answer.status, dict(answer.headers), answer.read()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
                self.close()
                if is_new:
                    raise StorageError(f"{self._parts.netloc} closed the connection: {error}.") from error
            except OSError as error:
                self.close()
                raise StorageError(f"cannot reach {self._parts.netloc}: {error}.") from error
        raise AssertionError("the second connection is new")

    def _connection(self, *, anew: bool) -> http.client.HTTPConnection:
        if anew or not hasattr(self._local, "connection"):
            host, port = self._parts.hostname or "", self._parts.port
            if self._parts.scheme == "https":
                context = ssl.create_default_context()
                self._local.connection = http.client.HTTPSConnection(
                    host, port, timeout=self._timeout, context=context
                )
            else:
                self._local.connection = http.client.HTTPConnection(host, port, timeout=self._timeout)
        connection: http.client.HTTPConnection = self._local.connection
        return connection


def _plain(query: str | Sequence[float]) -> str | list[float]:
    """A vector as a list of numbers: numpy's are no JSON."""
    return query if isinstance(query, str) else [float(number) for number in query]


def _failure(status: int, content: bytes) -> ServerError:
    try:
        error = json.loads(content)["error"]
        return ServerError(status, str(error["code"]), str(error["message"]))
    except (ValueError, KeyError, TypeError):
        return ServerError(status, "unknown", content[:200].decode(errors="replace"))
