"""A target for scripts/fuzz with every fault that a reader can have; the input names it."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from knight.errors import DataError
from scripts.fuzz.mutators.raw import Bytes
from scripts.fuzz.targets import Target


def run(data: bytes, folder: Path) -> None:
    """Refuses what names no fault."""
    match data:
        case b"crash":
            ctypes.string_at(0)
        case b"hang":
            while True:
                pass
        case b"wait":
            os.mkfifo(folder / "pipe")
            (folder / "pipe").read_bytes()
        case b"memory":
            bytes(3 << 30)
        case b"exit":
            os._exit(3)
        case b"index":
            list(data)[99]
    raise DataError("as it should be")


target = Target(run, Bytes())
