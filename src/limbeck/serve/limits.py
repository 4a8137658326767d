"""What a server takes in, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass

MOST_HITS = 1_000  # k
MOST_CHARACTERS = 10_000  # of a query
MOST_QUERIES = 256  # of a batch
MOST_DIMENSIONS = 65_536  # of a vector; the index says how many it must be
LARGEST = 6e4  # of a number in a vector: within float16, which vectors may be kept in
MOST_CONDITIONS = 16  # of a filter
MOST_VALUES = 1_000  # of one condition
MOST_EXPLAINED = 64  # documents
MOST_CHANGED = 1_000  # documents a request
MOST_ID = 512  # characters
MOST_TEXT = 1_000_000  # characters of a document


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What depends on the machine; the constants above hold for all."""

    body_bytes: int = 8 * 2**20  # larger bodies are refused before they are read
    body_seconds: float = 10.0  # to send headers, and again to send the body
    request_seconds: float = 10.0  # from the last byte of a request to its answer
    threads: int = 2  # requests that are searched at once
    queue: int = 64  # requests that wait for a thread; more get 503
    refusal_seconds: float = (
        0.5  # before a 503: clients that ask again at once would take the time of those who wait
    )
    connections: int = 1_024  # open at once; more get 503
    drain_seconds: float = 10.0  # that answers have, once the server was asked to stop
    keep_alive_seconds: float = 30.0  # that a connection may idle
