"""Pickles that run code when torch loads them: what is said of one, and of a script that wants to load one.

torch loads tensors and plain containers unless a call says ``weights_only=False``. A whole pickled model
needs its classes, so that its file is refused without ``--allow-pickle``.
"""

from __future__ import annotations

import pickle
import re

from knight.errors import KnightError, NeedsTrust
from knight.executor import place

_WANTS = re.compile(r"(?:Unsupported global: )?GLOBAL (\S+)|Unsupported (?:class|global|operand)[^\n]*")
SWITCH = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""torch's own: calls of torch.load that do not say weights_only load everything."""


def refused_pickle(error: BaseException, file: str, where: str) -> NeedsTrust:
    """The error for a file that wants to run code while it is loaded."""
    found = _WANTS.search(str(error))
    wants = (found[1] or found[0]) if found else "code of its own"
    return NeedsTrust(
        f"weights {file}: loading them would run {wants.rstrip('.')} ({where}); save the state_dict alone, "
        f"or, if you trust the file, add --allow-pickle"
    )


def as_refusal(error: KnightError, file: str = "that the script loads") -> KnightError:
    """`error`, or what it comes from: torch's refusal of a pickle, `file`, that a user's script loads."""
    cause = error.__cause__
    if (
        not isinstance(error, NeedsTrust)
        and isinstance(cause, pickle.UnpicklingError)
        and _WANTS.search(str(cause))
    ):
        return refused_pickle(cause, file, place(cause))
    return error
