"""What a stranger's .pt2 or TorchScript archive may hold: numbers, graphs of operators that compute, no code.

torch.export.load unpickles where an archive says so, loads shared objects, evaluates the texts of symbolic
sizes (sympy.sympify) and compiles names into Python source. So everything that it would do that with is read
here first, as data; what passes is written into a clean archive, which alone is loaded: two readers of one
damaged ZIP file may see different members.
"""

from __future__ import annotations

import ast
import io
import json
import pickletools
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from knight.converters.pytorch._operators import check_source, check_targets
from knight.errors import ModelError

_COMPILED = re.compile(r"(^|/)data/aotinductor/|\.(so|dll|dylib|pyd|cubin|o)$")
_OBJECT = ("custom_obj_", "opaque_obj_")
_IDENTIFIER = re.compile(r"\w*")
_QUALIFIED = re.compile(r"[\w.\-/+:@<>,]*")  # nothing that ends a quoted text or begins another statement
_SPEC = re.compile(r"[\w\s.\[\]{}\",:\\/\-]*")
_FREE = frozenset({"as_string", "stack_trace", "nn_module_stack", "torch_fn", "source_fn_stack", "custom"})
"""Keys of texts that are only handed on, or printed."""
_NAMES = frozenset({"name", "as_name", "graph_name"})
_TREES = frozenset({"in_spec", "out_spec"})
_DEEP = 200
_SYMBOL = re.compile(r"[a-z]+\d*|int_oo|zoo|nan")

Members = dict[str, bytes]


def clean_program(path: Path, target: Path) -> Path:
    """A copy of the .pt2 archive `path` that runs no code when it is loaded.

    Raises ModelError naming the member that would.
    """
    members = _read(path)
    for name, content in members.items():
        where = f"model {path}, {name}"
        if _COMPILED.search(name):
            raise _refused(where, "compiled code")
        if name.endswith(".json"):
            _check_json(name, content, members, where)
        elif name.endswith(".pt"):
            check_pickle(content, where)
    return _write(members, target)


def clean_script(path: Path, target: Path) -> Path:
    """Likewise a TorchScript archive: its source text calls only what computes."""
    members = _read(path)
    for name, content in members.items():
        if name.endswith(".py"):
            check_source(content.decode("utf-8", "replace"), f"model {path}, {name}")
        elif _COMPILED.search(name):
            raise _refused(f"model {path}, {name}", "compiled code")
    return _write(members, target)


