"""Error kinds, exit codes, and the near misses of messages."""

from __future__ import annotations

import pytest

from knight import errors
from knight.errors import did_you_mean, visible, wrong_value


@pytest.mark.parametrize("kind", ["ConfigError", "ModelError", "ScriptError", "DataError", "OutputError"])
def test_every_kind_is_a_knight_error(kind: str) -> None:
    assert issubclass(getattr(errors, kind), errors.KnightError)


def test_exit_codes() -> None:
    assert errors.ConfigError.exit_code == 2  # as for a wrong option
    assert errors.ModelError.exit_code == errors.DataError.exit_code == 1


@pytest.mark.parametrize(
    ("name", "known", "words"),
    [
        ("minmax", ["min_max", "kl"], "did you mean 'min_max'?"),
        ("KL", ["kl", "mse"], "did you mean 'kl'?"),
        ("tensorrt", ["TensorRT"], "did you mean 'TensorRT'?"),
        ("zzz", ["mse", "kl"], "known: kl, mse"),
        ("zzz", [], "none is known"),
    ],
)
def test_near_misses_come_first(name: str, known: list[str], words: str) -> None:
    assert did_you_mean(name, known) == words


def test_two_near_misses_are_both_named() -> None:
    assert did_you_mean("kl_v3", ["kl_v2", "kl_v4", "mse"]).count(" or ") == 1


def test_a_long_list_is_cut_short_on_request() -> None:
    known = [f"value_{index:02}" for index in range(20)]
    assert did_you_mean("#", known, list_all=False).endswith("value_11 and 8 more")
    assert did_you_mean("#", known).endswith("value_19")
    assert did_you_mean("#", known[:12], list_all=False).endswith("value_11")


def test_of_very_many_names_few_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    import difflib

    compared, compare = [], difflib.get_close_matches

    def counted(name: str, names: list[str], **settings: float) -> list[str]:
        compared.append(len(names))
        return compare(name, names, **settings)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    known = [f"layer_{number}" for number in range(50_000)] + ["x" * 10**6, "block.conv.weight"]
    assert did_you_mean("block.cnov.weight", known, list_all=False) == "did you mean 'block.conv.weight'?"
    assert did_you_mean("y" * 10**6, known, list_all=False).startswith("known: block.conv.weight, layer_0, ")
    assert len(compared) == 2 and max(compared) <= 1000


def test_a_wrong_value_is_shown_as_json_has_it_in_one_short_line() -> None:
    assert wrong_value(None, "a text") == "is null; it has to be a text"
    assert wrong_value('a "b"\n', "a number") == 'is "a \\"b\\"\\n"; it has to be a number'
    assert wrong_value(float("nan")) == "is NaN"
    assert wrong_value(list(range(99)), "a text").endswith("...; it has to be a text")
    assert len(wrong_value("x" * 999)) == len("is ") + 60


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("layer 'a\nb': bad", r"layer 'a\nb': bad"),
        ("\x1b[31mred\r", r"\x1b[31mred\r"),
        (
            "half \ud800 of one, \u2028 a line, \u202e turned",
            r"half \ud800 of one, \u2028 a line, \u202e turned",
        ),
        ("r\u00e9seau \u7f51\u7edc: caf\u00e9", "r\u00e9seau \u7f51\u7edc: caf\u00e9"),
        (r"a\nb", r"a\nb"),
        ("", ""),
    ],
)
def test_the_text_of_an_error_is_one_line_that_any_terminal_takes(text: str, shown: str) -> None:
    """Names come out of files; that of an error made of another's text stays as it is."""
    for kind in (errors.KnightError, errors.ModelError, errors.ConfigError):
        assert str(kind(text)) == shown == str(kind(str(kind(text))))
        assert f"{kind(text)}".encode().decode() == shown


@pytest.mark.parametrize("code", [*range(32), *range(127, 160), 0x200B, 0x2028, 0x202E, 0xD800, 0xFEFF])
def test_what_a_terminal_obeys_is_made_visible(code: int) -> None:
    text = visible(f"a{chr(code)}b")
    assert text.isprintable() and text[:2] == "a\\" and text[-1] == "b"
    assert visible(f"a{chr(code)}b", keep=chr(code)) == f"a{chr(code)}b"


@pytest.mark.parametrize("text", ["layer/1:0", "\u5c42\u3000\u00a0", "\U0001f600", "back\\slash 'quote'"])
def test_what_is_only_unusual_stays(text: str) -> None:
    assert visible(text) == text
