"""The app behind its guard, in this process: what is let in, what is refused, and with which words."""

import asyncio
import json

import numpy as np
import pytest

from limbeck.serve import limits
from limbeck.serve.app import Settings, create_app
from limbeck.serve.guard import Turnstile
from limbeck.serve.limits import Limits
from limbeck.serve.refusals import Refused
from limbeck.serve.schema import Search

JSON = [(b"host", b"localhost"), (b"content-type", b"application/json")]
TOKEN = "a token of some length"


def ask(app, method, path, body=b"", headers=JSON, *, parts=None):
    """Status, headers and JSON of one request, as a server would hand it over."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": list(headers),
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }
    waiting = list(parts or [body])
    sent = []

    async def receive():
        if not waiting:
            return {"type": "http.disconnect"}
        part = waiting.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    content = b"".join(message.get("body", b"") for message in sent[1:])
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    is_json = found.get("content-type", "").startswith("application/json")
    return sent[0]["status"], found, json.loads(content) if is_json else content


@pytest.fixture(scope="module")
def app(service):
    return create_app(service, Settings(limits=Limits(body_bytes=100_000)))[0]


def code_of(answer):
    return answer[0], answer[2]["error"]["code"]


def test_an_answer_is_what_the_service_says(app, service):
    status, headers, found = ask(app, "POST", "/search", {"text": "word3 thing20", "k": 3})
    assert (status, headers["content-type"]) == (200, "application/json")
    assert found["answers"] == service.search(Search(text="word3 thing20", k=3))["answers"]
    assert set(found["milliseconds"]) == {"encode", "search", "read"}


HOSTILE = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "null": b"null",
    "a text": b'"x"',
    "no query": b"{}",
    "two queries": b'{"text": "a", "vector": [1.0]}',
    "an empty text": b'{"text": ""}',
    "a long text": json.dumps({"text": "a" * (limits.MOST_CHARACTERS + 1)}).encode(),
    "deep": b'{"text": ' + b"[" * 40_000 + b"]" * 40_000 + b"}",
    "not UTF-8": b'{"text": "\xff"}',
    "half a pair": b'{"text": "\\ud800"}',
    "NaN": b'{"vector": [NaN]}',
    "infinity": b'{"vector": [1e999]}',
    "beyond float32": json.dumps({"vector": [1e300] * 16}).encode(),
    "a vector of nothing": b'{"vector": []}',
    "another width": b'{"vector": [1.0, 2.0]}',
    "a vector of texts": b'{"vector": ["a"]}',
    "k of 0": b'{"text": "a", "k": 0}',
    "k below 0": b'{"text": "a", "k": -1}',
    "k too large": b'{"text": "a", "k": 1000000000}',
    "k beyond 64 bits": b'{"text": "a", "k": 100000000000000000000000000}',
    "k of a half": b'{"text": "a", "k": 1.5}',
    "effort of 0": b'{"text": "a", "effort": 0}',
    "effort above 1": b'{"text": "a", "effort": 1152921504606846976}',
    "effort below 0": b'{"text": "a", "effort": -1}',
    "an unknown option": b'{"text": "a", "nprobe": 5}',
    "an unknown mode": b'{"text": "a", "mode": "magic"}',
    "words without BM25": b'{"text": "a", "mode": "lexical"}',
    "words of a vector": b'{"vector": [1.0], "mode": "hybrid"}',
    "a filter of a list": b'{"text": "a", "where": []}',
    "a filter of null": b'{"text": "a", "where": {"year": null}}',
    "a filter with an unknown bound": b'{"text": "a", "where": {"year": {"gte": 3}}}',
    "too many conditions": json.dumps({"text": "a", "where": {f"f{n}": 1 for n in range(99)}}).encode(),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_request_that_makes_no_sense_is_refused_and_never_a_defect(app, body):
    status, _, found = ask(app, "POST", "/search", body)
    assert status in (400, 409, 422), found
    assert found["error"]["message"]


def test_a_filter_beyond_64_bits_lets_nothing_pass(app):
    for beyond in (10**26, -(10**26)):
        assert ask(app, "POST", "/search", {"text": "a", "where": {"year": beyond}})[2]["answers"] == []


def test_control_characters_and_sql_in_names_are_only_text(app):
    for name in ("'; DROP TABLE documents; --", "\x00", "a\r\nb", "%s", "../../etc/passwd"):
        assert ask(app, "POST", "/search", {"text": name, "where": {name: name}})[2]["answers"] == []
        assert code_of(ask(app, "POST", "/explain", {"text": "a", "ids": [name]})) == (404, "not_found")


OUTSIDE = """/../../etc/passwd /..%2f..%2fetc%2fpasswd /%2e%2e/%2e%2e/etc/passwd /static/../app.py //etc/passwd
/documents/../../etc/passwd /documents/%00 /documents/ /nothing /app.py /.git/config /page/app.js
/app.js/../service.py"""


@pytest.mark.parametrize("path", [*OUTSIDE.split(), "/\x00", "/app.js\x00.html"])
def test_paths_lead_to_no_file(app, path):
    status, _, found = ask(app, "GET", path)
    assert status == 404
    assert set(found["error"]) == {"code", "message", "field"}


def test_other_methods_are_refused(app):
    assert ask(app, "GET", "/search")[0] == 405
    assert ask(app, "PUT", "/documents/d1")[0] == 405
    assert ask(app, "DELETE", "/search")[0] == 405
    assert ask(app, "PUT", "/documents/d1")[1]["allow"] == "DELETE, GET"


def test_other_types_are_refused(app):
    for kind in (b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x"):
        headers = [(b"host", b"localhost"), (b"content-type", kind)]
        assert code_of(ask(app, "POST", "/search", b'{"text": "a"}', headers)) == (415, "not_json")
    assert ask(app, "POST", "/search", b'{"text": "a"}', [(b"host", b"localhost")])[0] == 415


def test_a_large_body_is_refused_by_its_length_and_by_what_comes(app):
    told = [*JSON, (b"content-length", b"50000000")]
    assert code_of(ask(app, "POST", "/search", b"", told)) == (413, "too_large")
    assert code_of(ask(app, "POST", "/search", parts=[b"x" * 30_000] * 100)) == (413, "too_large")
    for length in (b"-1", b"1e9", b"9" * 30):
        assert ask(app, "POST", "/search", b"", [*JSON, (b"content-length", length)])[0] == 413


def test_a_host_that_is_not_ours_is_refused(app):
    for host in (b"evil.example", b"localhost.evil.example", b"127.0.0.1.evil.example:80", b"", b"[::2]:80"):
        assert code_of(ask(app, "GET", "/index", headers=[(b"host", host)])) == (400, "bad_host")
    assert code_of(ask(app, "GET", "/index", headers=[])) == (400, "bad_host")
    twice = [(b"host", b"localhost"), (b"host", b"localhost")]
    assert code_of(ask(app, "GET", "/index", headers=twice)) == (400, "bad_host")
    for host in (b"localhost:8000", b"127.0.0.1:1", b"[::1]:80", b"LOCALHOST"):
        assert ask(app, "GET", "/index", headers=[(b"host", host)])[0] == 200


def test_a_token_opens_and_nothing_else_does(service):
    app = create_app(service, Settings(token=TOKEN))[0]
    wrong = (
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer wrong",
        TOKEN.encode(),
        b"Basic " + TOKEN.encode(),
        b"Bearer \xff\xfe",
    )
    bodies = set()
    for value in wrong:
        status, headers, found = ask(
            app, "GET", "/index", headers=[(b"host", b"localhost"), (b"authorization", value)]
        )
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        bodies.add(json.dumps(found))
    assert len(bodies) == 1
    right = (b"authorization", b"Bearer " + TOKEN.encode())
    assert ask(app, "GET", "/index", headers=[(b"host", b"localhost"), right])[0] == 200
    assert ask(app, "GET", "/index", headers=[(b"host", b"localhost"), right, right])[0] == 401
    for path in ("/search", "/metrics", "/documents/d1", "/openapi.json"):
        assert ask(app, "GET", path)[0] == 401
    assert ask(app, "GET", "/healthz")[0] == ask(app, "GET", "/readyz")[0] == 200


def test_every_answer_forbids_foreign_scripts_and_guesses_of_its_type(app):
    for path in ("/index", "/nothing", "/healthz"):
        headers = ask(app, "GET", path)[1]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_no_other_site_may_ask_unless_it_is_named(service, app):
    asking = [*JSON, (b"origin", b"https://a.example")]
    assert "access-control-allow-origin" not in ask(app, "POST", "/search", {"text": "a"}, asking)[1]
    named = create_app(service, Settings(origins=["https://a.example"]))[0]
    headers = ask(named, "POST", "/search", {"text": "a"}, asking)[1]
    assert headers["access-control-allow-origin"] == "https://a.example"
    other = ask(named, "POST", "/search", {"text": "a"}, [*JSON, (b"origin", b"https://b.example")])[1]
    assert "access-control-allow-origin" not in other


def test_a_defect_tells_nothing_of_the_inside(service, monkeypatch):
    def broken(asked):
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(service, "search", broken, raising=False)
    app = create_app(service, Settings())[0]
    status, _, found = ask(app, "POST", "/search", {"text": "a"})
    assert (status, found["error"]["code"]) == (500, "internal")
    assert "secret" not in json.dumps(found)


def test_more_calls_than_may_wait_are_told_to_come_again():
    async def crowd():
        turnstile = Turnstile(Limits(threads=1, queue=2))
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()

        def work():
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()
            return "done"

        waiting = [asyncio.ensure_future(turnstile.run(work)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Refused) as refused:
            await turnstile.run(work)
        gate.set()
        done = await asyncio.gather(*waiting)
        again = await turnstile.run(lambda: "again")
        turnstile.close()
        return refused.value, done, again, turnstile.inside

    refused, done, again, inside = asyncio.run(crowd())
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    assert (done, again, inside) == (["done"] * 3, "again", 0)


def test_an_answer_that_takes_too_long_is_a_503_and_its_place_is_free_once_it_ends():
    async def slow():
        turnstile = Turnstile(Limits(threads=1, queue=1, request_seconds=0.01))
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()
        with pytest.raises(Refused, match="took more than"):
            await turnstile.run(lambda: asyncio.run_coroutine_threadsafe(gate.wait(), loop).result())
        held = turnstile.inside
        gate.set()
        while turnstile.inside:
            await asyncio.sleep(0)
        turnstile.close()
        return held

    assert asyncio.run(slow()) == 1


def test_metrics_count_by_our_paths_not_by_what_clients_type(app):
    ask(app, "GET", "/documents/one-that-is-not-there")
    text = ask(app, "GET", "/metrics")[2].decode()
    assert 'limbeck_requests_total{path="/documents/{id}",status="404"}' in text
    assert "limbeck_documents 2000.0" in text
    assert "limbeck_list_imbalance" in text
    assert "one-that" not in text


def test_the_description_holds_every_path_and_every_schema_that_it_names(app):
    described = ask(app, "GET", "/openapi.json")[2]
    assert {"/search", "/search/batch", "/explain", "/documents", "/documents/{identifier}", "/index"} <= set(
        described["paths"]
    )
    names = {text.split('"')[0] for text in json.dumps(described).split("#/components/schemas/")[1:]}
    assert names <= set(described["components"]["schemas"])
    assert described["components"]["schemas"]["Search"]["examples"][0]["text"]


def test_numbers_that_json_cannot_say_never_leave(app):
    found = ask(app, "POST", "/search", {"vector": np.zeros(16).tolist(), "k": 5})
    assert found[0] == 200
    assert all(np.isfinite(answer["score"]) for answer in found[2]["answers"])
