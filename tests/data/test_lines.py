import gzip
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.data import numbered_lines
from limbeck.data.lines import parsed_json, placed_lines
from limbeck.errors import DataError


def test_lines_end_at_line_feeds_alone(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("one\u2028still one\u0085and\x0b\n\r\ntwo\r\n\nlast".encode())
    assert [line for line, _ in numbered_lines(path)] == [1, 2, 3, 4, 5]
    assert next(numbered_lines(path))[1].decode() == "one\u2028still one\u0085and\x0b"
    assert list(numbered_lines(path))[2:] == [(3, b"two"), (4, b""), (5, b"last")]


@given(st.binary(max_size=200), st.booleans())
def test_offsets_point_at_the_lines(tmp_path_factory, content, zipped):
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    if content[:2] == b"\x1f\x8b":
        return
    path.write_bytes(gzip.compress(content) if zipped else content)
    for _, offset, raw in placed_lines(path):
        assert content[offset : offset + len(raw)] == raw


@pytest.mark.parametrize("cut", [3, 12, -4])
def test_a_truncated_gzip_file_is_refused_with_its_name(tmp_path, cut):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"_id": "a"}\n' * 1000)[:cut])
    with pytest.raises(DataError, match=r"a\.jsonl\.gz:\d+: expected a complete gzip file"):
        list(numbered_lines(path))


def test_a_file_called_gz_that_is_not_gzip_is_refused(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(b"plain\n")
    with pytest.raises(DataError, match="expected a complete gzip file"):
        list(numbered_lines(path))


def test_gzip_is_read_under_any_name(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(gzip.compress(b"hello\n"))
    assert list(numbered_lines(path)) == [(1, b"hello")]


def test_a_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"nothing.txt: expected a readable file, found: No such file"):
        list(numbered_lines(tmp_path / "nothing.txt"))


BAD_JSON = {
    "not UTF-8": (b'{"a": "\xff"}', "expected UTF-8, found byte 0xff at byte 7"),
    "NUL": (b'{"a": "\x00"}', "found a NUL byte at byte 7"),
    "escaped NUL": (b'{"a": "\\u0000"}', "found a NUL written as"),
    "half surrogate": (b'{"a": ["\\ud800"]}', "half a surrogate pair, .ud800"),
    "half surrogate in a key": (b'{"\\uDC00": 1}', "half a surrogate pair"),
    "not JSON": (b"hello", "expected a JSON record, found 'hello'"),
    "truncated": (b'{"a": "b', "expected a JSON record"),
    "key twice": (b'{"a": 1, "a": 2}', "found the key 'a' twice"),
    "NaN": (b'{"a": NaN}', "found NaN, which JSON does not have"),
    "infinity": (b'{"a": -Infinity}', "found -Infinity"),
    "too large": (b'{"a": 1e999}', "found the number 1e999, which is too large"),
    "too deep": (b"[" * 100_000, "brackets nested too deep"),
    "too many digits": (b"9" * 5_000, "expected a JSON record, found"),
    "control character": (b'{"a": "\x01"}', "expected a JSON record"),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json_is_refused_with_place_and_reason(name):
    raw, reason = BAD_JSON[name]
    with pytest.raises(DataError, match=rf"^corpus.jsonl:7: .*{reason}"):
        parsed_json(raw, where="corpus.jsonl:7")


def test_whole_surrogate_pairs_are_text():
    assert parsed_json(b'"\\ud83d\\ude00"', where="a:1") == "\U0001f600"


@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_random_bytes_give_a_value_or_a_data_error(raw):
    with suppress(DataError):
        value = parsed_json(raw, where="a:1")
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_every_json_value_comes_back(value, escaped):
    assert parsed_json(json.dumps(value, ensure_ascii=escaped).encode(), where="a:1") == value
