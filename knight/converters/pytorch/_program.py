"""The serialized program of a .pt2 archive, as data: operators that compute, texts that are only names.

torch compiles some of its names into Python source, imports what its structures of inputs and outputs name,
and evaluates its sizes. Each text is checked by the key that it stands under, and written anew.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterator, Mapping
from typing import Any

from knight.converters.pytorch import _sizes
from knight.converters.pytorch._operators import check_targets, would_run
from knight.errors import ModelError

_UNSAFE = re.compile(r"['\"\\`\x00-\x1f\x7f{}]")
"""What ends a quoted name, or begins another line."""
_FREE = frozenset({"as_string", "stack_trace", "nn_module_stack", "torch_fn", "source_fn_stack", "custom"})
"""Keys of texts that are only handed on, or printed."""
_IDENTIFIERS = frozenset({"name", "as_name", "graph_name", "forward_arg_names"})
_DEEP = 200
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


def clean(content: bytes, where: str) -> bytes:
    """The JSON of a program that runs no code when it is loaded.

    Raises ModelError naming the text that would.
    """
    document = parsed(content, where)
    check_targets(_targets(document), where)
    return json.dumps(_cleaned(document, "", where, 0)).encode()


def parsed(content: bytes, where: str) -> Any:
    """The document in `content`. Raises ModelError where there is none."""
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
        size = _sizes.understood(text)
        if size is None:
            raise would_run(where, f"a size that is more than arithmetic: {text[:80]!r}")
        return size
    if key in ("in_spec", "out_spec"):
        return _tree(text, key, where)
    if key in _IDENTIFIERS:
        _identifier(text, key, where)
    _plain(text, key, where)
    return text


def _plain(text: str, key: str, where: str) -> None:
    """What stands in quotes, if anywhere."""
    if _UNSAFE.search(text):
        raise would_run(where, f"{key or 'a text'} {text[:80]!r}")


def _identifier(text: str, key: str, where: str) -> None:
    """What may become a name in Python source."""
    if (text and not (text.isascii() and text.isidentifier())) or keyword.iskeyword(text):
        raise would_run(where, f"{key} {text[:80]!r}")


# Structures of inputs and outputs ----------------------------------------------------------------------


def _tree(text: str, key: str, where: str) -> str:
    if not text:
        return text
    document = parsed(text.encode(), where)
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
        raise would_run(where, f"{key} of type {str(kind)[:80]!r}")
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
            raise would_run(where, f"a structure with {value[:80]!r}") from None
    if not _is_context(value, 0):
        raise would_run(where, f"a structure with {str(value)[:80]!r}")
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
