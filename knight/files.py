"""Files that appear whole or not at all, and the operating system's refusals as one-line errors."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from knight.errors import OutputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_file(path: Path, content: bytes) -> Path:
    """Writes one file beside its place, then renames it; makes its folder. Raises OutputError."""
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.writing")
        try:
            beside.write_bytes(content)
            flush(beside)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    return path


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it. Raises OutputError."""
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


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
