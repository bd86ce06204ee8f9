"""A process that waits for ever is ended; one that computes, or ends by itself, is not."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from knight.converters._idle import Idle

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells")


def run(code: str, seconds: int) -> tuple[bool, int]:
    """Whether a process was ended that runs `code`, and its exit code."""
    with subprocess.Popen([sys.executable, "-c", code]) as process, Idle(process, seconds) as idle:
        number = process.wait()
    return idle.ended, number


def test_who_waits_for_ever_is_ended() -> None:
    assert run("import threading; threading.Event().wait()", 1) == (True, -signal.SIGKILL)


def test_who_computes_is_left_alone() -> None:
    busy = "import time\nwhile time.process_time() < 3: pass"
    assert run(busy, 2) == (False, 0)


def test_who_waits_and_then_goes_on_is_left_alone() -> None:
    assert run("import time; time.sleep(2)", 60) == (False, 0)
