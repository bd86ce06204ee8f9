"""Ends a process that waits for what never comes: an empty queue, a stage that nobody fills, a lock.

It takes no processor time, so no limit of that ends it. While it reads a file it is not asleep (state D), and
where it is suspended, so is who looks on. (man 5 proc, /proc/PID/stat; elsewhere nobody looks)
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections import deque
from pathlib import Path

SECONDS = 30
"""How long a conversion may be asleep all the time."""
_LOOK = 1.0  # seconds between two looks
_STATE, _USER, _SYSTEM = 0, 11, 12  # places in the line, behind the process's name
_LITTLE = 0.1  # seconds of processor time that idle threads take all the same


class Idle:
    """Looks on while its block lasts. ended: whether the process was asleep for `seconds`, and was ended."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: int) -> None:
        self.ended = False
        self._process, self._seconds = process, seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Idle:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        seen: deque[float] = deque(maxlen=self._seconds + 1)
        while not self._done.wait(_LOOK):
            taken = _taken_asleep(self._process.pid)
            if taken is None:
                seen.clear()
                continue
            seen.append(taken)
            if len(seen) > self._seconds and seen[-1] - seen[0] < _LITTLE:
                self.ended = True
                self._process.kill()
                return


def _taken_asleep(number: int) -> float | None:
    """Seconds of processor time of a process that sleeps; None where it does not, or nobody tells."""
    try:
        words = Path(f"/proc/{number}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:  # it has just ended, or the system has no such file
        return None
    if words[_STATE] != "S":
        return None
    return (int(words[_USER]) + int(words[_SYSTEM])) / os.sysconf("SC_CLK_TCK")
