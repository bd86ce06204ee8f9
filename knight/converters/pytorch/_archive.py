"""What a stranger's .pt2 or TorchScript archive may hold: numbers, graphs of operators that compute, no code.

torch.export.load unpickles where an archive says so, loads shared objects, evaluates the texts of symbolic
sizes (sympy.sympify) and compiles names into Python source. So everything that it would do that with is read
here first, as data, and written anew: what is loaded is a clean archive, with the members that a program
needs and no others, and its texts as they were understood here. Two readers of one ZIP file may see different
members, and two readers of one text may take it for different things.
"""

from __future__ import annotations

import ast
import io
import json
import keyword
import pickletools
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from knight.converters.pytorch._operators import check_source, check_targets
from knight.errors import ModelError

Members = dict[str, bytes]

_PROGRAM = re.compile(
    r"models/model\.json|data/weights/(weight_\d+|model_weights_config\.json|model\.pt)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json|model\.pt)|data/sample_inputs/model\.pt"
    r"|archive_format|archive_version|version|byteorder|\.data/\w+|\.format_version|\.storage_alignment"
    r"|serialized_(exported_program\.json|state_dict\.pt|constants\.pt|example_inputs\.pt)"
)
"""Members that torch.export.load needs, of the archives of today and of before torch 2.8."""
_SCRIPT = re.compile(
    r"(data|constants)\.pkl|(data|constants)/\d+|code/[\w/]+\.py|version|byteorder|\.data/\w+"
    r"|\.format_version|\.storage_alignment"
)
_COMPILED = re.compile(r"(^|/)data/aotinductor/|\.(so|dll|dylib|pyd|cubin|o)$", re.IGNORECASE)
_OBJECT = ("custom_obj_", "opaque_obj_")
_UNSAFE = re.compile(r"['\"\\`\x00-\x1f\x7f{}]")
"""What ends a quoted name, or begins another line."""
_FREE = frozenset({"as_string", "stack_trace", "nn_module_stack", "torch_fn", "source_fn_stack", "custom"})
"""Keys of texts that are only handed on, or printed."""
_IDENTIFIERS = frozenset({"name", "as_name", "graph_name", "forward_arg_names"})
_DEEP = 200
_SYMBOL = re.compile(r"[a-z]{1,4}\d+|int_oo|oo|zoo|nan|true|false", re.ASCII)
_FUNCTIONS = frozenset(
    {
        "Abs",
        "Add",
        "And",
        "BooleanFalse",
        "BooleanTrue",
        "CeilDiv",
        "CeilToInt",
        "CleanDiv",
        "Eq",
        "Equality",
        "FloatPow",
        "FloatTrueDiv",
        "FloorDiv",
        "FloorToInt",
        "Ge",
        "GreaterThan",
        "Gt",
        "Identity",
        "IntTrueDiv",
        "Integer",
        "IsNonOverlappingAndDenseIndicator",
        "Le",
        "LessThan",
        "Lt",
        "Max",
        "Min",
        "Mod",
        "ModularIndexing",
        "Mul",
        "Ne",
        "Not",
        "Or",
        "Pow",
        "PowByNatural",
        "PythonMod",
        "Rational",
        "RoundDecimal",
        "RoundToInt",
        "StrictGreaterThan",
        "StrictLessThan",
        "Symbol",
        "ToFloat",
        "TruncToFloat",
        "TruncToInt",
        "Unequality",
        "Where",
        "ceiling",
        "floor",
    }
)
"""Of sympy and of torch's own arithmetic of sizes."""
_POWERS = 3
_LARGEST_POWER = 8
_TYPES = frozenset(
    {
        None,
        "builtins.dict",
        "builtins.list",
        "builtins.tuple",
        "collections.OrderedDict",
        "collections.deque",
        "collections.namedtuple",
        "torch.fx.immutable_collections.immutable_dict",
        "torch.fx.immutable_collections.immutable_list",
    }
)


def clean_program(path: Path, target: Path) -> Path:
    """A copy of the .pt2 archive `path` that runs no code when it is loaded.

    Raises ModelError naming the member that would.
    """
    root, members = _read(path)
    kept: Members = {}
    for name, content in members.items():
        where = f"model {path}, {name}"
        if _COMPILED.search(name):
            raise _refused(where, "compiled code")
        if name in ("serialized_state_dict.json", "serialized_constants.json"):
            raise _refused(where, "a pickle in an old form")
        if _PROGRAM.fullmatch(name) is None:
            continue
        if name.endswith(".pt"):
            check_pickle(content, where)
        kept[name] = _CLEANED.get(name.rpartition("/")[2], _as_it_is)(name, content, members, where)
    return _write(root, kept, target)


