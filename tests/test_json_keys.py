"""JSON whose objects have each key once."""

from __future__ import annotations

import json

import pytest

from knight.errors import ConfigError
from knight.json_keys import each_once


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
