"""What Keras calls a layer, by the path that TensorFlow calls it.

Keras 3 opens the scope of a layer twice when it builds a graph, and TensorFlow numbers what is opened again:
layer ``conv2d`` becomes ``conv2d_1``, and ``conv2d_1`` becomes ``conv2d_1_2``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_NUMBERED = re.compile(r"(.+)_\d+")


def renamed(name: str, scopes: Mapping[str, str]) -> str:
    """`name` (``a/b/c``) with each folder called as `scopes` says of its path; '' drops the folder."""
    parts = name.split("/")
    paths = ["/".join(parts[: depth + 1]) for depth in range(len(parts) - 1)]
    folders = [scopes.get(path, part) for path, part in zip(paths, parts, strict=False)]
    return "/".join([*(folder for folder in folders if folder), parts[-1]])


@contextmanager
def recorded(model: Any) -> Iterator[dict[str, str]]:
    """Fills the dictionary with the scope of every layer of `model` that is called inside the block.

    The model itself gets no name. What is called again gets a number that no layer has.
    """
    scopes: dict[str, str] = {}
    layers = list(model._flatten_layers())
    known = {layer.name for layer in layers}
    for layer in layers:
        layer.call = _noting(layer, "" if layer is model else layer.name, known, scopes)
    try:
        yield scopes
    finally:
        for layer in layers:
            del layer.call  # the method of the class is seen again


def _noting(layer: Any, name: str, known: set[str], scopes: dict[str, str]) -> Callable[..., Any]:
    import tensorflow as tf

    method = layer.call

    @functools.wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        scope = tf.get_current_name_scope()
        if scope and scope not in scopes:
            siblings = {scopes[other] for other in scopes if _parent(other) == _parent(scope)}
            scopes[scope] = _free(name, siblings, known) if name in siblings else name
        return method(*arguments, **options)

    return call


def _parent(scope: str) -> str:
    return scope.rpartition("/")[0]


def _free(name: str, siblings: set[str], known: set[str]) -> str:
    number = 1
    while f"{name}_{number}" in siblings | known:
        number += 1
    return f"{name}_{number}"


def guessed(nodes: Iterable[str], variables: Iterable[str]) -> dict[str, str]:
    """The scopes of a SavedModel: numbers go where the names of `variables` show that Keras 3 added them."""
    scopes = {path for node in nodes for path in _folders(node)}
    known = {part for name in variables for part in name.split("/")[:-1]}
    present = {path.rpartition("/")[2] for path in scopes}
    bare = {_unnumbered(part) for part in present}
    if len(known & bare) <= len(known & present):
        return {}
    found: dict[str, str] = {}
    taken: set[tuple[str, str]] = set()
    for path in sorted(scopes, key=lambda path: (len(path), path)):  # earlier calls have smaller numbers
        own, parent = path.rpartition("/")[2], _parent(path)
        name = _unnumbered(own) if (parent, _unnumbered(own)) not in taken else own
        taken.add((parent, name))
        found[path] = name
    return found


def _unnumbered(part: str) -> str:
    match = _NUMBERED.fullmatch(part)
    return match[1] if match else part


def _folders(node: str) -> list[str]:
    parts = node.split("/")[:-1]
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