def clean_script(path: Path, target: Path) -> Path:
    """Likewise a TorchScript archive: its source text calls only what computes."""
    root, members = _read(path)
    kept = {name: content for name, content in members.items() if _SCRIPT.fullmatch(name)}
    for name, content in kept.items():
        if name.endswith(".py"):
            check_source(content.decode("utf-8", "replace"), f"model {path}, {name}")
    return _write(root, kept, target)


def _read(path: Path) -> tuple[str, Members]:
    """The one folder that all members lie in ("" for none), and the members below it."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        alike = [name for name, count in Counter(name.casefold() for name in names).items() if count > 1]
        if alike:
            raise ModelError(f"model {path}: holds {alike[0]!r} twice; save it again")
        try:
            members = {name: archive.read(name) for name in names}
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise ModelError(f"model {path}: damaged, or packed in an unknown way: {error}") from error
    roots = {name.partition("/")[0] for name in names}
    root = roots.pop() if len(roots) == 1 and all("/" in name for name in names) else ""
    return root, {name.removeprefix(f"{root}/") if root else name: members[name] for name in names}


def _write(root: str, members: Members, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(f"{root}/{name}" if root else name, content)
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


# Members that are JSON ---------------------------------------------------------------------------------


def _as_it_is(name: str, content: bytes, members: Members, where: str) -> bytes:
    return content


def _payloads(name: str, content: bytes, members: Members, where: str) -> bytes:
    """The weights or constants that a config lists: raw numbers, or pickles of tensors."""
    document = _parsed(content, where)
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise ModelError(f"{where}: no list of weights; the file is damaged")
    for title, entry in config.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("path_name"), str):
            raise ModelError(f"{where}: {title!r} has no file; the file is damaged")
        path = entry["path_name"]
        if "/" in path or path.startswith(_OBJECT):
            raise _refused(f"{where}, {title!r}", f"an object of a class of its own ({path})")
        if entry.get("use_pickle"):
            member = f"{name.rpartition('/')[0]}/{path}"
            if member not in members:
                raise ModelError(f"{where}: {path} is missing; copy the file again")
            check_pickle(members[member], f"{where}, {title!r}")
    return json.dumps({"config": config}).encode()


def _program(name: str, content: bytes, members: Members, where: str) -> bytes:
    document = _parsed(content, where)
    check_targets(_targets(document), where)
    return json.dumps(_cleaned(document, "", where, 0)).encode()


_CLEANED: Mapping[str, Callable[[str, bytes, Members, str], bytes]] = {
    "model.json": _program,
    "model_constants_config.json": _payloads,
    "model_weights_config.json": _payloads,
    "serialized_exported_program.json": _program,
}


def _parsed(content: bytes, where: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where}: no JSON: {error}") from error


def _targets(value: Any) -> Iterator[str]:
    """The operators of a program."""
    ahead = [value]
    while ahead:
        item = ahead.pop()
        if isinstance(item, Mapping):
            ahead += item.values()
            yield from (item[key] for key in ("target", "as_operator") if isinstance(item.get(key), str))
        elif isinstance(item, list):
            ahead += item


def _cleaned(value: Any, key: str, where: str, depth: int) -> Any:
    """A part of a program, its texts checked and written anew. `key`: that it stands under."""
    if depth > _DEEP:
        raise ModelError(f"{where}: nested more than {_DEEP} levels deep")
    if isinstance(value, str):
        return _text(value, key, where)
    if isinstance(value, list):
        return [_cleaned(item, key, where, depth + 1) for item in value]
    if not isinstance(value, Mapping):
        return value
    if key == "metadata":
        return {name: text for name, text in value.items() if isinstance(text, str)}
    found = {}
    for name, item in value.items():
        _plain(name, "a name", where)
        # guards are Python code; torch makes those that it needs from the sizes, and the proof does the rest
        found[name] = [] if name == "guards_code" else _cleaned(item, name, where, depth + 1)
    return found


def _text(text: str, key: str, where: str) -> str:
    if key in _FREE:
        return text
    if key == "expr_str":
        return _symbolic(text, where)
    if key in ("in_spec", "out_spec"):
        return _tree(text, key, where)
    if key in _IDENTIFIERS:
        _identifier(text, key, where)
    _plain(text, key, where)
    return text


def _plain(text: str, key: str, where: str) -> None:
    """What stands in quotes, if anywhere."""
    if _UNSAFE.search(text):
        raise _refused(where, f"{key or 'a text'} {text[:80]!r}")


def _identifier(text: str, key: str, where: str) -> None:
    """What may become a name in Python source."""
    if (text and not (text.isascii() and text.isidentifier())) or keyword.iskeyword(text):
        raise _refused(where, f"{key} {text[:80]!r}")


# Structures of inputs and outputs ----------------------------------------------------------------------


def _tree(text: str, key: str, where: str) -> str:
    if not text:
        return text
    document = _parsed(text.encode(), where)
    if not (isinstance(document, list) and len(document) == 2 and isinstance(document[0], int)):
        raise ModelError(f"{where}: {key} is no structure of values")
    spec = document[1]
    is_input = key == "in_spec"
    if is_input and isinstance(spec, Mapping):  # (arguments, keyword arguments): these become a function's
        for keywords in spec.get("children_spec", [])[1:2]:
            for name in (
                _texts(_context(keywords.get("context"), where)) if isinstance(keywords, Mapping) else ()
            ):
                _identifier(name, key, where)
    return json.dumps([document[0], _spec(spec, key, where, 0)])


def _spec(spec: Any, key: str, where: str, depth: int) -> Any:
    good = (
        depth <= _DEEP and isinstance(spec, Mapping) and spec.keys() <= {"type", "context", "children_spec"}
    )
    if not good or spec.get("type") not in _TYPES:
        kind = spec.get("type") if isinstance(spec, Mapping) else spec
        raise _refused(where, f"{key} of type {str(kind)[:80]!r}")
    context = _context(spec.get("context"), where)
    if key == "in_spec":
        for name in _texts(context):
            _plain(name, key, where)
    children = spec.get("children_spec") or []
    if not isinstance(children, list):
        raise ModelError(f"{where}: {key} is no structure of values")
    return {
        "type": spec.get("type"),
        "context": json.dumps(context) if isinstance(spec.get("context"), str) else context,
        "children_spec": [_spec(child, key, where, depth + 1) for child in children],
    }


def _context(value: Any, where: str) -> Any:
    """What a structure keeps: keys, a length or a name; nothing that names a class to import."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise _refused(where, f"a structure with {value[:80]!r}") from None
    if not _is_context(value, 0):
        raise _refused(where, f"a structure with {str(value)[:80]!r}")
    return value


