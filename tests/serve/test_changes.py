"""Documents that come and go while an index is served: accepted once on disk, seen from the next generation on."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from pydantic import ValidationError
from served import SIZE, document, until

from limbeck.errors import ConfigError, DataError, StorageError
from limbeck.index.changing import changed, distortion
from limbeck.index.compressed import CodeIndex
from limbeck.index.fast_scan import FastScanIndex
from limbeck.index.flat import Flat
from limbeck.index.journal import Journal
from limbeck.index.store import current_name, open_current, publish, verify
from limbeck.index.sums import SumIndex
from limbeck.index.two_stage import TwoStageIndex
from limbeck.jobs.changes import apply_changes
from limbeck.jobs.make import changes_so_far
from limbeck.quantisers.product import ProductQuantiser
from limbeck.quantisers.sums import SumQuantiser
from limbeck.retrieve import Searcher
from limbeck.serve.schema import Addition, NewDocument, Search
from limbeck.types import Reps


def ids_of(found):
    return [answer["id"] for answer in found["answers"]]


def addition(*names, vector=None, **fields):
    given = fields if vector is None else {**fields, "vector": vector}
    return Addition(documents=[NewDocument(id=name, **given) for name in names])


def vectors_of(encoder, *texts):
    return encoder.encode_document(list(texts))


def test_what_was_added_is_found_after_the_next_generation_and_what_was_deleted_is_not(changing, encoder):
    (vector,) = vectors_of(encoder, "an entirely new subject").tolist()
    accepted = changing.add(
        addition("new", vector=vector, text="an entirely new subject", metadata={"year": 2026})
    )
    changing.delete("d7")
    asked = Search(text="an entirely new subject", k=3)
    assert accepted == {"accepted": 1, "sequence": 1}
    assert "new" not in ids_of(changing.search(asked))
    assert changing.about()["pending_changes"] == 2

    applied = apply_changes(changing.live.folder)
    assert (applied.added, applied.replaced, applied.deleted, applied.documents) == (1, 0, 1, SIZE)
    assert changing.live.reload()
    assert ids_of(changing.search(asked))[0] == "new"
    assert ids_of(changing.search(Search(text="a", where={"year": 2026}))) == ["new"]
    assert ids_of(changing.search(Search(text=document(7).content, exact=True, k=1000))).count("d7") == 0
    assert (changing.about()["pending_changes"], changing.about()["last_change"]) == (0, 2)
    assert apply_changes(changing.live.folder) is None


def test_a_document_with_a_known_id_takes_the_place_of_the_old_one(changing, encoder):
    (vector,) = vectors_of(encoder, "replaced words").tolist()
    changing.add(addition("d3", vector=vector, title="new title", text="replaced words"))
    applied = apply_changes(changing.live.folder)
    changing.live.reload()
    assert (applied.added, applied.replaced, applied.documents) == (0, 1, SIZE)
    assert changing.document("d3")["title"] == "new title"


def test_of_many_changes_of_one_document_the_last_one_holds(changing, encoder):
    (vector,) = vectors_of(encoder, "x").tolist()
    changing.add(addition("a", "b", vector=vector, text="first"))
    changing.delete("a")
    changing.add(addition("b", vector=vector, text="second"))
    changing.delete("c")
    changing.add(addition("c", vector=vector, text="third"))
    apply_changes(changing.live.folder)
    changing.live.reload()
    store = changing.live.current.searcher.documents
    assert store.rows_of(["a", "b", "c"]) == {"b": SIZE, "c": SIZE + 1}
    assert changing.document("b")["text"] == "second"


def test_rows_that_stay_keep_codes_vectors_and_scores(changing, encoder):
    before = changing.search(Search(text="word3 thing20", k=1000, effort=1.0))["answers"]
    exact = changing.search(Search(text="word3 thing20", k=1000, exact=True))["answers"]
    changing.delete(before[0]["id"])
    apply_changes(changing.live.folder)
    changing.live.reload()
    after = changing.search(Search(text="word3 thing20", k=999, effort=1.0))["answers"]
    assert [(one["id"], one["score"]) for one in after] == [(one["id"], one["score"]) for one in before[1:]]
    left = [one for one in exact if one["id"] != before[0]["id"]]
    found = changing.search(Search(text="word3 thing20", k=len(left), exact=True))["answers"]
    assert [(one["id"], one["score"]) for one in found] == [(one["id"], one["score"]) for one in left]


def test_the_manifest_tells_how_well_codewords_fit_what_came_later(changing, drawn):
    for name in ("one", "two"):
        changing.add(addition(name, vector=drawn.standard_normal(16).tolist()))
        apply_changes(changing.live.folder)
    drift = open_current(changing.live.folder)[1].content["drift"]
    assert drift["documents"] == 2
    assert 0 < drift["added"] < 2


def test_a_restart_finds_what_was_accepted_before_it(changing, encoder):
    (vector,) = vectors_of(encoder, "kept").tolist()
    changing.add(addition("kept", vector=vector))
    changing.journal.close()
    changing.journal = Journal(changing.live.folder)
    assert changing.about()["pending_changes"] == 1
    assert apply_changes(changing.live.folder).added == 1


def test_numbers_go_on_after_changes_are_forgotten(changing, encoder):
    (vector,) = vectors_of(encoder, "x").tolist()
    assert changing.add(addition("a", vector=vector))["sequence"] == 1
    apply_changes(changing.live.folder)
    assert changing.add(addition("b", vector=vector))["sequence"] == 2
    assert changing.journal.last() == 2
    assert [change.document.id for change in changing.journal.after(0)] == ["b"]


def test_when_all_documents_are_gone_searches_find_nothing_and_new_ones_can_come(changing, encoder):
    for row in range(SIZE):
        changing.delete(f"d{row}")
    assert apply_changes(changing.live.folder).documents == 0
    changing.live.reload()
    for options in ({}, {"exact": True}, {"where": {"year": 2001}}, {"refine": 5}):
        assert ids_of(changing.search(Search(text="word3", **options))) == []
    (vector,) = vectors_of(encoder, "again").tolist()
    changing.add(addition("again", vector=vector))
    apply_changes(changing.live.folder)
    changing.live.reload()
    assert ids_of(changing.search(Search(text="again"))) == ["again"]


def test_what_another_published_meanwhile_is_not_overwritten(changing, monkeypatch):
    from limbeck.jobs import changes

    folder = changing.live.folder
    changing.delete("d1")
    real = changes.changed

    def slow(*arguments, **named):
        source = folder / current_name(folder)
        publish(
            folder,
            lambda inside: shutil.copytree(
                source, inside, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json")
            ),
            {**open_current(folder)[1].content, "by": "another"},
        )
        return real(*arguments, **named)

    monkeypatch.setattr(changes, "changed", slow)
    with pytest.raises(StorageError, match="another process published meanwhile"):
        apply_changes(folder)
    monkeypatch.undo()
    assert open_current(folder)[1].content["by"] == "another"
    assert apply_changes(folder).deleted == 1
    assert open_current(folder)[1].content["by"] == "another"


def test_large_changes_are_applied_a_few_at_a_time(changing, monkeypatch):
    from limbeck.jobs import changes

    monkeypatch.setattr(changes, "MOST_BYTES", 1000)
    for name in ("a", "b", "c"):
        changing.add(addition(name, vector=[0.1] * 16, text="x" * 600))
    assert [apply_changes(changing.live.folder).last_change for _ in range(2)] == [2, 3]
    assert apply_changes(changing.live.folder) is None


def test_a_new_distillation_goes_on_counting_where_the_old_generation_was(changing):
    folder = changing.live.folder
    assert changes_so_far(folder) == changes_so_far(folder / "nothing") == {}
    changing.delete("d1")
    apply_changes(folder)
    assert changes_so_far(folder) == {"last_change": 1}


def test_two_may_not_apply_at_once(changing):
    from limbeck.index.journal import FOLDER
    from limbeck.storage.lock import locked

    changing.delete("d1")
    with locked(changing.live.folder / FOLDER), pytest.raises(StorageError, match="locked by pid"):
        apply_changes(changing.live.folder)


def test_what_no_generation_could_take_is_not_accepted(changing, service, encoder):
    with pytest.raises(DataError, match="3 dimensions; must be 16"):
        changing.add(addition("a", vector=[1.0, 2.0, 3.0]))
    with pytest.raises(ValidationError, match="less than or equal to 60000"):
        addition("a", vector=[1e300] * 16)
    with pytest.raises(ConfigError, match="--read-only"):
        service.add(addition("a", vector=[0.0] * 16))
    with pytest.raises(DataError, match="not UTF-8"):
        changing.add(addition("a", vector=[0.0] * 16, metadata={"x": "\ud800"}))
    with pytest.raises(DataError, match="JSON cannot say"):
        changing.add(addition("a", vector=[0.0] * 16, metadata={"x": float("nan")}))
    assert changing.journal.last() == 0


def test_an_index_that_cannot_change_accepts_neither_documents_nor_deletions(changing):
    changing.live.current.searcher.index = object()
    for change in (lambda: changing.add(addition("a", vector=[0.0] * 16)), lambda: changing.delete("d1")):
        with pytest.raises(ConfigError, match="cannot take new documents"):
            change()
    assert changing.journal.last() == 0


def test_texts_are_not_taken_where_the_artefact_holds_no_document_encoder(changing):
    """Also not when the server was given one: who applies the change has the artefact alone."""
    assert changing.live.current.searcher.encoder is not None
    with pytest.raises(ConfigError, match="no document encoder"):
        changing.add(addition("a", text="words"))
    assert changing.about()["can_add_texts"] is False


@pytest.fixture(scope="module")
def indexes(vectors):
    """One of each kind that can change."""
    plain = ProductQuantiser(code_bytes=4).fit(vectors, seed=0)
    listed = ProductQuantiser(code_bytes=4, lists=8).fit(vectors, seed=0)
    four = ProductQuantiser(code_bytes=4, bits=4, lists=8).fit(vectors, seed=0)
    sums = SumQuantiser(code_bytes=4).fit(vectors, seed=0)
    codes = four.encode(vectors)
    left = vectors - four.decode(codes)
    second = ProductQuantiser(code_bytes=4).fit(left, seed=0)
    return {
        "codes": CodeIndex(plain, plain.encode(vectors)),
        "lists": CodeIndex(listed, listed.encode(vectors)),
        "fast scan": FastScanIndex(four, codes),
        "sums": SumIndex(sums, sums.encode(vectors)),
        "two stages": TwoStageIndex(four, codes, second=second, second_codes=second.encode(left), factor=50),
        "flat": Flat(vectors),
    }


@pytest.mark.parametrize("kind", ["codes", "lists", "fast scan", "sums", "two stages", "flat"])
def test_a_changed_index_is_the_index_of_the_changed_vectors_under_the_same_codewords(
    kind, indexes, vectors, drawn
):
    index = indexes[kind]
    stay = drawn.random(SIZE) > 0.3
    new = vectors[:50] + 0.01
    after = changed(index, stay=stay, new=new)
    whole = changed(index, stay=np.zeros(SIZE, dtype=bool), new=np.concatenate([vectors[stay], new]))
    asked = Reps.single(vectors[:20])
    assert len(after) == stay.sum() + 50
    one, other = after.search(asked, 10, effort=1.0), whole.search(asked, 10, effort=1.0)
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.scores, other.scores)


def test_distortion_of_flat_is_unknown_and_of_codes_is_its_definition(indexes, vectors):
    index = indexes["codes"]
    decoded = index.quantiser.decode(index.codes)
    expected = np.square(decoded - vectors).sum() / np.square(vectors).sum()
    assert distortion(index, vectors, slice(None)) == pytest.approx(expected, rel=1e-5)
    assert distortion(indexes["flat"], vectors, slice(None)) is None


APPLY = "import sys; from limbeck.jobs.changes import apply_changes; print(apply_changes(sys.argv[1]))"


def killed_at(folder, point):
    """Whether a process that applies the journal died at its n-th call to the disk."""
    environment = {**os.environ, "LIMBECK_FAULT_AT": str(point)}
    command = [sys.executable, "-c", APPLY, str(folder)]
    return subprocess.run(command, env=environment, capture_output=True).returncode == 137


@pytest.mark.long
def test_killed_at_any_call_to_the_disk_nothing_that_was_accepted_is_lost(own_folder, encoder):
    journal = Journal(own_folder)
    accepted = []
    point = 1
    while True:
        name = f"new{point}"
        (vector,) = vectors_of(encoder, name).tolist()
        journal.put(addition(name, vector=vector).documents)
        accepted.append(name)
        if not killed_at(own_folder, point):
            break
        assert verify(own_folder) == []
        point += 1
    assert point > 20
    assert apply_changes(own_folder) is None
    assert set(Searcher.open(own_folder).documents.rows_of(accepted)) == set(accepted)


def kill_while_it_applies(folder, encoder, *, times, seed):
    """Ids that were acknowledged; after each kill the artefact was whole."""
    chance = random.Random(seed)
    journal = Journal(folder)
    accepted = []
    for number in range(times):
        name = f"new{number}"
        (vector,) = vectors_of(encoder, name).tolist()
        journal.put(addition(name, vector=vector).documents)
        accepted.append(name)
        process = subprocess.Popen([sys.executable, "-c", APPLY, str(folder)], stdout=subprocess.PIPE)
        time.sleep(chance.uniform(0.3, 1.2))  # imports take half of it: the kill falls into the writing
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert verify(folder) == []
    journal.close()
    return accepted


@pytest.mark.parametrize("times", [4, pytest.param(60, marks=pytest.mark.long)])
def test_killed_at_random_moments_nothing_that_was_accepted_is_lost(own_folder, encoder, times):
    accepted = kill_while_it_applies(own_folder, encoder, times=times, seed=0)
    while apply_changes(own_folder) is not None:
        pass
    assert set(Searcher.open(own_folder).documents.rows_of(accepted)) == set(accepted)


def test_a_server_takes_a_document_applies_it_and_serves_it(own_folder, encoder, start):
    server = start(own_folder)
    (vector,) = vectors_of(encoder, "brand new").tolist()
    body = {"documents": [{"id": "new", "vector": vector, "text": "brand new"}]}
    status, accepted = server.post("/documents", body)
    assert (status, accepted) == (202, {"accepted": 1, "sequence": 1})
    until(lambda: server.get("/documents/new")[0] == 200)
    assert server.post("/search", {"vector": vector, "k": 1})[1]["answers"][0]["id"] == "new"
    assert server.delete("/documents/new")[0] == 202
    until(lambda: server.get("/documents/new")[0] == 404)
    assert server.get("/index")[1]["pending_changes"] == 0


def test_a_server_takes_up_what_another_left_behind(own_folder, encoder, start):
    (vector,) = vectors_of(encoder, "left").tolist()
    journal = Journal(own_folder)
    journal.put(addition("left", vector=vector).documents)
    journal.close()
    server = start(own_folder)
    until(lambda: server.get("/documents/left")[0] == 200)
