"""Signals that stop a run: each raises where Python is, and what tidies up after it is left in peace.

SIGTERM and SIGHUP raise Stopped, SIGINT raises KeyboardInterrupt, as it does anyway. While one of them is on
its way out, further signals change nothing: a second Ctrl-C does not leave half of the tidying up undone.
Python forgets exceptions that are raised within callbacks of the garbage collector, extension modules change
those that meet them while they are loaded, and scripts catch all of them by a bare ``except``: where that may
be, the signal is raised again a little later.

Python runs handlers between two of its instructions, so a signal waits for the end of the call into C that it
meets. Calls that may take long and can be broken off say so (`long_calls`): a thread that hears of every
signal at once does that.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
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

    held: how many blocks that want no signal are open. long_calls: what breaks off those into C that run now.
    _owed: the signal that is still to be raised, or that may have been lost.
    """

    def __init__(self) -> None:
        self.held = 0
        self.long_calls: set[Callable[[], None]] = set()
        self._owed: int | None = None
        self._telling = self._earlier = -1
        self._before: dict[int, Any] = {}
        self._over = False
        self._reminding = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        insists = number != signal.SIGINT  # a script may take a KeyboardInterrupt and go on
        under_way = stop_behind(sys.exc_info()[1]) is not None
        waits = self.held > 0 or _loads_extension(frame)
        if insists or waits:
            self._owe(number)
        if waits or under_way:
            return
        if insists:
            raise Stopped(number)
        self._owed = None
        raise KeyboardInterrupt

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

    def begin(self) -> None:
        """Takes the signals that nobody handles, and hears of them whatever the main thread is doing."""
        ours = (signal.SIG_DFL, signal.default_int_handler)
        self._before = {n: signal.getsignal(n) for n in _numbers() if signal.getsignal(n) in ours}
        hearing, self._telling = os.pipe()
        os.set_blocking(self._telling, False)
        self._earlier = signal.set_wakeup_fd(self._telling, warn_on_full_buffer=False)
        for number in self._before:
            signal.signal(number, self)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._leave)  # its signals are its own
        threading.Thread(target=self._hear, args=(hearing,), daemon=True).start()

    def end(self) -> None:
        """Nothing is raised again, nothing is heard any more."""
        self._leave()
        os.close(self._telling)

    def _leave(self) -> None:
        if not self._over:
            self._over = True
            for number, earlier in self._before.items():
                signal.signal(number, earlier)
            signal.set_wakeup_fd(self._earlier)

    def _hear(self, hearing: int) -> None:
        while heard := os.read(hearing, 1):
            if heard[0] in self._before and not self.held:
                for break_off in tuple(self.long_calls):
                    break_off()
        os.close(hearing)

    def _owe(self, number: int) -> None:
        self._owed = number
        if not self._reminding:
            self._reminding = True
            _thread.start_new_thread(self._remind, ())  # threading's own takes locks, and this is a handler

    def _remind(self) -> None:
        while not self._over:
            time.sleep(_AGAIN)
            if self._owed is not None and not self._over:
                _thread.interrupt_main(signal.Signals(self._owed))


def _numbers() -> list[int]:
    return [getattr(signal, kind) for kind in _KINDS if hasattr(signal, kind)]


def _current() -> _Handler | None:
    for number in _numbers():
        handler = signal.getsignal(number)
        if isinstance(handler, _Handler):
            return handler
    return None


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
    handler, hook = _Handler(), sys.unraisablehook
    handler.begin()
    try:
        sys.unraisablehook = handler.lost
        yield
    finally:
        handler.end()
        sys.unraisablehook = hook


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, no signal raises; what came meanwhile raises at the end. For few steps that belong together."""
    handler = _current()
    if handler is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    handler.held += 1
    try:
        yield
    finally:
        handler.release()


def long_calls() -> set[Callable[[], None]]:
    """What a signal that stops the run calls: whatever ends a call into C that runs now, in any thread.

    A set that nobody looks at where signals are not handled here.
    """
    handler = _current()
    return set() if handler is None else handler.long_calls


@contextmanager
def breaking_off(break_off: Callable[[], None], calls: set[Callable[[], None]]) -> Iterator[None]:
    """Inside, `break_off` is one of `calls`, which came from `long_calls`."""
    calls.add(break_off)
    try:
        yield
    finally:
        calls.discard(break_off)
