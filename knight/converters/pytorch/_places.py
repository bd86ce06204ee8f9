"""Whose code is running: the user's, whose lines messages name, or a library's."""

from __future__ import annotations

import linecache
import sys
import sysconfig
from pathlib import Path

import torch
from torch import nn

_TORCH, _STDLIB = str(Path(torch.__file__).parent), sysconfig.get_path("stdlib")
_LAYERS = str(Path(nn.__file__).parent)
_OWN = (str(Path(__file__).parent), _TORCH, _STDLIB)


def user_place(error: BaseException | None = None) -> str:
    """``file:line`` of the innermost code that is neither torch's, Python's nor Knight's."""
    frames: list[tuple[str, int]] = []
    if error is None:
        frame = sys._getframe(1)
        while frame is not None:
            frames.append((frame.f_code.co_filename, frame.f_lineno))
            frame = frame.f_back  # type: ignore[assignment]
    else:
        step = error.__traceback__
        while step is not None:
            frames.insert(0, (step.tb_frame.f_code.co_filename, step.tb_lineno))
            step = step.tb_next
    for file, line in frames:
        if not file.startswith((*_OWN, "<")) or (
            "site-packages" in file.partition(_OWN[2])[2] and not file.startswith(_OWN[:2])
        ):
            return f"{file}:{line}"
    return ""


def is_assert(place: str) -> bool:
    """Whether the line at `place` (``file:line``) is an assert statement."""
    file, _, line = place.rpartition(":")
    return line.isdigit() and linecache.getline(file, int(line)).lstrip().startswith("assert")


def called_by_torch() -> bool:
    """Whether the caller's caller is torch's own code, which makes tensors for itself."""
    return sys._getframe(2).f_code.co_filename.startswith(_TORCH)


def asked_by_library(depth: int) -> bool:
    """Whether the code `depth` frames up is Knight's or torch's own, torch.nn's layers left out."""
    caller = sys._getframe(depth + 1).f_code
    file = caller.co_filename
    own = file.startswith(_OWN[:2]) and not file.startswith(_LAYERS)
    return own and caller.co_name != "is_tensor"
