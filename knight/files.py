"""Files that are read only where they are files, and that appear whole or not at all; the operating system's
refusals as one-line errors.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from knight.errors import OutputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OTHERS = (
    (stat.S_ISDIR, "is a folder"),
    (stat.S_ISFIFO, "is a named pipe"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
)
CONFIGURATION = 1 << 24
"""Bytes that a file written by hand may have."""


def other_kind(path: str | Path) -> str | None:
    """What is there and can never be read to its end: "is a named pipe", a socket, a device; None for files,
    folders, and where there is nothing.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # whoever opens it says why
        return None
    return None if stat.S_ISDIR(mode) else _other(mode)


def is_too_long(path: str | Path) -> bool:
    """Whether no file can have such a name here: it, or a part of it, is longer than the system takes."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


def _other(mode: int) -> str | None:
    return next((words for test, words in _OTHERS if test(mode)), None)


def open_file(path: str | Path) -> BinaryIO:
    """Opens a file for reading. Raises OSError, with a reason in words, for anything else than a file: a pipe
    that nobody writes would be waited for, a device never ends.
    """
    try:
        mode = os.stat(path).st_mode  # before opening: to open a device can do something
        if _other(mode) is None:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                mode = os.fstat(handle).st_mode
                if _other(mode) is None:
                    return os.fdopen(handle, "rb")
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)
    except ValueError:  # of Python, before the system is asked
        raise OSError(errno.EINVAL, "no file can have such a name", str(path)) from None
    code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise OSError(code, f"{_other(mode)}, not a file", str(path))


def content(path: str | Path, largest: int = CONFIGURATION) -> bytes:
    """The bytes of a file. Raises OSError as `open_file`, also for more than `largest` of them."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        found = file.read(size + 1) if size <= largest else b""
    if max(size, len(found)) > largest:
        raise OSError(errno.EFBIG, f"has more than {largest >> 20} MB", str(path))
    return found


def write_file(path: Path, content: bytes) -> Path:
    """Writes one file beside its place, then renames it; makes its folder. Raises OutputError."""
    kind = "is a folder" if path.is_dir() else other_kind(path)
    if kind is not None:
        raise OutputError(f"cannot write to {path}: {kind}; name another file")
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.writing")
        remove(beside)
        try:
            with beside.open("xb") as file:  # never through a link
                file.write(content)
            flush(beside)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    return path


def remove(path: Path) -> None:
    """Removes what is there, if anything; of a link, the link alone. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def folder_for(folder: Path) -> Iterator[None]:
    """Makes a folder and those above it; where what is done inside fails, those that are empty go again.

    Raises OutputError.
    """
    missing = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # somebody has put something there: then it stays
            for place in missing:
                place.rmdir()
        raise


def flush(path: Path) -> None:
    """Waits until the file is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def output_errors(place: Path) -> Iterator[None]:
    """Turns the operating system's refusals into OutputErrors that name the place."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        advice = "free some space or name another folder" if error.errno in _FULL else "name another folder"
        raise OutputError(f"cannot write to {place}: {reason}; {advice} with --save-dir") from error
