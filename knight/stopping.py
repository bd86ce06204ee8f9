"""Signals that stop a run: each raises where Python is, and what tidies up after it is left in peace.

SIGTERM and SIGHUP raise Stopped, SIGINT raises KeyboardInterrupt, as it does anyway. While one of them is on
its way out, further signals change nothing: a second Ctrl-C does not leave half of the tidying up undone.
Python forgets exceptions that are raised within callbacks of the garbage collector, extension modules change
those that meet them while they are loaded, and scripts catch all of them by a bare ``except``: where that may
be, the signal is raised again a little later.

Python runs handlers between two of its instructions, so a signal waits for the end of the call into ONNX
Runtime, NumPy or a framework that it meets.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ExtensionFileLoader
from types import FrameType
from typing import Any

_KINDS = ("SIGINT", "SIGTERM", "SIGHUP")
_AGAIN = 0.1
"""Seconds after which a signal is raised again."""


class Stopped(BaseException):
    """SIGTERM or SIGHUP, on its way through all that has to be tidied up. number: of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Handler:
    """What signals call while a run can be stopped.

    held: how many blocks that want no signal are open. _owed: the signal that is still to be raised, or that
    may have been lost.
    """

    def __init__(self) -> None:
        self.held = 0
        self._owed: int | None = None
        self._over = threading.Event()
        self._reminding = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.held or _loads_extension(frame):
            self._owe(number)
        elif not stop_behind(sys.exc_info()[1]):
            if number == signal.SIGINT:  # a script may take it and go on
                self._owed = None
                raise KeyboardInterrupt
            self._owe(number)
            raise Stopped(number)

    def release(self) -> None:
        """The end of one block that wants no signal; raises what came meanwhile."""
        self.held -= 1
        if not self.held and self._owed is not None:
            self(self._owed, sys._getframe())

    def lost(self, report: Any) -> None:
        """In place of sys.unraisablehook: a stop that Python was about to print and forget comes again."""
        if isinstance(report.exc_value, KeyboardInterrupt):
            self._owe(signal.SIGINT)
        elif not isinstance(report.exc_value, Stopped):
            sys.__unraisablehook__(report)

    def end(self) -> None:
        """Nothing is raised again."""
        self._over.set()

    def _owe(self, number: int) -> None:
        self._owed = number
        if not self._reminding:
            self._reminding = True
            _thread.start_new_thread(self._remind, ())  # threading's own takes locks, and this is a handler

    def _remind(self) -> None:
        while not self._over.wait(_AGAIN):
            if self._owed is not None:
                _thread.interrupt_main(signal.Signals(self._owed))


def _loads_extension(frame: FrameType | None) -> bool:
    """Whether an extension module is being loaded: it makes an ImportError of whatever is raised then."""
    while frame is not None:
        if isinstance(frame.f_locals.get("self"), ExtensionFileLoader):
            return True
        frame = frame.f_back
    return False


def stop_behind(error: BaseException | None) -> Stopped | KeyboardInterrupt | None:
    """What stopped the run, where `error` is that or came of it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, (Stopped, KeyboardInterrupt)):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, signals stop the run as above; one that is ignored (nohup) or handled already stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = _Handler()
    ours = (signal.SIG_DFL, signal.default_int_handler)
    numbers = [getattr(signal, kind) for kind in _KINDS if hasattr(signal, kind)]
    before = {number: signal.getsignal(number) for number in numbers if signal.getsignal(number) in ours}
    hook = sys.unraisablehook
    try:
        sys.unraisablehook = handler.lost
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        handler.end()
        for number, earlier in before.items():
            signal.signal(number, earlier)
        sys.unraisablehook = hook


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, no signal raises; what came meanwhile raises at the end. For few steps that belong together."""
    handlers = [signal.getsignal(getattr(signal, kind)) for kind in _KINDS if hasattr(signal, kind)]
    ours = [handler for handler in handlers if isinstance(handler, _Handler)]
    if not ours or threading.current_thread() is not threading.main_thread():
        yield
        return
    ours[0].held += 1
    try:
        yield
    finally:
        ours[0].release()
