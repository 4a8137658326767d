"""The service without HTTP: what it finds, what filters leave, and why a document stands where it stands."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from served import SIZE, document, write_index

from limbeck.errors import ConfigError, ShapeError
from limbeck.index.flat import Flat
from limbeck.serve.live import Live
from limbeck.serve.schema import Batch, Explain, Search
from limbeck.serve.service import NotThere, Service
from limbeck.types import Codes, Reps

TEXT = "word3 thing20 part0"
VALUES = {
    "language": st.sampled_from(["en", "de", "zh", "fr"]),
    "year": st.integers(1998, 2026),
    "tags": st.sampled_from(["t0", "t6", "u10", "none"]),
}
RANGES = st.fixed_dictionaries(
    {}, optional={name: st.integers(1998, 2026) for name in ("above", "least", "below", "most")}
).filter(bool)
CONDITIONS = {
    **{
        name: st.one_of(values, st.lists(values, min_size=1, max_size=3).map(lambda any_of: {"any": any_of}))
        for name, values in VALUES.items()
    },
    "year": st.one_of(VALUES["year"], RANGES),
}


def ids_of(found):
    return [answer["id"] for answer in found["answers"]]


def holds(metadata, where):
    """A filter by definition."""
    return all(_condition(metadata.get(field), condition) for field, condition in where.items())


def _condition(value, condition):
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not isinstance(condition, dict):
        return condition in values
    if "any" in condition:
        return any(one in values for one in condition["any"])
    tests = {
        "above": lambda one, bound: one > bound,
        "least": lambda one, bound: one >= bound,
        "below": lambda one, bound: one < bound,
        "most": lambda one, bound: one <= bound,
    }
    return any(all(tests[name](one, bound) for name, bound in condition.items()) for one in values)


def test_a_text_finds_what_its_vector_finds_and_what_the_index_finds(service, encoder):
    vector = encoder.encode_query([TEXT])[0]
    by_text = service.search(Search(text=TEXT, k=7))
    by_vector = service.search(Search(vector=vector.tolist(), k=7))
    hits = service.live.current.searcher.index.search(Reps.single(vector[None]), 7)
    assert by_text["answers"] == by_vector["answers"]
    assert ids_of(by_text) == [f"d{row}" for row in hits.ids[0]]
    assert [answer["score"] for answer in by_text["answers"]] == hits.scores[0].tolist()
    assert by_text["answers"][0]["metadata"] == dict(document(hits.ids[0, 0]).metadata)


def test_a_batch_gives_what_single_queries_give(service):
    texts = [TEXT, "thing5", "word1 part2"]
    found = service.search_batch(Batch(texts=texts, k=4))
    assert found["answers"] == [service.search(Search(text=text, k=4))["answers"] for text in texts]


def test_one_document_in_two_thousand_is_found_through_its_filter(service):
    assert ids_of(service.search(Search(text="nothing alike", k=10, where={"rare": True}))) == ["d1234"]


def test_a_filter_that_nothing_passes_gives_no_answers(service):
    assert ids_of(service.search(Search(text=TEXT, where={"language": "fr"}))) == []
    assert ids_of(service.search(Search(text=TEXT, where={"no such field": 1}))) == []


def test_a_filter_gives_as_many_answers_as_exist_also_where_the_lists_that_are_looked_at_hold_fewer(service):
    where = {"language": "en", "tags": {"any": ["t0"]}}
    passing = [row for row in range(SIZE) if holds(dict(document(row).metadata), where)]
    found = service.search(Search(text=TEXT, k=500, where=where, effort=0.1))
    assert sorted(ids_of(found)) == sorted(f"d{row}" for row in passing)


@given(st.fixed_dictionaries({}, optional=CONDITIONS))
def test_filters_leave_what_their_definition_leaves(service, where):
    expected = {f"d{row}" for row in range(SIZE) if holds(dict(document(row).metadata), where)}
    found = service.search(Search(text=TEXT, k=1000, where=where, effort=1.0, documents=False))
    assert set(ids_of(found)) <= expected
    assert len(found["answers"]) == min(1000, len(expected))


def test_bounds_of_numbers_leave_out_texts(service):
    assert ids_of(service.search(Search(text=TEXT, where={"language": {"least": 0}}))) == []
    for bounds in ({"least": 0, "below": "x"}, {}, {"least": None}, {"any": []}, {"any": [1], "least": 0}):
        with pytest.raises(ValidationError):
            Search(text=TEXT, where={"year": bounds})


def test_exact_answers_are_those_of_the_kept_vectors(service, vectors, encoder):
    kept = Flat(vectors.astype(np.float16).astype(np.float32))
    expected = kept.search(encoder.encode(["word9 thing77"], side="query"), 10)
    found = service.search(Search(text="word9 thing77", exact=True))
    assert ids_of(found) == [f"d{row}" for row in expected.ids[0]]
    np.testing.assert_allclose([one["score"] for one in found["answers"]], expected.scores[0], atol=1e-6)


def test_exact_answers_keep_to_the_filter(service):
    found = service.search(Search(text=TEXT, exact=True, where={"rare": True}))
    assert ids_of(found) == ["d1234"]


def test_refined_candidates_stand_in_exact_order_and_exact_search_is_refining_everything(service):
    refined = service.search(Search(text=TEXT, k=10, refine=50, effort=1.0))
    candidates = ids_of(service.search(Search(text=TEXT, k=50, effort=1.0)))
    exact = [
        one
        for one in service.search(Search(text=TEXT, k=1000, exact=True))["answers"]
        if one["id"] in candidates
    ]
    assert ids_of(refined) == [one["id"] for one in exact[:10]]
    everything = service.search(Search(text=TEXT, k=10, refine=1000, effort=1.0))
    assert ids_of(everything) == ids_of(service.search(Search(text=TEXT, exact=True)))


def test_a_second_look_without_time_still_answers_in_falling_order(service):
    found = service.search(Search(text=TEXT, k=100, refine=1000, refine_ms=1e-6))
    scores = [answer["score"] for answer in found["answers"]]
    assert len(scores) == 100
    assert scores == sorted(scores, reverse=True)


def test_parts_and_rest_add_up_to_the_decoded_score(service, encoder):
    ids = [f"d{row}" for row in range(0, SIZE, 97)]
    index = service.live.current.searcher.index
    codes = index.codes
    rows = np.arange(0, SIZE, 97)
    defined = index.quantiser.score(
        encoder.encode_query([TEXT]), Codes(codes.codes[rows], codes.lists[rows])
    )[0]
    found = service.explain(Explain(text=TEXT, ids=ids))["explanations"]
    np.testing.assert_allclose([one["decoded_score"] for one in found], defined, atol=1e-5)
    np.testing.assert_allclose([sum(one["parts"]) + one["rest"] for one in found], defined, atol=1e-5)
    assert [one["id"] for one in found] == ids


def test_ranks_are_places_in_exhaustive_and_in_exact_search(service):
    by_codes = ids_of(service.search(Search(text=TEXT, k=1000, effort=1.0)))
    by_vectors = ids_of(service.search(Search(text=TEXT, k=1000, exact=True)))
    asked = [by_codes[0], by_codes[9], by_vectors[0], by_vectors[500]]
    for one in service.explain(Explain(text=TEXT, ids=asked))["explanations"]:
        assert one["rank"] == (by_codes.index(one["id"]) + 1 if one["id"] in by_codes else None)
        assert one["exact_rank"] == (by_vectors.index(one["id"]) + 1 if one["id"] in by_vectors else None)


def test_lists_that_were_not_looked_at_are_named_and_hold_no_answer(service):
    found = service.search(Search(text=TEXT, k=1000, effort=0.25))
    whys = service.explain(Explain(text=TEXT, ids=ids_of(found)[:40], effort=0.25))["explanations"]
    assert all(one["probed"] and one["list_place"] <= 4 for one in whys)
    missing = [f"d{row}" for row in range(SIZE) if f"d{row}" not in set(ids_of(found))][:40]
    assert not any(
        one["probed"] for one in service.explain(Explain(text=TEXT, ids=missing, effort=0.25))["explanations"]
    )


def test_an_unknown_document_is_named(service):
    with pytest.raises(NotThere, match="'nobody'"):
        service.explain(Explain(text=TEXT, ids=["d1", "nobody"]))
    with pytest.raises(NotThere, match="'nobody'"):
        service.document("nobody")
    assert service.document("d5")["title"] == "title 5"


def test_vectors_of_another_width_are_refused(service):
    with pytest.raises(ShapeError, match="3 dimensions, but the index has 16"):
        service.search(Search(vector=[1.0, 2.0, 3.0]))


def test_what_an_index_lacks_is_said_with_what_to_do(service, tmp_path):
    with pytest.raises(ConfigError, match="limbeck hybrid"):
        service.search(Search(text=TEXT, mode="hybrid"))
    bare = Service(Live(write_index(tmp_path / "bare", kept=None)), None)
    with pytest.raises(ConfigError, match="--keep-vectors"):
        bare.search(Search(vector=[0.0] * 16, exact=True))
    with pytest.raises(ConfigError, match="give a vector"):
        bare.search(Search(text=TEXT))
    assert bare.about()["takes_text"] is False
    assert bare.about()["keeps_vectors"] is None


def test_fields_are_counted(service):
    fields = {field["name"]: field for field in service.about()["fields"]}
    assert fields["language"]["values"] == {"en": 667, "de": 667, "zh": 666}
    assert (fields["year"]["least"], fields["year"]["most"]) == (2000, 2024)
    assert fields["rare"]["documents"] == 1
