"""What comes from outside is read within bounds, or refused by one error."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidecam import parsing
from slidecam.parsing import DEEPEST, ParseError, whole_number

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text() | st.floats(-1e300, 1e300),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(PLAIN)
def test_json_is_what_python_reads(value: object) -> None:
    text = json.dumps(value)
    assert parsing.json_of(text) == parsing.json_of(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Expecting value"),
        ('{"a": }', "Expecting value"),
        ("[" * 200_000, "deep"),
        ('{"a":' * 200_000, "deep"),
        ("9" * 5000, "too large"),
        ("-18446744073709551616", "too large"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_json_that_is_none_is_refused_by_one_error(text: str | bytes, said: str) -> None:
    with pytest.raises(ParseError, match=said):
        parsing.json_of(text)


def test_depth_is_counted_and_brackets_in_strings_are_not() -> None:
    deepest = "[" * DEEPEST + "]" * DEEPEST
    assert parsing.json_of(deepest) == json.loads(deepest)
    mixed = '[{"a":' * (DEEPEST // 2) + "1" + "}]" * (DEEPEST // 2)
    assert parsing.json_of(mixed) == json.loads(mixed)
    with pytest.raises(ParseError, match="deep"):
        parsing.json_of(f"[{deepest}]")
    with pytest.raises(ParseError, match="deep"):
        parsing.json_of(f"[{mixed}]")
    odd = json.dumps({"name": "[" * 500, "other": 'a quote " and {{{'})
    assert parsing.json_of(odd) == json.loads(odd)


def test_a_mark_at_the_beginning_is_no_value(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf{}")
    assert parsing.json_in(tmp_path / "a.json") == {}
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfa = 1")
    assert parsing.toml_in(tmp_path / "a.toml") == {"a": 1}


@pytest.mark.parametrize("text", ["a = [" + "[" * 20_000, "a = ", "a = 1\na = 2", "d = 0000-00-00"])
def test_toml_that_is_none_is_refused_by_one_error(text: str) -> None:
    with pytest.raises(ParseError):
        parsing.toml_of(text)


def test_rows_have_a_cell_for_each_column(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text('\ufeffpath,label\n"a, b",1\n\nc\nd,2\n', encoding="utf-8")
    columns, rows = parsing.rows_in(table)
    assert columns == ["path", "label"]
    cells = [("a, b", "1"), ("c", ""), ("d", "2")]
    assert [(row["path"], row["label"]) for row in rows] == cells
    table.write_bytes(b"")
    assert parsing.rows_in(table) == ([], [])
    for broken in (b"a,b\n\xff,1", b"a\n" + b"x" * 200_000, b"a,b\n1,2,3"):
        table.write_bytes(broken)
        with pytest.raises(ParseError):
            parsing.rows_in(table)


def test_a_file_of_more_than_is_allowed_is_not_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(2 << 20))
    assert len(parsing.bytes_in(tmp_path / "a", 2 << 20)) == 2 << 20
    with pytest.raises(ParseError, match="more than 1 MB"):
        parsing.bytes_in(tmp_path / "a", 1 << 20)


def test_what_is_packed_is_unpacked_up_to_a_bound() -> None:
    content = b"some text " * 1000
    packed = gzip.compress(content)
    assert parsing.unpacked(packed) == content
    assert parsing.unpacked(packed + packed + bytes(10)) == content * 2
    assert parsing.unpacked(packed, len(content)) == content
    with pytest.raises(ParseError, match="unpacks to more"):
        parsing.unpacked(packed, len(content) - 1)
    with pytest.raises(ParseError, match="unpacks to more than 1 MB"):
        parsing.unpacked(gzip.compress(bytes(50 << 20)), 1 << 20)
    with pytest.raises(ParseError, match="cut off"):
        parsing.unpacked(packed[:-10])
    for damaged in (packed[:20] + b"\xff" * 20 + packed[40:], packed + b"no gzip", b"none at all"):
        with pytest.raises(ParseError):
            parsing.unpacked(damaged)


def test_xml_expands_and_fetches_nothing(tmp_path: Path) -> None:
    assert parsing.xml_of('<a b="1"/>').get("b") == "1"
    layers = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f'<!DOCTYPE a [<!ENTITY l0 "{"x" * 100}">{layers}]><a>&l11;</a>'
    (tmp_path / "secret").write_text("secret")
    place = (tmp_path / "secret").as_uri()
    fetched = f'<!DOCTYPE a [<!ENTITY b SYSTEM "{place}">]><a>&b;</a>'
    for text in (bomb, fetched, "<a>", "", '<?xml version="1.0" encoding="none"?><a/>'):
        with pytest.raises(ParseError):
            parsing.xml_of(text)


def test_cells_have_the_number_of_their_line() -> None:
    found = list(parsing.cells_of(["a;b\n", '"c\n', 'd";e\n'], ";"))
    assert found == [(1, ["a", "b"]), (3, ["c\nd", "e"])]
    with pytest.raises(ParseError, match="field larger"):
        list(parsing.cells_of(["x" * 200_000]))


@pytest.mark.parametrize("text", ["", "²", "٣", "-1", "1.5", "9" * 5000, "18446744073709551616"])
def test_what_is_no_number_in_plain_digits_or_too_large_is_none(text: str) -> None:
    assert whole_number(text) is None


@given(st.integers(0, 2**64 - 1))
def test_a_number_is_read_back(number: int) -> None:
    assert whole_number(str(number)) == number