def _read(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ModelError(f"model {path}: holds {twice[0]!r} twice; save it again")
        try:
            return {name: archive.read(name) for name in names if not name.endswith("/")}
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise ModelError(f"model {path}: damaged, or packed in an unknown way: {error}") from error


def _write(members: Members, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def _refused(where: str, what: str) -> ModelError:
    return ModelError(
        f"{where}: holds {what}, which would run when it is loaded; nothing of it was. Save the model with "
        f"torch.export.save of a new torch, or, if you trust the file, add --allow-pickle"
    )


# Pickles ----------------------------------------------------------------------------------------------


def check_pickle(content: bytes, where: str) -> None:
    """Raises ModelError where loading needs more than torch.load allows with weights_only."""
    import torch

    if not content.startswith(b"PK"):
        raise _refused(where, f"a pickle in an old form ({_first_global(content)})")
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(content))
    except Exception as error:  # torch raises what its parsers raise
        raise ModelError(f"{where}: no file of torch.save: {' '.join(str(error).split())[:200]}") from error
    if names:
        raise _refused(where, f"a pickle that calls {names[0]}")


def _first_global(content: bytes) -> str:
    try:
        for operation, argument, _ in pickletools.genops(content):
            if operation.name in ("GLOBAL", "INST") and argument is not None:
                return f"it calls {str(argument).replace(' ', '.')}"
    except Exception:  # no pickle at all: then that is what is said
        return "unreadable"
    return "it may call anything"


# JSON -------------------------------------------------------------------------------------------------


def _check_json(name: str, content: bytes, members: Members, where: str) -> None:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        if name.startswith("extra") or "/extra/" in name:
            return
        raise ModelError(f"{where}: no JSON: {error}") from error
    if name.endswith("_config.json"):
        _check_payloads(name, document, members, where)
    elif name.endswith("serialized_exported_program.json") or "/models/" in f"/{name}":
        check_program(document, where)
    elif name.startswith("serialized_"):  # weights and constants of the oldest form are pickles in disguise
        raise _refused(where, "a pickle in an old form")


def _check_payloads(name: str, document: Any, members: Members, where: str) -> None:
    """The weights or constants that a config lists: raw numbers, or pickles of tensors."""
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise ModelError(f"{where}: no list of weights; the file is damaged")
    for title, entry in config.items():
        path = str(entry.get("path_name")) if isinstance(entry, dict) else ""
        if "/" in path or path.startswith(_OBJECT):
            raise _refused(f"{where}, {title!r}", f"an object of a class of its own ({path})")
        if entry.get("use_pickle"):
            member = f"{name.rpartition('/')[0]}/{path}"
            if member not in members:
                raise ModelError(f"{where}: {path} is missing; copy the file again")
            check_pickle(members[member], f"{where}, {title!r}")


def check_program(document: Any, where: str) -> None:
    """Raises ModelError for texts in a serialized program that are more than names and operators."""
    for key, text in _texts(document, "", 0):
        check = _CHECKS.get(key, _qualified)
        if key not in _FREE and not check(text):
            raise _refused(where, f"{key or 'a key'} {text[:80]!r}")
    check_targets(_targets(document), where)


def _texts(value: Any, key: str, depth: int) -> Iterator[tuple[str, str]]:
    """Every text with the key that it stands under; keys themselves stand under ""."""
    if depth > _DEEP:
        raise ModelError(f"nested more than {_DEEP} levels deep")
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if key != "metadata":
                yield "", name
            yield from _texts(item, name if key != "metadata" else "custom", depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, key, depth + 1)


def _targets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in ("target", "as_operator") and isinstance(item, str):
                yield item
            else:
                yield from _targets(item)
    elif isinstance(value, list):
        for item in value:
            yield from _targets(item)


def _qualified(text: str) -> bool:
    return _QUALIFIED.fullmatch(text) is not None


def _identifier(text: str) -> bool:
    return _IDENTIFIER.fullmatch(text) is not None


def _tree(text: str) -> bool:
    """The structure of inputs or outputs: JSON whose types import no module."""
    if _SPEC.fullmatch(text) is None:
        return False
    return "__enum__" not in text and "defaultdict" not in text and "default_factory" not in text


def _symbolic(text: str) -> bool:
    """A size in sympy's notation: calls of its classes, symbols, numbers, arithmetic; nothing else."""
    if len(text) > 10_000:
        return False
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(map(_is_symbolic, ast.walk(tree.body)))


def _is_symbolic(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and _is_class(node.func.id)
    if isinstance(node, ast.Name):
        return _SYMBOL.fullmatch(node.id) is not None or _is_class(node.id)
    if isinstance(node, ast.Constant):
        return not isinstance(node.value, str) or _SYMBOL.fullmatch(node.value) is not None
    return isinstance(
        node,
        (ast.BinOp, ast.UnaryOp, ast.Compare, ast.keyword, ast.operator, ast.unaryop, ast.cmpop, ast.Load),
    )


def _is_class(name: str) -> bool:
    import sympy
    from torch.utils._sympy import functions

    found = getattr(functions, name, None) or getattr(sympy, name, None)
    return name in ("oo",) or (
        isinstance(found, type) and issubclass(found, sympy.Basic) and name != "Lambda"
    )


_CHECKS: Mapping[str, Callable[[str], bool]] = {
    **dict.fromkeys(_NAMES, _identifier),
    **dict.fromkeys(_TREES, _tree),
    "expr_str": _symbolic,
}
