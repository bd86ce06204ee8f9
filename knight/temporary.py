"""Folders for temporary files, which go with the process: at once, or where it was killed, with the next one.

Each folder is locked as long as its process lives (the system unlocks what a killed one held), so that any
later process can tell which of them nobody needs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import weakref

from knight.stopping import undisturbed

_PREFIX = "knight-run-"
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)
"""File systems without locks: there, what a killed process left stays."""


class TemporaryFolder(tempfile.TemporaryDirectory[str]):
    """A new folder of this process, `name`; it goes with the ``with`` statement, `cleanup` or this object."""

    def __init__(self) -> None:
        with undisturbed():
            remove_abandoned()
            held = None
            while held is None:
                super().__init__(prefix=_PREFIX)
                held = _hold(self.name)
            self._let_go = weakref.finalize(self, os.close, held)

    def cleanup(self) -> None:
        """Removes it."""
        with undisturbed():
            super().cleanup()
            self._let_go()


def remove_abandoned() -> None:
    """Removes the folders of processes of this user that were killed."""
    with os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and entry.is_dir(follow_symlinks=False):
                _remove_unless_held(entry.path)


def _hold(folder: str) -> int | None:
    """The lock; None where another process took the folder for abandoned before it was locked."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(handle)
            raise
    if os.path.isdir(folder):
        return handle
    os.close(handle)
    return None


def _remove_unless_held(folder: str) -> None:
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # it has just gone, or is another user's
        return
    try:
        if os.fstat(handle).st_uid == os.getuid():
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        if error.errno not in (*_NO_LOCKS, errno.EWOULDBLOCK):
            raise
    finally:
        os.close(handle)
