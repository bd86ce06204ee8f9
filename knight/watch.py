"""Stops a run that takes too long, or whose memory comes to an end bit by bit.

One large piece that cannot be had is an error that a library reports. When many small ones use up the memory,
as those of a loop do, whoever asks next goes down with the process. So a thread looks on, and asks the run to
stop between two of its operators while there is still room to do so.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

from knight import memory

_LOOK = 0.05  # seconds between two looks
_ROOM = 8  # an eighth of the memory that was there at the beginning is room enough to stop in


class Stoppable(Protocol):
    """What a run looks at between two operators."""

    terminate: bool


class Watch:
    """Looks on while its block lasts. cause: why the run was to stop, empty where it was not."""

    def __init__(self, run: Stoppable, seconds: float) -> None:
        self.cause = ""
        self._run, self._seconds = run, seconds
        self._begun, self._done = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(self, *raised: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        try:
            end, least = time.monotonic() + self._seconds, memory.left() // _ROOM
            _ = self._run.terminate  # what a thread's first call into a library takes is not to be had later
        finally:
            self._begun.set()
        while not self._done.wait(_LOOK):
            if time.monotonic() > end:
                self.cause = f"takes longer than {self._seconds:.0f} s"
            elif memory.left() < least:
                self.cause = "takes more memory than is free"
            if self.cause:
                self._run.terminate = True
                return
