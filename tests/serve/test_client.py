"""The client against a real server: what it asks is what the server answers, and failures keep their words."""

import numpy as np
import pytest
from served import Running, document

from limbeck.client import Client, ServerError
from limbeck.errors import ConfigError, DataError, StorageError

TOKEN = "a token of some length"


@pytest.fixture(scope="module")
def server(folder):
    running = Running(folder, "--read-only", environment={"LIMBECK_TOKEN": TOKEN})
    yield running
    running.process.kill()
    running.process.communicate()


@pytest.fixture
def client(server):
    with Client(f"http://127.0.0.1:{server.port}", token=TOKEN) as opened:
        yield opened


def test_a_vector_finds_what_the_index_finds(client, encoder, service):
    vector = encoder.encode_query(["word3 thing20"])[0]
    found = client.search(vector, k=4, where={"language": "en"}, effort=1.0)
    assert [answer["rank"] for answer in found["answers"]] == [1, 2, 3, 4]
    assert all(answer["metadata"]["language"] == "en" for answer in found["answers"])
    batch = client.search_batch(np.stack([vector, vector]), k=4, where={"language": "en"}, effort=1.0)
    assert batch["answers"] == [found["answers"]] * 2


def test_documents_and_explanations_come_by_their_ids(client, encoder):
    assert client.document("d5")["text"] == document(5).text
    vector = encoder.encode_query(["word3"])[0]
    (why,) = client.explain(vector, ["d5"])["explanations"]
    assert why["id"] == "d5"
    assert client.about()["documents"] == 2000


def test_failures_are_told_in_the_servers_words(client, server):
    with pytest.raises(ServerError, match="no document with the id 'x/ä'") as error:
        client.document("x/ä")
    assert error.value.status == 404
    with pytest.raises(ServerError, match="--read-only"):
        client.delete("d1")
    with (
        Client(f"http://127.0.0.1:{server.port}", token="another one") as other,
        pytest.raises(ServerError) as error,
    ):
        other.about()
    assert (error.value.status, error.value.code) == (401, "no_token")


def test_mistakes_are_named_before_anything_is_sent(client):
    with pytest.raises(ConfigError, match="expected something like http"):
        Client("localhost:8000")
    with pytest.raises(DataError, match="one string"):
        client.search_batch("a text")
    with pytest.raises(StorageError, match="cannot reach"):
        Client("http://127.0.0.1:1").about()


def test_a_change_is_waited_for(own_folder, start, encoder):
    running = start(own_folder)
    with Client(f"http://127.0.0.1:{running.port}") as client:
        (vector,) = encoder.encode_document(["brand new"]).tolist()
        accepted = client.add([{"id": "a/b ä", "vector": vector, "text": "brand new"}])
        client.wait_until_seen(accepted["sequence"])
        assert client.document("a/b ä")["text"] == "brand new"
        client.wait_until_seen(client.delete("a/b ä")["sequence"])
        with pytest.raises(ServerError, match="404"):
            client.document("a/b ä")
