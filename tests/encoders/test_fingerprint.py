import json
from dataclasses import replace

import pytest

from limbeck.encoders import Fingerprint, check_pair
from limbeck.errors import CorruptArtefact, EncoderMismatch

ONE = Fingerprint(
    weights="53aa", dim=384, pooling="mean", prompts={"query": "q: "}, max_length=256, normalise=True
)
OTHER = {
    "weights": "99ff",
    "dim": 768,
    "pooling": "cls",
    "prompts": {"query": "query: "},
    "max_length": 128,
    "normalise": False,
    "similarity": "dot",
}


@pytest.mark.parametrize("field", OTHER)
def test_one_field_that_differs_is_refused_by_name_with_both_values(field):
    other = replace(ONE, **{field: OTHER[field]})
    with pytest.raises(EncoderMismatch) as refusal:
        check_pair(other, ONE)
    ours = dict(ONE.prompts) if field == "prompts" else getattr(ONE, field)
    for part in (f"`{field}`", repr(OTHER[field]), repr(ours)):
        assert part in str(refusal.value)


def test_every_field_is_either_compared_or_allowed_to_differ():
    assert set(OTHER) | {"precision"} == set(ONE.to_json())


def test_the_precision_may_differ():
    check_pair(ONE, replace(ONE, precision="bfloat16"))


def test_equal_fingerprints_agree():
    check_pair(ONE, replace(ONE))


def test_json_gives_the_same_fingerprint_back():
    again = Fingerprint.from_json(json.loads(json.dumps(ONE.to_json())))
    assert again == ONE
    assert again.digest == ONE.digest


@pytest.mark.parametrize("field", [*OTHER, "precision"])
def test_the_digest_depends_on_every_field(field):
    value = {**OTHER, "precision": "bfloat16"}[field]
    assert replace(ONE, **{field: value}).digest != ONE.digest


def test_the_digest_is_the_same_on_every_machine():
    fingerprint = Fingerprint(weights="ab", dim=2, pooling="mean")
    assert fingerprint.digest == ("c0609ecd8c35dd3cb7cf9886ee322b2f11bececb950d4f45b66c3148bae467f6")


def test_empty_prompts_and_the_order_of_prompts_do_not_count():
    assert replace(ONE, prompts={"doc": "", "query": "q: "}) == ONE
    one_way, other_way = {"query": "a", "doc": "b"}, {"doc": "b", "query": "a"}
    assert replace(ONE, prompts=one_way) == replace(ONE, prompts=other_way)


def test_a_fingerprint_cannot_be_changed():
    with pytest.raises(TypeError):
        ONE.prompts["doc"] = "d: "
    assert hash(ONE) == hash(replace(ONE))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dim": "384"}, "`dim` must be int"),
        ({"dim": True}, "`dim` must be int"),
        ({"normalise": 1}, "`normalise` must be bool"),
        ({"prompts": None}, "`prompts` must be dict"),
        ({"extra": 1}, "extra"),
    ],
)
def test_damaged_json_is_refused(change, said):
    with pytest.raises(CorruptArtefact, match=said):
        Fingerprint.from_json({**ONE.to_json(), **change})


def test_json_without_a_field_is_refused():
    values = ONE.to_json()
    del values["pooling"]
    with pytest.raises(CorruptArtefact, match="pooling"):
        Fingerprint.from_json(values)
