"""The worker as its parent sees it: started when it is needed, watched, and started again after a crash."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.fuzz._coverage import Line
from scripts.fuzz._judge import ROOT, Outcome
from scripts.fuzz._worker import HEAD, NO_INPUT

WALL = 6
"""How many times its CPU seconds an input may take by the clock, beside other programs or while it waits."""
STARTING = 120.0  # seconds that the imports of a target may take


@dataclass(frozen=True)
class Answer:
    """What came of one input. lines: those that this worker had not reached before."""

    outcome: Outcome
    lines: frozenset[Line] = frozenset()
    seconds: float = 0.0


class Worker:
    """One process for any number of inputs; use it in a ``with`` statement.

    seconds: CPU time that an input may take.
    """

    def __init__(self, seconds: float = 20.0) -> None:
        self.seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._known: set[str] = set()
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        self._log = Path(self._folder.name, "log")

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()
        self._folder.cleanup()

    def run(self, target: str, data: bytes) -> Answer:
        """Has the worker run `target` on `data`."""
        if self._process is None:
            self._start()
        if target not in self._known:
            self._send(target, NO_INPUT)
            failed = self._wait(STARTING)
            if isinstance(failed, Answer):
                raise RuntimeError(f"the target {target} cannot be imported: {failed.outcome.text}")
            self._known.add(target)
        self._send(target, len(data), data)
        got = self._wait(self.seconds)
        if isinstance(got, Answer):
            return got
        lines = frozenset((file, number) for file, number in got["lines"])
        return Answer(Outcome(*got["outcome"]), lines, got["seconds"])

    def _send(self, target: str, length: int, data: bytes = b"") -> None:
        assert self._process is not None and self._process.stdin is not None
        name = target.encode()
        with suppress(BrokenPipeError):  # then there is no answer, which tells more
            self._process.stdin.write(HEAD.pack(len(name), length) + name + data)
            self._process.stdin.flush()

    def _wait(self, seconds: float) -> dict[str, Any] | Answer:
        """What the worker answers, or how it ended instead."""
        started, used = time.monotonic(), self._used()
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if selector.select(0.5):
                    part = os.read(self._answers, 1 << 16)
                    if not part:
                        return self._crashed()
                    line += part
                    continue
                busy, waited = self._used() - used, time.monotonic() - started
                if busy > seconds or waited > WALL * seconds:
                    return self._hung(busy, waited)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _used(self) -> float:
        """CPU seconds of the worker until now."""
        assert self._process is not None
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _crashed(self) -> Answer:
        assert self._process is not None
        code = self._process.wait()
        what = signal.Signals(-code).name if code < 0 else f"exit {code}"
        return self._given_up(f"crash {what}", f"the process ended: {what}")

    def _hung(self, busy: float, waited: float) -> Answer:
        assert self._process is not None
        self._process.send_signal(signal.SIGABRT)  # faulthandler writes down where it is
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        return self._given_up("hang", f"no end after {busy:.0f} CPU seconds in {waited:.0f} seconds")

    def _given_up(self, kind: str, text: str) -> Answer:
        log = self._log.read_text("utf-8", "replace")
        frames = [part.strip() for part in log.splitlines() if f'File "{ROOT}/knight' in part]
        where = frames[0].replace(f"{ROOT}/", "").replace('"', "") if frames else "outside of Knight"
        where = where.partition(", line")[0] + where.rpartition(" in")[2].rjust(1)
        self._end()
        return Answer(Outcome(kind, where, f"{text}\n{log[-4000:]}"))

    def _start(self) -> None:
        ours, theirs = os.pipe()
        self._log.unlink(missing_ok=True)
        command = [sys.executable, str(Path(__file__).with_name("_worker.py"))]
        read, write = os.pipe()
        process = subprocess.Popen(
            [*command, str(read), str(theirs), str(self._log)],
            stdin=subprocess.DEVNULL,
            pass_fds=(read, theirs),
        )
        os.close(theirs)
        os.close(read)
        process.stdin = os.fdopen(write, "wb")
        self._process, self._answers, self._known = process, ours, set()

    def _end(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        os.close(self._answers)
        self._process = None
