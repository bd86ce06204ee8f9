"""A division that the processor refuses inside a library: told in one line, where else the process just ends.

Python's own handlers of signals run between two of its instructions, and the faulting one of the library
would be tried again for ever. So the system calls a function of ours at once, on whatever thread it is, and
the process ends there. What it leaves is what a killed one leaves, and goes with the next run.
(man 7 signal, SIGFPE; the smallest integer divided by -1 has no result, ISO C 6.5.5)
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from knight.errors import visible

_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)
_STANDARD_ERROR = 2


@contextmanager
def told(text: str) -> Iterator[None]:
    """Inside, such a division ends the process with exit code 1 and the error `text` on standard error."""
    line = f"knight: error: {visible(text)}\n".encode("utf-8", "backslashreplace")

    def tell(number: int) -> None:
        os.write(_STANDARD_ERROR, line)
        os._exit(1)

    handler = _Handler(tell)
    call = ctypes.CDLL(None).signal
    call.restype, call.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    before = call(signal.SIGFPE, ctypes.cast(handler, ctypes.c_void_p))
    try:
        yield
    finally:
        call(signal.SIGFPE, before)