def _is_context(value: Any, depth: int) -> bool:
    if isinstance(value, list):
        return depth < _DEEP and all(_is_context(item, depth + 1) for item in value)
    return value is None or isinstance(value, (str, int, float, bool))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


# Sizes -------------------------------------------------------------------------------------------------


def _symbolic(text: str, where: str) -> str:
    """A size in sympy's notation, as it was understood: arithmetic on symbols and numbers, nothing else."""
    wrong = _refused(where, f"a size that is more than arithmetic: {text[:80]!r}")
    if len(text) > 10_000 or not text.isascii():
        raise wrong
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise wrong from None
    nodes = list(ast.walk(tree.body))
    powers = [node for node in nodes if _is_power(node)]
    if not all(map(_is_symbolic, nodes)) or len(powers) > _POWERS or not all(map(_is_small, powers)):
        raise wrong
    return ast.unparse(tree)


def _is_symbolic(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
    if isinstance(node, ast.Name):
        return node.id in _FUNCTIONS or _SYMBOL.fullmatch(node.id) is not None
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return _SYMBOL.fullmatch(node.value) is not None
        return isinstance(node.value, (bool, float)) or (
            isinstance(node.value, int) and node.value.bit_length() <= 64
        )
    arithmetic = (ast.BinOp, ast.UnaryOp, ast.Compare, ast.operator, ast.unaryop, ast.cmpop)
    return isinstance(node, (*arithmetic, ast.keyword, ast.Load))


def _is_power(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, (ast.Pow, ast.LShift))
    names = ("Pow", "PowByNatural", "FloatPow")
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def _is_small(power: ast.AST) -> bool:
    """Whether the exponent is a small number."""
    exponent: ast.AST | None = None
    if isinstance(power, ast.BinOp):
        exponent = power.right
    elif isinstance(power, ast.Call) and power.args:
        exponent = power.args[-1]
    if isinstance(exponent, ast.Call) and len(exponent.args) == 1:  # Integer(2)
        exponent = exponent.args[0]
    if isinstance(exponent, ast.UnaryOp):
        exponent = exponent.operand
    value = exponent.value if isinstance(exponent, ast.Constant) else None
    return isinstance(value, (int, float)) and abs(value) <= _LARGEST_POWER
