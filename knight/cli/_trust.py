"""--allow-pickle: what it reaches beside the converter, and the command that repeats a run with it."""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from knight.errors import KnightError, NeedsTrust

_FLAG = "--allow-pickle"


@contextmanager
def trusting(values: dict[str, Any]) -> Iterator[None]:
    """Inside, scripts may load whole pickles if the user said so; if not, the refusal tells the command.

    Raises NeedsTrust for what is refused.
    """
    from knight.converters._trust import SWITCH, as_refusal

    before = os.environ.get(SWITCH)
    if values["allow_pickle"]:
        os.environ[SWITCH] = "1"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=f"Environment variable {SWITCH}")
            yield
    except KnightError as error:
        refusal = as_refusal(error)
        if not isinstance(refusal, NeedsTrust):
            raise
        raise NeedsTrust(f"{refusal}: {_again(click.get_current_context())}") from error
    finally:
        if before is None:
            os.environ.pop(SWITCH, None)
        else:
            os.environ[SWITCH] = before


def _again(context: click.Context) -> str:
    """The user's own words, and the flag as their command takes it."""
    flag = _FLAG
    while context.parent is not None:
        if context.parent.info_name == "build":
            flag = f"--{context.info_name}.{_FLAG.lstrip('-')}"
        context = context.parent
    return shlex.join(["knight", *sys.argv[1:], flag])
