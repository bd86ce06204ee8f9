"""Which of Paddle's operators a stranger's program may hold: those that compute.

Some read and write files, talk to other machines, call Python or hand parts of the program to other engines.
They are looked for in the program as it lies in the file, blocks within blocks included, before Paddle loads
any of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from knight.errors import ModelError

_REFUSED = re.compile(
    r"""
      save(_.*)? | load(_.*)? | read | read_file | create_.*reader | .*_reader
    | py_func | py_layer.* | run_program | cinn_.* | .*_engine
    | c_.* | comm_.* | (?!graph_).*(send|recv).* | .*barrier | global_(gather|scatter) | .*allreduce.*
    | (push|pull)_.* | .*listen_and_serv.* | distributed_.* | heter_.* | .*notify
    """,
    re.VERBOSE,
)
_DIALECTS = frozenset({"0", "1", "2", "builtin", "pd_op", "cf"})
"""Of operators that Paddle itself brings; those of others call what is registered by their name."""


def check_operators(names: Iterable[str], where: str) -> None:
    """Raises ModelError for the first of `names` that does more than compute, or that Paddle does not bring.

    names: such as ``conv2d``; those of other dialects with it, as in ``custom_op.conv``.
    """
    for name in names:
        if "." in name or _REFUSED.fullmatch(name.rstrip("_")):
            raise ModelError(
                f"{where}: holds the operator {name}, which does more than compute, so nothing of it was "
                f"run; save the network for inference, without it"
            )


def names_of_json(data: Any) -> Iterator[str]:
    """Of all operations in a JSON program, as `check_operators` takes them.

    Raises KeyError, TypeError or AttributeError where `data` is no program.
    """
    ahead = [data["program"]]
    while ahead:
        holder = ahead.pop()
        for region in holder.get("regions", ()):
            for block in region["blocks"]:
                for op in block["ops"]:
                    ahead.append(op)
                    dialect, _, name = op["#"].partition(".")
                    if name:
                        yield name if dialect in _DIALECTS else op["#"]
