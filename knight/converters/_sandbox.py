"""Limits of the process that reads a stranger's model file: what the system can forbid, it forbids.

- It ends with the process that started it (``PR_SET_PDEATHSIG``).
- It makes, writes, moves and removes no files outside of its own folder (Landlock, Linux 5.13), and opens no
  sockets (seccomp).
- Address space, processor time and the size of files have an end.

Operators and archives are checked before anything of them runs; this is what stands behind these checks.
Where the system lacks a part, the others hold.
(man 7 landlock, man 2 seccomp, man 2 prctl, man 2 setrlimit)
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys
from pathlib import Path

GIGABYTE = 1 << 30
CPU_SECONDS = 2 * 60 * 60
LEAST_ADDRESS_SPACE = 16 * GIGABYTE  # frameworks reserve far more than they touch
LEAST_FILE_SIZE = 4 * GIGABYTE

_PDEATHSIG, _NO_NEW_PRIVILEGES, _SECCOMP = 1, 38, 22
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on all architectures
_WRITE_FILE, _REFER, _TRUNCATE = 1 << 1, 1 << 13, 1 << 14
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
_MACHINES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""Machine -> what the kernel calls it, and the number of its system call socket."""
_IO_URING_SETUP = 425  # opens sockets by another way
_X32 = 1 << 30  # set in the numbers of a second set of calls of x86-64


def die_with_parent(parent: int | None = None) -> None:
    """Lets the system kill this process when its parent ends; at once, where `parent` has gone already."""
    if not sys.platform.startswith("linux"):
        return
    _libc().prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def confine(folder: Path, source_bytes: int) -> None:
    """Forbids what a conversion has no need for.

    folder: where it may write. source_bytes: size of the model's files.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, CPU_SECONDS)
    _limit(resource.RLIMIT_FSIZE, max(LEAST_FILE_SIZE, 4 * source_bytes))
    if sys.platform.startswith("linux"):
        _limit(
            resource.RLIMIT_AS, max(LEAST_ADDRESS_SPACE, _memory())
        )  # macOS refuses what is less than used
        _libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        _keep_files(folder)
        _keep_off_the_network()


def _limit(kind: int, wanted: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard == resource.RLIM_INFINITY or wanted < hard:
        resource.setrlimit(kind, (wanted, wanted))


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _keep_files(folder: Path) -> None:
    """Files are made, changed, truncated, moved and removed beneath `folder` only."""
    version = _syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:  # too old a kernel, or switched off
        return
    handled = _WRITE_FILE | _REMOVE_AND_MAKE
    handled |= (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    rules = _syscall(_CREATE_RULESET, struct.pack("Q", handled), 8, 0)
    if rules < 0:
        return
    try:
        for path, allowed in ((folder, handled), (Path(os.devnull), handled & (_WRITE_FILE | _TRUNCATE))):
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            _syscall(_ADD_RULE, rules, 1, struct.pack("=Qi", allowed, place), 0)
            os.close(place)
        _syscall(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def _keep_off_the_network() -> None:
    """socket() and io_uring_setup() fail with EACCES."""
    if platform.machine() not in _MACHINES:
        return
    architecture, socket = _MACHINES[platform.machine()]
    load, equal, at_least, give = (
        0x20,
        0x15,
        0x35,
        0x06,
    )  # of the Berkeley packet filter, on struct seccomp_data
    allow, refuse = 0x7FFF0000, 0x00050000 | errno.EACCES
    steps = [
        (load, 0, 0, 4),
        (equal, 0, 4, architecture),  # calls of 32 bits have other numbers: refused, all of them
        (load, 0, 0, 0),
        (at_least, 2, 0, _X32),
        (equal, 1, 0, socket),
        (equal, 0, 1, _IO_URING_SETUP),
        (give, 0, 0, refuse),
        (give, 0, 0, allow),
    ]
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("H6xP", len(steps), ctypes.addressof(buffer))
    _libc().prctl(_SECCOMP, 2, program, 0, 0)


def _syscall(*arguments: object) -> int:
    result: int = _libc().syscall(*arguments)
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
