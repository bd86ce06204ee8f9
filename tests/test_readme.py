"""The README: short, with the two commands on the first screen, and the one that CI runs."""

from __future__ import annotations

from tests.pages import DOCS, ROOT, blocks, is_excerpt, links

README = ROOT / "README.md"
LINES = README.read_text("utf-8").splitlines()


def test_the_two_commands_are_on_the_first_screen() -> None:
    first = "\n".join(LINES[:40])
    assert "bash scripts/demo" in first and "bash scripts/test" in first


def test_its_test_command_is_the_one_that_ci_runs() -> None:
    last = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()[-1]
    assert last.startswith('exec bash "$(dirname "$0")/../scripts/test"')


def test_it_is_read_in_a_few_minutes() -> None:
    assert len(LINES) <= 200


def test_it_leads_to_every_page() -> None:
    linked = {(ROOT / link).resolve() for link in links(README)}
    assert set(DOCS.glob("*.md")) | {DOCS / "commands" / "README.md"} <= linked


def test_its_script_is_that_of_the_example() -> None:
    (script,) = (block for block in blocks(README) if block.language == "python")
    assert is_excerpt(script.text)
