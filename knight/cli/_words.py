"""Words of a command line as guides print them and people copy them: taken where they are sure, else refused
with the word that was meant.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from knight.errors import ConfigError

TOOL = "onnx"
"""The word behind ``quant`` that names the vendor's tool, and no framework."""

_NUMBER = re.compile(r"-\.?\d")
_LETTERS = re.compile(r"-[A-Za-z][A-Za-z-]+")


def is_flag(word: str) -> bool:
    """Whether a word is an option, and no value such as a negative number."""
    return word.startswith("-") and word != "-" and not _NUMBER.match(word)


def check_dashes(words: Sequence[str], known: Collection[str], prefixes: Sequence[str] = ()) -> None:
    """Raises ConfigError for a word that typesetting gave a dash, or a minus sign, where options and negative
    numbers have hyphens.

    known: the options there are. prefixes: also the beginnings of some. Other words, such as the name of a
    file that begins with a dash, are left alone.
    """
    for word in _before_separator(words):
        body = word.lstrip(_dashes(word))
        dashes = word[: len(word) - len(body)]
        if not body or dashes.isascii():
            continue
        name, equals, value = body.partition("=")
        options = [f"{hyphens}{name}" for hyphens in ("--", "-")]
        meant = [option for option in options if option in known or option.startswith(tuple(prefixes))]
        meant = meant or [f"-{name}"] * bool(_NUMBER.match(f"-{name}"))
        if meant:
            right = f"{meant[0]}{equals}{value}"
            raise ConfigError(
                f"{word!r} begins with {_called(dashes)}, where hyphens are meant: write {right}"
            )


def _dashes(word: str) -> str:
    """The characters of the word that look like a hyphen."""
    if word.isascii():
        return "-"
    import unicodedata

    return "".join({sign for sign in word if unicodedata.category(sign) == "Pd" or sign == "\N{MINUS SIGN}"})


def _called(dashes: str) -> str:
    import unicodedata

    name = unicodedata.name(next(sign for sign in dashes if not sign.isascii())).lower()
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def check_single_hyphens(words: Sequence[str], known: Collection[str]) -> None:
    """Raises ConfigError for a word such as ``-mean``, which would be read as ``-m ean``."""
    for word in _before_separator(words):
        name = word.partition("=")[0]
        if name in known or not _LETTERS.fullmatch(name) or name[:2] not in known:
            continue
        if f"-{name}" in known:
            raise ConfigError(f"unknown option {name!r}: did you mean '-{name}'?")
        import difflib

        if near := difflib.get_close_matches(name, known, n=3, cutoff=0.75):
            raise ConfigError(f"unknown option {name!r}: did you mean {' or '.join(map(repr, near))}?")


def check_values(words: Sequence[str], options: Mapping[str, bool]) -> None:
    """Raises ConfigError for an option whose value is missing, which would take the next option for it, and
    for a value behind an option that takes none.

    options: the options there are -> whether they take a value.
    """
    before = _before_separator(words)
    for word, behind in zip(before, [*before, None][1:], strict=True):
        takes = options.get(word)
        if takes and (behind is None or behind.partition("=")[0] in options):
            there = "nothing" if behind is None else f"the option {behind}"
            raise ConfigError(f"{word} wants a value, and {there} stands behind it; write {word} VALUE")
        if takes is False and behind is not None and not is_flag(behind):
            raise ConfigError(f"{word} takes no value, it is on where it is given; leave {behind!r} out")


def unknown_options(words: Sequence[str], known: Collection[str]) -> list[str]:
    """The options among the words that are not known, and do not begin with one letter that is (``-i5``)."""
    names = [word.partition("=")[0] for word in _before_separator(words) if is_flag(word)]
    return [name for name in names if name not in known and name[:2] not in known]


def without_equals(words: Sequence[str], known: Collection[str]) -> list[str]:
    """``-m net.onnx`` for ``-m=net.onnx``: click takes ``=net.onnx`` for the value, unlike in ``-qm=kl``."""
    done = list(_before_separator(words))
    behind = words[len(done) :]
    parts = [word.split("=", 1) if word[2:3] == "=" and word[:2] in known else [word] for word in done]
    return [word for part in parts for word in part] + list(behind)


def framework_word(words: Sequence[str], frameworks: Collection[str]) -> tuple[list[str], str | None]:
    """The words without a leading name of a framework, as guides print it, or with ``-f NAME`` for it.

    The second is what is to be told of it, if there is one. In ``quant onnx`` the word names the vendor's
    tool, which quantizes ONNX models; what -f says beside it counts. Raises ConfigError where -f and another
    name contradict each other.
    """
    if not words or words[0] not in frameworks:
        return list(words), None
    name, *rest = words
    if name == TOOL:
        return (
            rest,
            f"the word {name} is passed over; -f says what the model is ({name} where it is not given)",
        )
    for number, word in enumerate(rest):
        flag, equals, value = word.partition("=")
        if flag in ("-f", "--framework"):
            other = value if equals else next(iter(rest[number + 1 :]), "")
            if other != name:
                raise ConfigError(f"{name!r} and {flag} {other} contradict each other; give one of them")
    return ["-f", name, *rest], f"the word {name} is taken as -f {name}"


def _before_separator(words: Sequence[str]) -> Sequence[str]:
    return words[: words.index("--")] if "--" in words else words
