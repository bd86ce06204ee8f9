"""Reads a page of the documentation as its reader does: follows links, runs commands, reads their output."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])

LANGUAGES = ("bash", "console", "json", "python", "text", "toml")
"""console: commands after ``$``, and what they print. bash: commands that take long, which no test runs."""

_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w./-]+\.(?:py|toml))\n")
_NUMBER = re.compile(r"-?\d+(\.\d+)?(?![\w.])")
ANY = math.inf
"""Stands for a number that is another one each time."""
_OTHER_CPU = ("On this CPU", "What helps")
"""How the lines begin that only CPUs without VNNI print."""


@dataclass(frozen=True)
class Block:
    """A piece of code. line: where it stands, for messages."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """One command, and the lines that it is said to print."""

    text: str
    printed: tuple[str, ...]


def blocks(page: Path) -> list[Block]:
    """All code of a page."""
    text = page.read_text("utf-8")
    return [
        Block(found[1], found[2], text[: found.start()].count("\n") + 1) for found in _FENCE.finditer(text)
    ]


def prose(page: Path) -> str:
    """The page without its code and its tables."""
    text = _FENCE.sub("", page.read_text("utf-8"))
    return "\n".join(line for line in text.splitlines() if not line.startswith(("|", "<!--")))


def commands(text: str) -> list[Command]:
    """The commands of a console block; a backslash goes on in the next line."""
    found: list[tuple[list[str], list[str]]] = []
    goes_on = False
    for line in text.splitlines():
        if goes_on:
            found[-1][0].append(line)
        elif line.startswith("$ "):
            found.append(([line[2:]], []))
        else:
            found[-1][1].append(line)
            continue
        goes_on = line.endswith("\\")
    return [Command("\n".join(typed), tuple(printed)) for typed, printed in found]


def differs(wanted: Sequence[str], got: Sequence[str]) -> str:
    """What the output lacks of the lines that are printed in a page; empty where it is as printed.

    ``...`` stands for any text, by itself for any lines. Whole numbers and words are the same; numbers with a
    point differ by at most 5 %, as they may between CPUs; seconds and megabytes are those of the day.
    """
    got = [line for line in got if not line.startswith(_OTHER_CPU)]
    furthest = 0

    @cache
    def fits(i: int, j: int) -> bool:
        nonlocal furthest
        furthest = max(furthest, i)
        if i == len(wanted):
            return j == len(got)
        if wanted[i].strip() == "...":
            return any(fits(i + 1, after) for after in range(j, len(got) + 1))
        return j < len(got) and _same(wanted[i], got[j]) and fits(i + 1, j + 1)

    if fits(0, 0):
        return ""
    lacking = wanted[furthest] if furthest < len(wanted) else "nothing more"
    return f"not as printed from {lacking!r} on; it says:\n" + "\n".join(got)


def _same(wanted: str, got: str) -> bool:
    words = wanted.split()
    numbers = [_decimal(words, place) for place in range(len(words))]
    patterns = [_pattern(word, number is not None) for word, number in zip(words, numbers, strict=True)]
    found = re.fullmatch(r"\s+".join(patterns), got.strip())
    if found is None:
        return False
    pairs = zip((number for number in numbers if number is not None), found.groups(), strict=True)
    return all(
        number == ANY or math.isclose(number, float(value), rel_tol=0.05, abs_tol=0.1)
        for number, value in pairs
    )


def _decimal(words: Sequence[str], place: int) -> float | None:
    """The number of a word that may differ; ANY where it is a measurement of time, speed or memory."""
    found = _NUMBER.match(words[place])
    if found is None:
        return None
    after = " ".join([*words, "", "", ""][place + 1 : place + 4])
    if re.match(r"(s|MB)\b|samples per second", after):
        return ANY
    return float(found[0]) if found[1] else None


def _pattern(word: str, number: bool) -> str:
    """What a word matches; a number that may differ is a group."""
    if re.fullmatch("[-+]{3,}", word):
        return "[-+]+"
    rest = word
    if number:
        rest = word[_NUMBER.match(word).end() :]  # type: ignore[union-attr]
    return r"(-?\d+(?:\.\d+)?)" * number + re.escape(rest).replace(r"\.\.\.", ".*")


@dataclass
class Folder:
    """A folder with the examples in it, in which the code of one page runs, from above to below."""

    path: Path
    names: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.path / "examples").symlink_to(ROOT / "examples")

    def run(self, block: Block) -> str:
        """What is wrong with a block; empty where it runs as printed."""
        if block.language == "console":
            return "\n".join(filter(None, map(self.type, commands(block.text))))
        file = _FILE.match(block.text)
        if file is not None:
            (self.path / file[1]).write_text(block.text, "utf-8")
        elif block.language == "python" and not is_excerpt(block.text):
            exec(compile(block.text, f"line {block.line}", "exec"), self.names)
        return ""

    def type(self, command: Command) -> str:
        """What is wrong with a command: its exit code, or what it prints."""
        done = self.call(command.text)
        allowed = 3 if any(line.startswith("FAIL ") for line in command.printed) else 0
        if done.returncode != allowed:
            return f"$ {command.text}\nexits with {done.returncode}: {done.stdout}{done.stderr}"
        wrong = differs(command.printed, done.stdout.splitlines()) if command.printed else ""
        return wrong and f"$ {command.text}\n{wrong}"

    def call(self, command: str) -> subprocess.CompletedProcess[str]:
        """Runs it in the folder with the tests' Python and knight, and none of the user's settings."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {
            "PATH": path,
            "XDG_CONFIG_HOME": str(self.path / "settings"),
            "COLUMNS": "200",
        }
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )


@cache
def _examples() -> str:
    return "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "examples").rglob("*.py")))


def is_excerpt(text: str) -> bool:
    """It stands in an example as printed, and is run there."""
    return text in _examples()


def sentences(page: Path) -> Iterator[str]:
    """The sentences of a page's prose, list items and headings apart."""
    for paragraph in re.split(r"\n\s*\n|\n(?=[-#] )", prose(page)):
        yield from re.split(r"(?<=[.!?:;])\s+", " ".join(paragraph.split()))


def links(page: Path) -> list[str]:
    """The addresses that a page links to."""
    return re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", page.read_text("utf-8")))


def anchors(page: Path) -> set[str]:
    """The places of a page that a link can name: its headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
