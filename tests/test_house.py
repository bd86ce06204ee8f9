"""What people's own tools are told about the repository says what scripts/test and the files do."""

from __future__ import annotations

import configparser
import re

import knight
from tests.pages import ROOT


def test_hooks_run_the_checks_of_the_test_command() -> None:
    script = (ROOT / "scripts" / "test").read_text("utf-8")
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    checks = [
        text for text in re.findall(r"^check (.+)$", script, re.MULTILINE) if not text.startswith("pytest")
    ]
    entries = re.findall(r"^ +entry: \.venv/bin/(.+)$", hooks, re.MULTILINE)
    assert entries == checks and len(checks) == 4
    assert "make_environment .venv " in script


def test_versions_of_the_changelog_lead_down_from_the_present_one() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    titles = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert titles[:2] == ["Unreleased", knight.__version__]
    numbers = [tuple(map(int, title.split("."))) for title in titles[1:]]
    assert numbers == sorted(numbers, reverse=True)
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_files_are_as_the_editors_are_told() -> None:
    settings = configparser.ConfigParser()
    settings.read_string("[top]\n" + (ROOT / ".editorconfig").read_text("utf-8"))
    longest = int(settings["*.py"]["max_line_length"])
    assert f"line-length = {longest}\n" in (ROOT / "pyproject.toml").read_text("utf-8")
    folders = ("docs", "examples", "knight", "scripts", "tests")
    files = [*ROOT.glob("*.*"), *(path for folder in folders for path in (ROOT / folder).rglob("*.*"))]
    for path in files:
        if path.suffix not in (".py", ".md", ".toml", ".yaml", ".js", ".css"):
            continue
        text = path.read_bytes()
        assert text.decode("utf-8").endswith("\n") or not text, path
        assert b"\r" not in text and not re.search(rb"[ \t]+$", text, re.MULTILINE), path


def test_no_page_names_the_machine() -> None:
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        assert not re.search(r"/(home|root|tmp|work)/", path.read_text("utf-8")), path.name
