"""How much memory there is, and an end to what a native library may take of it.

Sizes are told beforehand where that is possible (`knight.sizes`). What only shows while a library works ends
here: it asks for memory, gets none, and says so, where else the system would have to kill some process.
(man 2 setrlimit, RLIMIT_AS; man 5 proc, meminfo and statm)
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

_CONTAINER = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container's own limit stands, in the newer and in the older form."""
_FRESH = 1.0  # seconds; reading what is available takes as long as a small net


def total() -> int:
    """Bytes that this process can have at most, of the machine, its container and its address space."""
    limits = [_page() * os.sysconf("SC_PHYS_PAGES"), *_container_limits()]
    own = _ends().own()
    return min(limits if own == resource.RLIM_INFINITY else [*limits, own])


def available() -> int:
    """Bytes that this process could still get without taking them from others."""
    used, resident = _own()
    left, own = [total() - resident], _ends().own()
    if own != resource.RLIM_INFINITY:
        left.append(own - used)
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        rows = (line.split() for line in meminfo.read_text("ascii").splitlines())
        left += [1024 * int(row[1]) for row in rows if row[0] == "MemAvailable:"]
    return max(0, min(left))


def at_most(size: int) -> AbstractContextManager[None]:
    """Lets the process grow by at most `size` bytes of address space inside the block.

    Libraries then fail with MemoryError, or an error of their own that says "bad_alloc". It holds for all
    threads alike, hence `size` is to be ample, and the block short. Where the system cannot tell what the
    process uses, nothing is limited.
    """
    used, _ = _own()
    return _End(_ends(), used + size if used else resource.RLIM_INFINITY)


def at_most_available() -> AbstractContextManager[None]:
    """As `at_most` with what is available, but for a tenth, which others get.

    It is looked up once a second only: the block may be as short as you like.
    """
    return _End(_ends(), _ends().reach())


def left() -> int:
    """Bytes by which the process can grow before it comes to the end that is in force, else all there are."""
    used, _ = _own()
    end, _ = resource.getrlimit(resource.RLIMIT_AS)
    return available() if end == resource.RLIM_INFINITY else max(0, end - used)


def text(size: int) -> str:
    """`size` in bytes as a message has it: "68.7 GB"."""
    for unit, name in ((10**18, "EB"), (10**15, "PB"), (10**12, "TB"), (10**9, "GB"), (10**6, "MB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}" if size < 1000 * unit else f"{size / unit:.3g} {name}"
    return f"{size} bytes"


def _page() -> int:
    return os.sysconf("SC_PAGE_SIZE")


def _own() -> tuple[int, int]:
    """Bytes of address space and of memory that this process has; zeros where the system does not tell."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return 0, 0
    pages = statm.read_text("ascii").split()
    return int(pages[0]) * _page(), int(pages[1]) * _page()


def _container_limits() -> Iterator[int]:
    for file in _CONTAINER:
        if file.exists():
            limit = file.read_text("ascii").strip()
            if limit.isdecimal():  # "max" where there is none
                yield int(limit)


class _Ends:
    """The ends of address space that are in force: the least of them holds, and after them the own one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: list[int] = []
        self._own = self._hard = resource.RLIM_INFINITY
        self._reach, self._stale = resource.RLIM_INFINITY, 0.0

    def own(self) -> int:
        """The process's own end, which others have set."""
        with self._lock:
            return self._own if self._active else resource.getrlimit(resource.RLIMIT_AS)[0]

    def reach(self) -> int:
        """Where address space ends once all that is available is taken."""
        if time.monotonic() >= self._stale:
            used, _ = _own()
            self._reach = used + available() // 10 * 9 if used else resource.RLIM_INFINITY
            self._stale = time.monotonic() + _FRESH
        return self._reach

    def add(self, end: int) -> None:
        """`end` is in force from now on, beside the others."""
        with self._lock:
            if not self._active:
                self._own, self._hard = resource.getrlimit(resource.RLIMIT_AS)
            self._active.append(end)
            self._set()

    def remove(self, end: int) -> None:
        """`end`, which was added, is no longer in force."""
        with self._lock:
            self._active.remove(end)
            self._set()

    def _set(self) -> None:
        ends = [end for end in (*self._active, self._own) if end != resource.RLIM_INFINITY]
        soft = min(ends, default=resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_AS, (soft, self._hard))


class _End:
    """One end for the length of a block; a class, since blocks of a few microseconds have it."""

    __slots__ = ("_end", "_ends")

    def __init__(self, ends: _Ends, end: int) -> None:
        self._ends, self._end = ends, end

    def __enter__(self) -> None:
        self._ends.add(self._end)

    def __exit__(self, *raised: object) -> None:
        self._ends.remove(self._end)


@cache
def _ends() -> _Ends:
    return _Ends()
