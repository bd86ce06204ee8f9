"""Files that users write: what is read, and the one line for what is not."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, strategies as st

from knight.errors import ConfigError
from knight.schema import Table, read, wants


class Inner(Table):
    switch: bool = False
    name: Literal["RGB", "Gray"] = "RGB"


class Outer(Table):
    place: str
    count: Annotated[int, msgspec.Meta(ge=1)] | None = None
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    means: tuple[float, ...] = ()
    words: tuple[str, ...] = ()
    inner: Inner = Inner()
    rows: tuple[Inner, ...] = ()
    named: dict[str, Inner] = msgspec.field(default_factory=dict)
    mode: Literal["one", "two"] | None = None
    either: Annotated[str | tuple[str, ...], wants("a file or a list of symbols")] = ""

    def __post_init__(self) -> None:
        if self.count == 13:
            raise ValueError("count is 13, which brings ill luck; give another")


def test_what_fits_is_read() -> None:
    values = {"place": "x", "count": 2, "inner": {"switch": True}, "rows": [{}], "named": {"a": {}}}
    found = read(values, Outer)
    assert (found.count, found.share, found.inner.switch, found.rows) == (2, 0.5, True, (Inner(),))
    assert found.named == {"a": Inner()}


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({}, "place is missing; it has to be a text"),
        ({"place": 3}, "place: is 3; it has to be a text"),
        ({"plaec": "x"}, "plaec: unknown key: did you mean 'place'?"),
        ({"place": "x", "switch": True}, "switch: unknown key: did you mean 'inner.switch'?"),
        ({"place": "x", "count": 0}, "count: is 0; it has to be a whole number of at least 1"),
        ({"place": "x", "count": "2"}, 'count: is "2"; it has to be a whole number of at least 1'),
        ({"place": "x", "count": True}, "count: is true; it has to be a whole number of at least 1"),
        ({"place": "x", "share": 2}, "share: is 2; it has to be a number from 0 to 1"),
        ({"place": "x", "share": float("nan")}, "share: is NaN; it has to be a number from 0 to 1"),
        ({"place": "x", "mode": "three"}, 'mode: is "three": known: one, two'),
        ({"place": "x", "means": 3}, "means: is 3; it has to be a list, each item a number"),
        ({"place": "x", "named": 3}, "named: is 3; it has to be an object of keys and values"),
        ({"place": "x", "means": [1, None]}, "means[1]: is null; it has to be a number"),
        ({"place": "x", "words": "a"}, 'words: is "a"; it has to be a list of texts such as ["a", "b"]'),
        ({"place": "x", "inner": 3}, "inner: is 3; it has to be an object of keys and values"),
        ({"place": "x", "inner": {"switch": 1}}, "inner.switch: is 1; it has to be true or false"),
        ({"place": "x", "inner": {"name": "rbg"}}, "inner.name: is \"rbg\": did you mean 'RGB'?"),
        ({"place": "x", "rows": [{}, {"swich": 1}]}, "rows[1].swich: unknown key: did you mean 'switch'?"),
        ({"place": "x", "named": {"a b": {"name": 1}}}, "named.a b.name: is 1: known: Gray, RGB"),
        ({"place": "x", "either": 3}, "either: is 3; it has to be a file or a list of symbols"),
        ({"place": "x", "count": 13}, "count is 13, which brings ill luck; give another"),
        ("x", 'it: is "x"; it has to be an object of keys and values'),
        ("\ud800", 'it: is "\\ud800"; it has to be an object of keys and values'),
        ({"place": "x", "pla\nce": 1}, r"pla\nce: unknown key: did you mean 'place'?"),
        (
            {"place": "x", "named": {"\ud800": 3}},
            r"named.\ud800: is 3; it has to be an object of keys and values",
        ),
        (
            {"place": "x", "named": {"k" * 999: 3}},
            f"named.{'k' * 195}...: is 3; it has to be an object of keys and values",
        ),
        (
            {"place": ["long"] * 50},
            f"place: is {str(['long'] * 50)[:57].replace(chr(39), chr(34))}...; it has to be a text",
        ),
    ],
)
def test_what_does_not_fit_is_named(values: Any, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(values, Outer, before="file f: ", path="it")
    beginning = "file f: " if line.startswith("it") else "file f: it."
    assert str(caught.value) == beginning + line


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"count": "2"}, Outer(place="x", count=2)),
        ({"count": 2.0}, Outer(place="x", count=2)),
        ({"share": " 5e-1 "}, Outer(place="x", share=0.5)),
        ({"means": "1, 2.5 3"}, Outer(place="x", means=(1, 2.5, 3))),
        ({"means": 4}, Outer(place="x", means=(4,))),
        ({"means": [1, "2"]}, Outer(place="x", means=(1, 2))),
        ({"words": "a b"}, Outer(place="x", words=("a b",))),
        (
            {"inner": {"switch": "True", "name": "gray"}},
            Outer(place="x", inner=Inner(switch=True, name="Gray")),
        ),
        ({"named": {"a": {"switch": "false"}}}, Outer(place="x", named={"a": Inner()})),
    ],
)
def test_lenient_takes_other_ways_to_write_it(values: dict[str, Any], found: Outer) -> None:
    with pytest.raises(ConfigError):
        read({"place": "x", **values}, Outer)
    assert read({"place": "x", **values}, Outer, lenient=True) == found


@pytest.mark.parametrize("values", [{"count": "2.5"}, {"share": "many"}, {"means": "1 a"}, {"means": True}])
def test_lenient_takes_nothing_else(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="; it has to be a"):
        read({"place": "x", **values}, Outer, lenient=True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(Outer.__struct_fields__)


@given(values=JSON | st.dictionaries(KEYS, JSON, max_size=4), lenient=st.booleans())
def test_anything_is_read_or_named(values: Any, lenient: bool) -> None:
    try:
        assert isinstance(read(values, Outer, before="file f: ", lenient=lenient), Outer)
    except ConfigError as error:
        assert str(error).startswith("file f: ")
