"""What is printed while Knight works."""

from __future__ import annotations

import io
import sys

import pytest

from knight.cli._console import Console


def test_plain_lines_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(1)
    console.stage(1, "Do Graph Optimize.")
    for number in range(100):
        console.forward(number + 1, 100)
    console.detail("small")
    console.warn("careful")
    console.close()
    assert capsys.readouterr().out.splitlines() == [
        "Stage1: Do Graph Optimize.",
        "  info: small",
        "  warning: careful",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def opened(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal as standard output; no fixture, because pytest puts its own there when a test begins."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    return terminal


def test_a_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = opened(monkeypatch)
    console = Console()
    console.forward(3, 8)
    console.stage(3, "Run Model Quantization.")
    text = screen.getvalue()
    assert "3/8" in text and text.endswith("Stage3: Run Model Quantization.\n")


@pytest.mark.parametrize(("level", "details"), [(0, 1), (1, 1), (2, 0), (3, 0)])
def test_details_are_for_the_lower_levels(
    capsys: pytest.CaptureFixture[str], level: int, details: int
) -> None:
    console = Console(level)
    console.detail("small")
    assert capsys.readouterr().out.count("small") == details


@pytest.mark.parametrize(("level", "shown"), [(0, 20), (2, 20), (3, 5)])
def test_warnings_are_always_told_but_not_always_one_by_one(
    capsys: pytest.CaptureFixture[str], level: int, shown: int
) -> None:
    console = Console(level)
    for number in range(20):
        console.warn(f"number {number}")
    console.close()
    output = capsys.readouterr().out
    assert output.count("warning: number") == shown
    assert ("15 more" in output) is (level == 3)


def test_the_stages_of_a_combination_bear_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    for label, numbers in (("", (1, 2)), ("kl_it_1", (3, 4)), ("mse_it_1", (3, 5))):
        if label:
            console.combination(label)
        for number in numbers:
            console.stage(number, "x")
    assert capsys.readouterr().out.splitlines() == [
        "Stage1: x",
        "Stage2: x",
        "[kl_it_1] Stage3: x",
        "[kl_it_1] Stage4: x",
        "[mse_it_1] Stage3: x",
        "[mse_it_1] Stage5: x",
    ]


HOSTILE = "a\x1b[31mb\x1b]0;title\x07\nc\r\x9bd\u202ee\ud800\x00\u2028"
VISIBLE = r"a\x1b[31mb\x1b]0;title\x07\nc\r\x9bd\u202ee\ud800\x00\u2028"


@pytest.mark.parametrize("tell", ["say", "announce", "warn", "combination"])
def test_names_give_the_terminal_no_orders(capsys: pytest.CaptureFixture[str], tell: str) -> None:
    console = Console()
    getattr(console, tell)(HOSTILE)
    console.stage(1, "Title")
    first = capsys.readouterr().out.splitlines()[0]
    assert VISIBLE in first and first.isprintable()


def test_a_trace_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    Console(0).detail("one\n  two\x1b[2J")
    assert capsys.readouterr().out == "  info: one\n  two\\x1b[2J\n"


def test_names_of_all_languages_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    text = "\u5c42/\u30d2\u3000\u0441\u043b\u043e\u0439\u00a0\U0001d11e"
    Console().say(text)
    assert capsys.readouterr().out == f"{text}\n"


def test_what_the_terminals_encoding_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    Console().say("\u5c42")
    screen.flush()
    assert screen.buffer.getvalue() == b"\\u5c42\n"  # type: ignore[attr-defined]


def test_the_spinner_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = opened(monkeypatch)
    console = Console()
    console.work("[bold]net[/] \x1b]0;title\x07")
    console.close()
    assert "[bold]net[/] \\x1b]0;title\\x07" in screen.getvalue()
