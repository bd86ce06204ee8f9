"""The documentation: what it links to is there, what it prints runs, and no option is forgotten."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import click
import pytest

import knight
from knight.cli import commands
from tests.pages import (
    DOCS,
    LANGUAGES,
    PAGES,
    ROOT,
    Folder,
    anchors,
    blocks,
    commands as typed,
    differs,
    is_excerpt,
    links,
    sentences,
)

RUNNABLE = ("console", "python", "toml")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


WITH_CODE = [
    page
    for page in PAGES
    if any(block.language in RUNNABLE for block in blocks(page)) and page.stem != "extending"
]
"""test_extending.py installs and runs what stands on the page of that name."""


def test_generated_parts_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", commands.names())
def test_every_option_is_on_the_page_of_its_command(name: str) -> None:
    text = (DOCS / "commands" / f"{name}.md").read_text("utf-8")
    options = [option for option in commands.get(name).params if isinstance(option, click.Option)]
    spellings = {spelling for option in options for spelling in (*option.opts, *option.secondary_opts)}
    named = set(
        re.findall(r"(?<![\w-])--?[a-z][\w-]*", "\n".join(re.findall("^\\| `(.*?)` \\|", text, re.M)))
    )
    assert named - {"-h", "--help"} == spellings
    assert f"({name}.md)" in (DOCS / "commands" / "README.md").read_text("utf-8")


def test_every_public_name_is_on_the_page_of_the_python_api() -> None:
    text = (DOCS / "python.md").read_text("utf-8")
    assert not [name for name in knight.__all__ if name != "__version__" and f"`knight.{name}`" not in text]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() and target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_files_that_it_names_exist(page: Path) -> None:
    named = re.findall(
        r"(?<![\w/.-])((?:examples|scripts|tests|docs|knight)/[\w./*-]*[\w*-])", page.read_text("utf-8")
    )
    assert not [name for name in named if not list(ROOT.glob(name))]


def test_every_page_is_linked_from_another() -> None:
    found = {(page.parent / link.partition("#")[0]).resolve() for page in PAGES for link in links(page)}
    assert not [_name(page) for page in PAGES if page not in found and page != ROOT / "README.md"]


def test_nothing_is_said_twice() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for page in PAGES:
        for sentence in sentences(page):
            if len(sentence.split()) >= 7:
                places[sentence].append(_name(page))
    assert {sentence: found for sentence, found in places.items() if len(found) > 1} == {}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_code_says_what_it_is(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"line {block.line}"
        if block.language == "json":
            json.loads(block.text)


@pytest.mark.parametrize("page", WITH_CODE, ids=_name)
def test_code_runs_as_printed(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    found = [block for block in blocks(page) if block.language in RUNNABLE]
    for program, module in (("make", None), ("torch", "torch")):
        needed = any(
            re.search(rf"^(\$ {program} |import {program}$)|-f py{program} ", b.text, re.M) for b in found
        )
        there = importlib.util.find_spec(module) if module else shutil.which(program)
        if needed and not there:
            if request.config.getoption("--require-kit"):
                pytest.fail(f"{program} is not installed")
            pytest.skip(f"{program} is not installed")
    monkeypatch.chdir(tmp_path)
    folder = Folder(tmp_path)
    wrong = [f"line {block.line}: {text}" for block in found if (text := folder.run(block))]
    assert not wrong, "\n".join(wrong)


PRINTED = ["Start", "  ...", "SQNR   : 43.80 dB", "Times  : 0.11 s, 137 MB", "13 of 13 in out/a.onnx", "..."]


@pytest.mark.parametrize(
    ("line", "instead", "same"),
    [
        ("SQNR : 43.80 dB", "SQNR : 43.9 dB", True),
        ("SQNR : 43.80 dB", "SQNR : 39.9 dB", False),
        ("SQNR : 43.80 dB", "Cosine : 43.80 dB", False),
        ("Times : 0.11 s, 137 MB", "Times : 97.1 s, 9 MB", True),
        ("Times : 0.11 s, 137 MB", "Times : long", False),
        ("13 of 13 in out/a.onnx", "12 of 13 in out/a.onnx", False),
        ("13 of 13 in out/a.onnx", "13 of 13 in out/b.onnx", False),
    ],
)
def test_what_counts_as_printed(line: str, instead: str, same: bool) -> None:
    got = ["Start", "one", "two", "SQNR : 43.80 dB", "Times : 0.11 s, 137 MB", "13 of 13 in out/a.onnx"]
    assert differs(PRINTED, got) == "" == differs(PRINTED, [*got[:2], "On this CPU : 1 dB", *got[2:], "end"])
    assert (differs(PRINTED, [instead if text == line else text for text in got]) == "") is same
    assert differs(PRINTED, got[:-1]) and differs(PRINTED[:-1], [*got, "end"])


def test_a_command_that_fails_is_seen(tmp_path: Path) -> None:
    (first, second) = typed("$ echo one \\\n  two\none two\n$ exit 4\n")
    folder = Folder(tmp_path)
    assert folder.type(first) == "" and "exits with 4" in folder.type(second)
    assert not is_excerpt("import nothing_of_the_kind\n")
