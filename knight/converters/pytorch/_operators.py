"""Which of torch's operators a stranger's program may hold: those that compute.

A few read and write files, call other machines, or Python by name. They are looked for before anything of the
program runs, also in what runs while it is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from knight.errors import ModelError

NAMESPACES = frozenset({"aten", "prim", "prims", "quantized", "quantized_decomposed", "torchvision"})
REFUSED = frozenset(
    {
        "aten::from_file",
        "aten::save",
        "prim::IgnoredPythonOp",
        "prim::PythonOp",
        "prim::rpc_async",
        "prim::rpc_remote",
        "prim::rpc_sync",
    }
)
CONTROL = frozenset({"associative_scan", "cond", "map_impl", "scan", "while_loop"})
"""Higher-order operators; torch.export writes two more, which only set a mode around a part of the graph."""
MODES = frozenset({"wrap_with_autocast", "wrap_with_set_grad_enabled"})
CLASSES = frozenset({"quantized", "sparse", "xnnpack"})
"""Namespaces of torch.classes that hold packed weights; others open stores and connections."""

_TARGET = re.compile(
    r"torch\.ops\.(?P<space>\w+)\.(?P<name>\w+)(\.\w+)?|_operator\.\w+|math\.\w+|torch\._?sym_\w+"
)
_NOISE = r"(?:\s|\\|#[^\n]*\n)*"  # what may stand between the words of a source text
_CALLED = re.compile(
    rf"\.{_NOISE}({'|'.join(sorted(name.partition('::')[2] for name in REFUSED))})\b{_NOISE}\("
)
_SPACE = re.compile(rf"\bops{_NOISE}\.{_NOISE}(\w+){_NOISE}\.{_NOISE}(\w+)")
_CLASS = re.compile(rf"\btorch{_NOISE}\.{_NOISE}classes{_NOISE}\.{_NOISE}(\w+)")


def check_targets(targets: Iterable[str], where: str) -> None:
    """Raises ModelError for the first operator of a torch.export program that does more than compute."""
    for target in targets:
        found = _TARGET.fullmatch(target)
        if found is None or not _computes(found["space"], found["name"]):
            raise refused(target, where)


def _computes(space: str | None, name: str) -> bool:
    if space is None:
        return True
    if space == "higher_order":
        return name in CONTROL | MODES
    return space in NAMESPACES and f"{space}::{name}" not in REFUSED


def check_source(text: str, where: str) -> None:
    """The same for TorchScript code, as text: whatever calls such an operator has to write its name."""
    if called := _CALLED.search(text):
        raise refused(called[1], where)
    for found in _SPACE.finditer(text):
        if not _computes(found[1], found[2]):
            raise refused(f"{found[1]}::{found[2]}", where)
    for found in _CLASS.finditer(text):
        if found[1] not in CLASSES:
            raise refused(f"torch.classes.{found[1]}", where)


def refused(name: str, where: str) -> ModelError:
    """The error for an operator that does more than compute."""
    return ModelError(
        f"{where}: holds the operator {name}, which is not known to compute and nothing else (some read and "
        f"write files); nothing of it was run. Export the model without it, or, if you trust the file, add "
        f"--allow-pickle"
    )
