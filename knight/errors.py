"""What Knight raises: every failure that a user can mend is a `KnightError` with a one-line message.

A message says what is wrong, where (file, node, value, key, sample) and what to do about it. The
command line prints it as it is and exits with `exit_code`; a library user catches `KnightError`.
"""

from __future__ import annotations

from collections.abc import Iterable

_LONGEST = 200  # characters of a name in a message, its quotes with it
_COMPARED = 1000  # names that a misspelt one is compared with, which takes a tenth of a millisecond each


class KnightError(Exception):
    """Root of all errors that Knight raises on purpose.

    Its text is one line that any terminal can take: names and keys come out of strangers' files, and what of
    them is unprintable (line ends, escape sequences, halves of characters) is written as Python has it.
    """

    exit_code = 1

    def __str__(self) -> str:
        return visible(super().__str__())


class ConfigError(KnightError):
    """An option, a configuration key, a chip or a method that cannot be used as given."""

    exit_code = 2


class ModelError(KnightError):
    """A model file or graph that cannot be read, checked, converted or quantized."""


class NeedsTrust(ModelError):
    """A model file that runs code or does more than compute, of which the user has not said to trust it."""


class ScriptError(KnightError):
    """A user script that cannot be loaded, or a registered function that failed."""


class DataError(KnightError):
    """A sample that does not fit the model: wrong count, shape, type, or not finite."""


class OutputError(KnightError):
    """A result that cannot be written."""


class GateError(KnightError):
    """A threshold that the user set was not kept; what was asked for has been written all the same."""

    exit_code = 3


def did_you_mean(name: str, known: Iterable[str], *, list_all: bool = True) -> str:
    """End of an error message for an unknown `name`: near misses first, else all that is known.

    Of very many known names those of about its length are looked at, the ones that begin like it first.
    """
    import difflib

    names = sorted(known)
    lowered = {candidate.lower(): candidate for candidate in names}
    near = difflib.get_close_matches(name.lower(), _likeliest(name.lower(), lowered), n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(shown(lowered[match]) for match in near) + "?"
    if not names:
        return "none is known"
    names = [printable(candidate) for candidate in names]
    if list_all or len(names) <= 12:
        return "known: " + ", ".join(names)
    return f"known: {', '.join(names[:12])} and {len(names) - 12} more"


def _likeliest(name: str, known: Iterable[str]) -> list[str]:
    """Those of `known` that are worth a comparison letter by letter; none where `name` fills a line."""
    import heapq

    def apart(other: str) -> tuple[int, int]:
        differs = (place for place, pair in enumerate(zip(other, name, strict=False)) if pair[0] != pair[1])
        return abs(len(other) - len(name)), -next(differs, len(name))

    found = [other for other in known if len(other) <= _LONGEST] if len(name) <= _LONGEST else []
    return found if len(found) <= _COMPARED else heapq.nsmallest(_COMPARED, found, key=apart)


def shown(name: str) -> str:
    """A name in quotes for a message of one line: no longer than such a line, and nothing unprintable."""
    text = repr(name)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]}...{text[-1]}"


def printable(text: str) -> str:
    """`text` as it is, or where that would break a message of one line, as `shown` without the quotes."""
    return text if text.isprintable() and len(text) <= _LONGEST - 2 else shown(text)[1:-1]


def visible(text: str, keep: str = "") -> str:
    """`text` with all that a terminal obeys or cannot show written as escapes, but for what to `keep`.

    Names in strangers' files may move the cursor, change the title, or turn the line round.
    """
    if text.isprintable():
        return text
    import unicodedata

    def shown_as(char: str) -> str:
        plain = char.isprintable() or char in keep or unicodedata.category(char) == "Zs"
        return char if plain else char.encode("unicode_escape").decode("ascii")

    return "".join(map(shown_as, text))


def wrong_value(value: object, wanted: str = "") -> str:
    """End of an error message for a `value`, shown as JSON has it, that is not what is `wanted`."""
    import json

    text = json.dumps(value, default=str)
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return f"is {shown}; it has to be {wanted}" if wanted else f"is {shown}"
