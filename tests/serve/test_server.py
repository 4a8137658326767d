"""The server as a process: connections, signals, reloads."""

import concurrent.futures
import contextlib
import http.client
import shutil
import signal
import socket
import threading
import time

import numpy as np
import pytest
from served import DEADLINE, until

from limbeck.errors import CorruptArtefact
from limbeck.index.store import current_name, open_current, publish
from limbeck.serve.live import Live
from limbeck.types import Reps

HOST = b"Host: localhost\r\n"
JSON = HOST + b"Content-Type: application/json\r\n"
ASK = {"vector": [0.1] * 16, "k": 3}


def connected(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE)


def answer_to(server, raw):
    """Everything that the server sends until it closes the connection."""
    with connected(server) as one:
        one.sendall(raw)
        parts = []
        with contextlib.suppress(ConnectionResetError):
            while part := one.recv(65536):
                parts.append(part)
        return b"".join(parts)


def published_again(folder):
    """A new generation with the same files."""
    source = folder / current_name(folder)

    def write(inside):
        shutil.copytree(source, inside, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))

    return publish(folder, write, dict(open_current(folder)[1].content))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_with_status_0(folder, start, number):
    server = start(folder, "--read-only")
    failures, answered, stopping = [], [0], threading.Event()

    def client():
        while not stopping.is_set():
            try:
                status, _ = server.post("/search", ASK)
            except OSError:  # refused after the server stopped listening
                return
            answered[0] += 1
            if status != 200:
                failures.append(status)

    clients = [threading.Thread(target=client) for _ in range(4)]
    for one in clients:
        one.start()
    until(lambda: answered[0] > 20)
    assert server.stop(number) == 0
    stopping.set()
    for one in clients:
        one.join()
    assert failures == []


def test_requests_that_are_sent_too_slowly_are_cut_while_others_are_answered(folder, start):
    server = start(folder, "--read-only", "--patience", "1")
    slow = [connected(server) for _ in range(50)]
    begun = b"POST /search HTTP/1.1\r\n" + JSON + b"Content-Length: 100\r\n\r\n{"
    parts = [b"", b"GET /index HTTP/1.1\r\nHost: localh", begun]
    for number, one in enumerate(slow):
        one.sendall(parts[number % 3])
    assert server.post("/search", ASK)[0] == 200
    for one in slow:
        one.settimeout(DEADLINE)
        with contextlib.suppress(ConnectionResetError):
            told = one.recv(4096)
            assert told == b"" or told.startswith(b"HTTP/1.1 408"), told
        one.close()
    assert server.post("/search", ASK)[0] == 200


def test_an_idle_connection_that_asked_before_may_ask_again(folder, start):
    server = start(folder, "--read-only", "--patience", "1")
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)) as one:
        for wait in (0.0, 1.5):  # longer than a request may take to be sent
            ends = time.monotonic() + wait
            until(lambda ends=ends: time.monotonic() >= ends)
            one.request("GET", "/healthz")
            answer = one.getresponse()
            assert (answer.status, answer.read()) == (200, b'{"status":"ok"}')


LAST = b"Connection: close\r\n\r\n"
RAW = {
    "two lengths": b"POST /search HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two hosts": b"GET /index HTTP/1.1\r\n" + HOST + b"Host: evil\r\n" + LAST,
    "no host": b"GET /index HTTP/1.1\r\n" + LAST,
    "no HTTP": b"hello\r\n\r\n",
    "a control character in the path": b"GET /\x01 HTTP/1.1\r\n" + HOST + LAST,
    "a websocket": b"GET /search HTTP/1.1\r\n"
    + HOST
    + b"Upgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n",
}


@pytest.fixture(scope="module")
def lasting(folder):
    """One server for the tests that only ask."""
    from served import Running

    server = Running(folder, "--read-only")
    yield server
    server.process.kill()
    server.process.communicate()


@pytest.mark.parametrize("raw", RAW.values(), ids=RAW)
def test_what_is_not_proper_http_is_a_4xx_or_the_end_of_the_connection(lasting, raw):
    found = answer_to(lasting, raw)
    assert found == b"" or found.split(b" ")[1][:1] == b"4", found
    assert lasting.get("/healthz")[0] == 200


def test_a_line_end_in_an_id_is_never_a_header(lasting):
    found = answer_to(lasting, b"GET /documents/a%0d%0aX-Evil:%201 HTTP/1.1\r\n" + HOST + LAST)
    head, _, body = found.partition(b"\r\n\r\n")
    assert b"evil" not in head.lower()
    assert head.startswith(b"HTTP/1.1 404")
    assert b"error" in body


def test_clients_that_hang_up_leave_no_place_taken(lasting):
    body = b'{"vector": [' + b"0.1," * 15 + b"0.1]}"
    asked = b"POST /search HTTP/1.1\r\n" + JSON + b"Content-Length: %d\r\n\r\n" % len(body) + body
    for number in range(200):
        with connected(lasting) as one:
            one.sendall(asked[: len(asked) - number % 3 * 20])
    metrics = b"GET /metrics HTTP/1.1\r\n" + HOST + LAST
    until(lambda: b"limbeck_requests_inside 0.0" in answer_to(lasting, metrics))
    assert lasting.post("/search", ASK)[0] == 200


def test_reloads_under_load_fail_no_request(own_folder, start):
    server = start(own_folder, "--read-only")
    stopping = threading.Event()

    def client():
        statuses = []
        while not stopping.is_set():
            statuses.append(server.post("/search", ASK)[0])
        return statuses

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(client) for _ in range(4)]
        names = set()
        for _ in range(10):
            published_again(own_folder)
            status, about = server.post("/reload", {})
            assert status == 200
            names.add(about["generation"])
        stopping.set()
        statuses = [status for one in clients for status in one.result()]
    assert len(names) == 10
    assert set(statuses) == {200}


def test_a_damaged_generation_is_not_taken_up_and_the_old_one_goes_on(own_folder, encoder, caplog):
    live = Live(own_folder, encoder=encoder)
    before = live.current
    damaged = published_again(own_folder) / "index.faiss"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(CorruptArtefact, match=r"index\.faiss"):
        live.reload()
    assert not live.reload_quietly()
    assert not live.reload_quietly()
    assert len([record for record in caplog.records if "not served" in record.message]) == 1
    assert live.current is before


def test_a_generation_that_two_later_ones_removed_still_answers_those_who_began_with_it(own_folder, encoder):
    before = Live(own_folder, encoder=encoder).current
    for _ in range(3):
        published_again(own_folder)
    assert not before.searcher.documents.path.exists()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda row: before.searcher.documents.documents([row])[0].id, range(10))
        assert list(found) == [f"d{row}" for row in range(10)]
    assert before.searcher.answers(["word3 thing20"], 3)
    assert len(before.kept.search(Reps.single(np.ones((1, 16), dtype=np.float32)), 5).ids[0]) == 5


def test_a_new_generation_is_picked_up_without_being_told(own_folder, start):
    server = start(own_folder, "--read-only")
    name = published_again(own_folder).name
    until(lambda: server.get("/index")[1]["generation"] == name)
