"""Standard output and error as a command may find them: closed, full, read no longer, or for few characters.

What can be printed nowhere must not pass for a fault of whoever printed it (an infer function, say), so it
goes through everything as `Unheard`, up to where a command ends.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from knight.errors import visible


class Unheard(BaseException):
    """Standard output takes no more. reason: the system's. unread: whoever read it has gone."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.reason = error.strerror or str(error)
        self.unread = error.errno == errno.EPIPE


class _Guarded(io.BufferedIOBase):
    """The bytes of `stream`. Where it takes no more, the rest is dropped; with `needed`, Unheard once."""

    def __init__(self, stream: Any, needed: bool) -> None:
        self._stream = stream
        self._needed = needed
        self._lost = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._try(lambda: self._stream.write(data))
        return len(data)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    def close(self) -> None:
        """The stream is another's."""

    def _try(self, what: Any) -> None:
        if self._lost:
            return
        try:
            what()
        except OSError as error:
            self._lost = True
            self._let_go()
            if self._needed:
                raise Unheard(error) from None

    def _let_go(self) -> None:
        """Python flushes the stream once more when it ends, and would complain."""
        with suppress(OSError):  # a stream without a descriptor is none of the process's own
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def guarded() -> Iterator[None]:
    """Inside, anything can be printed: characters that the stream has not are written as escapes, a closed
    stream swallows all, and one that takes no more raises `Unheard`. Warnings of Python are one line each,
    which any terminal can take.
    """
    for descriptor in range(3):
        _occupy(descriptor)
    output, error, show = sys.stdout, sys.stderr, warnings.showwarning
    sys.stdout, sys.stderr = _wrapped(output, needed=True), _wrapped(error, needed=False)
    warnings.showwarning = _show
    try:
        yield
    finally:
        with suppress(Unheard):  # the command has ended otherwise, and says how
            sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr, warnings.showwarning = output, error, show


def _occupy(descriptor: int) -> None:
    """Puts nothing where a descriptor is closed: else the next file that is opened gets what is printed."""
    try:
        os.fstat(descriptor)
    except OSError:
        found = os.open(os.devnull, os.O_RDWR)
        if found != descriptor:
            os.dup2(found, descriptor)
            os.close(found)


def _wrapped(stream: TextIO | None, needed: bool) -> TextIO:
    if stream is None:  # closed when Python began
        return open(os.devnull, "w", encoding="utf-8", errors="backslashreplace")
    if not hasattr(stream, "buffer"):  # of a program that caught what is printed
        return stream
    with suppress(OSError):
        stream.flush()
    binary: Any = _Guarded(stream.buffer, needed)
    lines = stream.isatty()
    return io.TextIOWrapper(binary, stream.encoding, errors="backslashreplace", line_buffering=lines)


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    text, pictures = " ".join(str(message).split()), sys.modules.get("knight.tasks._pictures")
    picture = pictures.being_read.get() if pictures is not None and "PIL" in Path(filename).parts else None
    line = f"{category.__name__}: {text} ({filename}:{lineno})" if picture is None else f"{picture}: {text}"
    sys.stderr.write(f"  warning: {visible(line)}\n")
