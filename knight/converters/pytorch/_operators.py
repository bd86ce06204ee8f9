"""Which of torch's operators a stranger's program may hold: those that compute.

A few read and write files, call other machines, or Python by name. They are looked for before anything of the
program runs, also in what runs while it is loaded.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from knight.errors import ModelError, NeedsTrust

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

_ARITHMETIC = (
    "abs add and_ ceil eq exp floor floordiv ge getitem gt index invert le log log2 lshift lt max min mod "
    "mul ne neg not_ or_ pos pow rshift sqrt sub truediv trunc truth xor"
)
_TARGET = re.compile(
    r"torch\.ops\.(?P<space>[a-z]\w*)\.(?P<name>(?!__)\w+|__i?(and|or|xor|lshift|rshift)__)(\.(?!__)\w+)?"
    rf"|(_operator|math)\.({'|'.join(_ARITHMETIC.split())})"
    r"|torch\._?sym_(?!_)\w+",
    re.ASCII,
)
_NAMES = frozenset(name.partition("::")[2] for name in REFUSED)


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
    """The same for TorchScript code, before it is loaded: some of it runs then.

    An operator is called by its whole name, ``torch.relu(`` or ``ops.aten.relu(``: a name that is only
    mentioned could be called by another.
    """
    tokens = list(_tokens(text, where))
    for place, (kind, word) in enumerate(tokens):
        before = tokens[place - 1][1] if place else ""
        if kind == tokenize.STRING:
            _check_text(word, where)
        elif word in _NAMES and before == "." and tokens[place - 2][1] != "self":
            raise refused(word, where)
        elif word == "classes" and before == "." and tokens[place + 2 : place + 3][0][1] not in CLASSES:
            raise refused(f"torch.classes.{tokens[place + 2][1]}", where)
        elif word in ("torch", "ops") and before != ".":
            _check_call(_chain(tokens, place), where)


def _tokens(text: str, where: str) -> Iterator[tuple[int, str]]:
    """Kind and text of each word. Raises ModelError for what is no such code."""
    kinds = (tokenize.NAME, tokenize.OP, tokenize.STRING, tokenize.NUMBER)
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            strange = token.type == tokenize.ERRORTOKEN and token.string.strip()
            if strange or (token.type == tokenize.NAME and not token.string.isascii()):
                raise ModelError(f"{where}: no TorchScript code: {token.string!r}")
            if token.type in kinds:
                yield token.type, token.string
    except (tokenize.TokenError, SyntaxError) as error:
        raise ModelError(f"{where}: no TorchScript code: {error}") from error


def _check_text(word: str, where: str) -> None:
    """A text may be a name, in ``getattr(module, "0")``."""
    try:
        value = ast.literal_eval(word)
    except (SyntaxError, ValueError):
        raise ModelError(f"{where}: no TorchScript code: {word[:40]!r}") from None
    if value in _NAMES | {"aten", "ops", "torch"}:
        raise refused(str(value), where)


def _chain(tokens: Sequence[tuple[int, str]], place: int) -> list[str]:
    """``torch . nn . relu (`` as a list of its words, with what comes behind it at the end."""
    words = [tokens[place][1]]
    place += 1
    while place + 1 < len(tokens) and tokens[place][1] == ".":
        words.append(tokens[place + 1][1])
        place += 2
    return [*words, tokens[place][1] if place < len(tokens) else ""]


def _check_call(chain: Sequence[str], where: str) -> None:
    *words, behind = chain
    if words[0] == "ops":
        good = len(words) == 3 and behind == "(" and _computes(words[1], words[2])
    else:
        good = len(words) > 1 and behind == "(" and _NAMES.isdisjoint(words)
    if not good:
        raise refused(".".join(words), where)


def check_kinds(kinds: Iterable[str], where: str) -> None:
    """The same for the operators of a graph that is loaded, such as ``aten::relu``, before it is run."""
    for kind in kinds:
        space, _, name = kind.partition("::")
        if not _computes(space, name):
            raise refused(kind, where)


def kinds_of(module: Any) -> Iterator[str]:
    """The operators of all methods of a loaded TorchScript module, with those of the functions they call."""
    for part in module.modules():
        for name in part._c._method_names():
            graph = part._c._get_method(name).inlined_graph  # a copy, gone with this name
            ahead = [graph]
            while ahead:
                for node in ahead.pop().nodes():
                    yield node.kind()
                    ahead += node.blocks()


def refused(name: str, where: str) -> NeedsTrust:
    """The error for an operator that does more than compute."""
    return NeedsTrust(
        f"{where}: holds the operator {name}, which is not known to compute and nothing else (some read and "
        f"write files); nothing of it was run. Export the model without it, or, if you trust the file, add "
        f"--allow-pickle"
    )


def would_run(where: str, what: str) -> NeedsTrust:
    """The error for a part of an archive that torch would run while it loads it."""
    return NeedsTrust(
        f"{where}: holds {what}, which would run when it is loaded; nothing of it was. Save the model with "
        f"torch.export.save of a new torch, or, if you trust the file, add --allow-pickle"
    )
