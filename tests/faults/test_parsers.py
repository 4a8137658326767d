"""Whatever bytes a file holds, its parser reads them or says what is wrong: no other exception comes out.

`fuzz_parsers.py` does the same for longer, following the branches that bytes take.
"""

import random
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limbeck.errors import LimbeckError

sys.path.insert(0, str(Path(__file__).parent))
from mutations import damaged, hostile  # beside this file, as the one below
from parsers import PARSERS, example, parse, prepared

FRAGMENTS = [
    *(
        b"\n",
        b"\r\n",
        b"\t",
        b" ",
        b"\xef\xbb\xbf",
        b"\xff",
        b"\xed\xa0\x80",
        b"\0",
        b"\x1f\x8b\x08",
        b"\xe2\x80\xa8",
    ),
    *(
        b'{"_id": "',
        b'"}',
        b'", "text": "',
        b'"metadata": ',
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b'"',
        b"\\u0000",
    ),
    *(
        b"\\ud800",
        b"NaN",
        b"Infinity",
        b"1e999",
        b"-0",
        b"9" * 5000,
        b"1_0",
        b"\xd9\xa3",
        b"null",
        b"true",
        b"Q0",
    ),
    *(
        b"[" * 950,
        b"]" * 950,
        b'{"a":' * 990,
        b"}" * 990,
        b"[" * 100_000,
        b"score",
        b"d1",
        b"q1",
        b"1",
        b"-2.0",
    ),
]
BYTES = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=12), max_size=14).map(b"".join)


def is_read_or_refused(folder, name, data):
    with suppress(LimbeckError):
        parse(folder, name, data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("parsers"))


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=BYTES, place=st.floats(0, 1), lines=st.booleans())
def test_any_bytes_are_read_or_refused(folder, name, data, place, lines):
    whole = example(name)
    cut = int(place * len(whole))
    is_read_or_refused(folder, name, whole[:cut] + data + whole[cut:] if lines else data)


@pytest.mark.parametrize("name", PARSERS)
def test_mutated_files_are_read_or_refused(folder, name):
    rng = random.Random(name)
    for number in range(60):
        mutate = hostile if name.endswith(".json") and number % 2 else damaged
        is_read_or_refused(folder, name, mutate(name, example(name), rng)[1])


DEEP = [b"[" * 990 + b"1" + b"]" * 990, b'{"a":' * 970 + b'"\\u00e9"' + b"}" * 970]


@pytest.mark.parametrize("deep", DEEP)
@pytest.mark.parametrize(
    "line",
    [b"%b", b'{"_id": %b, "text": ""}', b'{"_id": "d", "text": %b}', b'{"_id": "d", "text": "", "m": %b}'],
)
def test_brackets_as_deep_as_python_just_parses_are_refused(folder, line, deep):
    with pytest.raises(LimbeckError):
        parse(folder, "corpus.jsonl", line % deep)
