"""JSON whose objects have each key once."""

from __future__ import annotations

import json

import pytest

from knight.errors import ConfigError, DataError
from knight.json_keys import DEEPEST, each_once, parsed


def test_an_object_is_what_json_reads() -> None:
    text = '{"a": 1, "b": {"a": [2, {"a": null}]}}'
    assert json.loads(text, object_pairs_hook=each_once("")) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "key"),
    [('{"a": 1, "a": 1}', "a"), ('[{"b": {"c": 1, "d": 2, "c": 3}}]', "c"), ('{"": 1, "": 2}', "")],
)
def test_a_key_that_is_there_twice_is_named(text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        json.loads(text, object_pairs_hook=each_once("file: "))
    assert str(caught.value) == f"file: {key}: the same key is there twice; keep one"


@pytest.mark.parametrize("end", [1, 10**4])
@pytest.mark.parametrize("begin", ["[", '{"a":'])
def test_nesting_is_read_to_a_depth(begin: str, end: int) -> None:
    closing = "]" if begin == "[" else "}"
    assert parsed(begin * DEEPEST + "1" + closing * DEEPEST, "") is not None
    with pytest.raises(ConfigError, match=r"^file: is nested too deep; mend it$"):
        parsed(begin * (DEEPEST + end) + "1" + closing * (DEEPEST + end), "file: ", after="; mend it")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": [1, NaN]}', "a[1]: is NaN"),
        ('{"a": [1, -Infinity]}', "a[1]: is -Infinity"),
        ('{"a": {"b": 1e999}}', "a.b: is Infinity"),
        ('{"a": -1E+999}', "a: is -Infinity"),
        ('{"a": ' + "9" * 6000 + "}", "a: is Infinity"),
        ("[" + "9" * 310 + ".5]", "[0]: is Infinity"),
        ("-" + "9" * 400, "is -Infinity"),
        ('["\\ud800"]', r"[0]: '\ud800' is no valid Unicode"),
        ('{"a": {"\\uDFFF": 1}}', r"a: the key '\udfff' is no valid Unicode"),
    ],
)
def test_what_is_no_number_and_no_text_is_named_by_its_keys(text: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        parsed(text, "file: ", DataError)
    assert str(caught.value).startswith(f"file: {said}")


@pytest.mark.parametrize(
    "text", ['"NaN 1e999"', '"\\ud83d\\ude00"', "1e99", "9" * 300, '{"Infinity": 1e-999}']
)
def test_what_only_looks_like_it_is_read(text: str) -> None:
    assert parsed(text.encode(), "") == json.loads(text)


def test_a_byte_order_mark_is_passed_over_and_other_encodings_are_refused() -> None:
    assert parsed('{"é": 1}'.encode("utf-8-sig"), "") == {"é": 1}
    for code, line in (("utf-16", 1), ("latin-1", 2)):
        with pytest.raises(ConfigError, match=f"^file: line {line}: no UTF-8 text; save the file as UTF-8$"):
            parsed('{\n"é": 1}'.encode(code), "file: ")


def test_another_kind_of_error_is_raised_for_a_key_that_is_there_twice() -> None:
    with pytest.raises(DataError, match=r"^file: a: the same key is there twice"):
        parsed('{"a": 1, "a": 2}', "file: ", DataError)
