"""What the user sees while Knight works: plain lines, and a progress bar where there is a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from knight.errors import visible
from knight.listener import Listener

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

DEBUG, INFO, WARNING, ERROR = 0, 1, 2, 3
_SHOWN_WARNINGS = 5


def echo(text: str, *, err: bool = False, keep: str = "") -> None:
    """Prints one line, without what a terminal obeys: names come from strangers' files.

    err: to standard error. keep: characters that stay, such as the line feeds of a trace.
    """
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    click.echo(visible(text, keep).encode(encoding, "backslashreplace").decode(encoding), err=err)


class Console(Listener):
    """Prints to standard output.

    level: 0 to 3, as -l gives it. What a run reports is printed at every level; details from INFO down.
    Beyond the first few warnings only their number is printed, unless the level is WARNING or below.
    """

    def __init__(self, level: int = ERROR) -> None:
        self._level = level
        self._label = ""
        self._warnings = 0
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._start = time.perf_counter()

    def say(self, text: str = "") -> None:
        """One line."""
        self._stop_bar()
        echo(text)

    def combination(self, label: str) -> None:
        self._label = f"[{label}] "

    def stage(self, number: int, title: str) -> None:
        self.say(f"{self._label}Stage{number}: {title}")

    def work(self, text: str) -> None:
        if sys.stdout.isatty():
            self._stop_bar()
            self._start_spinner(text)
        else:
            self.detail(text)

    def detail(self, text: str) -> None:
        if self._level <= INFO:
            self._stop_bar()
            echo(f"  info: {text}", keep="\n")  # a trace has several lines

    def announce(self, text: str) -> None:
        self.say(f"  {text}")

    def warn(self, text: str) -> None:
        self._warnings += 1
        if self._warnings <= _SHOWN_WARNINGS or self._level <= WARNING:
            self.say(f"  warning: {text}")

    def forward(self, done: int, total: int | None) -> None:
        if not sys.stdout.isatty():
            return
        if self._task is None:
            self._stop_bar()
            self._start_bar(total)
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done)

    def close(self) -> None:
        """Ends the bar and says how many warnings were held back."""
        self._stop_bar()
        held = self._warnings - _SHOWN_WARNINGS
        if held > 0 and self._level > WARNING:
            self.say(f"  warning: {held} more; the report lists them, and -l 2 prints them")
            self._warnings = 0

    def _start_bar(self, total: int | None) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        self._progress = Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), transient=True)
        self._task = self._progress.add_task("", total=total)
        self._progress.start()

    def _start_spinner(self, text: str) -> None:
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            transient=True,
        )
        self._progress.add_task(visible(text), total=None)
        self._progress.start()

    def _stop_bar(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = self._task = None
