"""The component inside Haystack: its documents are the index's own, by every way of asking."""

import asyncio

import pytest

pytest.importorskip("haystack", reason="needs limbeck[haystack]; `make test-integrations` installs it")

from haystack import Pipeline
from haystack.components.joiners import DocumentJoiner

from limbeck.errors import ConfigError, CorruptArtefact
from limbeck.integrations.haystack import LimbeckRetriever


def listed(found):
    return [(document.id, document.score) for document in found["documents"]]


def test_documents_come_with_id_score_text_and_metadata(folder, searcher, queries, wanted):
    retriever = LimbeckRetriever(str(folder))
    for query in queries:
        found = retriever.run(query)
        assert listed(found) == wanted(query)
        scores = [score for _, score in listed(found)]
        assert scores == sorted(scores, reverse=True)
    stored = {document.id: document for document in searcher.documents.all()}
    for document in found["documents"]:
        assert document.content == stored[document.id].text
        assert document.meta["module"] == document.id.split(".")[0]
        assert document.meta["title"] == stored[document.id].title


def test_options_of_one_call_stand_before_those_of_the_component(searcher, queries, wanted):
    retriever = LimbeckRetriever(searcher, top_k=3, effort=1.0)
    assert listed(retriever.run(queries[0])) == wanted(queries[0], 3, effort=1.0)
    assert listed(retriever.run(queries[0], top_k=7)) == wanted(queries[0], 7, effort=1.0)


def condition(field, operator, value):
    return {"field": f"meta.{field}", "operator": operator, "value": value}


def test_filters_of_haystack_are_exact(searcher, queries, first_lines):
    retriever = LimbeckRetriever(searcher, top_k=5, effort=1.0, filters=condition("lines", "<=", 6))
    for query in queries[:10]:
        assert [identifier for identifier, _ in listed(retriever.run(query))] == first_lines(query, 5, 6)


@pytest.mark.parametrize(
    ("filters", "holds"),
    [
        (condition("module", "==", "ast"), lambda module, lines: module == "ast"),
        (condition("module", "!=", "ast"), lambda module, lines: module != "ast"),
        (condition("module", "in", ["ast", "os"]), lambda module, lines: module in ("ast", "os")),
        (
            {
                "operator": "AND",
                "conditions": [condition("module", "not in", ["ast"]), condition("lines", ">", 20)],
            },
            lambda module, lines: module != "ast" and lines > 20,
        ),
        (
            {"operator": "NOT", "conditions": [condition("lines", ">", 5), condition("module", "==", "ast")]},
            lambda module, lines: not (lines > 5 and module == "ast"),
        ),
        (condition("nothing", "==", None), lambda module, lines: True),
        (condition("nothing", ">", 3), lambda module, lines: False),
    ],
    ids=str,
)
def test_as_many_documents_come_as_pass_a_filter(searcher, queries, filters, holds):
    retriever = LimbeckRetriever(searcher, top_k=len(searcher), effort=1.0)
    metadata = [(document.id, document.metadata) for document in searcher.documents.all()]
    expected = {identifier for identifier, found in metadata if holds(found["module"], found["lines"])}
    for _ in range(2):  # the second time from memory
        assert {
            identifier for identifier, _ in listed(retriever.run(queries[0], filters=filters))
        } == expected


def test_it_stands_in_a_pipeline_that_was_written_and_read(folder, queries, wanted):
    pipeline = Pipeline()
    pipeline.add_component("retriever", LimbeckRetriever(str(folder), top_k=4))
    pipeline.add_component("joiner", DocumentJoiner())
    pipeline.connect("retriever.documents", "joiner.documents")
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=["limbeck.integrations.haystack"])
    for runs in (pipeline, again):
        assert listed(runs.run({"retriever": {"query": queries[3]}})["joiner"]) == wanted(queries[3], 4)


def test_asked_without_waiting_it_gives_the_same(folder, queries):
    retriever = LimbeckRetriever(str(folder), top_k=4)

    async def ask():
        return await asyncio.gather(*(retriever.run_async(query) for query in queries[:8]))

    assert list(map(listed, asyncio.run(ask()))) == [listed(retriever.run(query)) for query in queries[:8]]


def test_what_cannot_be_opened_asked_or_written_is_told(folder, searcher, queries, tmp_path):
    with pytest.raises(CorruptArtefact):
        LimbeckRetriever(str(tmp_path)).warm_up()
    with pytest.raises(ConfigError, match="limbeck hybrid"):
        LimbeckRetriever(str(folder), mode="hybrid").run(queries[0])
    with pytest.raises(ConfigError, match="give the index's folder"):
        LimbeckRetriever(searcher).to_dict()
