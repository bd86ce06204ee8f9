"""Translations of torch's functions, methods and leaf modules, found by the names that users write.

A handler is called with the arguments of the traced call: tensors and sizes that are only known at run time
are `ir.Value`, everything else is plain Python. Its signature is torch's own.
"""

from __future__ import annotations

import importlib
import operator
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

Handler = Callable[..., Any]
F = TypeVar("F", bound=Handler)

_HANDLERS: dict[str, Handler] = {}
METHOD, MODULE, OPERATOR = "Tensor.", "module ", "operator."


def translates(*names: str) -> Callable[[F], F]:
    """Registers a handler for ``torch.x``, ``torch.nn.functional.x``, ``Tensor.x``, ``operator.x``,
    ``module x``.

    Raises ValueError where a name has a handler already.
    """

    def register(handler: F) -> F:
        for name in names:
            if name in _HANDLERS:
                raise ValueError(f"{name} is translated twice")
            _HANDLERS[name] = handler
        return handler

    return register


def everywhere(name: str) -> tuple[str, ...]:
    """A function that torch offers in every form: ``torch.x``, ``Tensor.x``, ``Tensor.x_`` and functional."""
    places = (f"torch.{name}", f"torch.nn.functional.{name}", f"{METHOD}{name}")
    return (*places, f"torch.{name}_", f"torch.nn.functional.{name}_", f"{METHOD}{name}_")


def names() -> tuple[str, ...]:
    """All names that have a translation, sorted; imports every module of this package, but not torch."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return tuple(sorted(_HANDLERS))


@cache
def table() -> Mapping[object, Handler]:
    """Handlers by what a traced graph refers to: functions themselves, method names, module types."""
    found: dict[object, Handler] = {}
    for name in names():
        handler = _HANDLERS[name]
        if name.startswith(METHOD):
            found[name.removeprefix(METHOD)] = handler
        target = _resolve(name)
        if target is not None:
            found.setdefault(target, handler)
    return found


def _resolve(name: str) -> object | None:
    """The object called `name`, None where this torch has none of that name."""
    import torch

    if name.startswith(OPERATOR):
        function: object | None = getattr(operator, name.removeprefix(OPERATOR), None)
        return function
    path = name.removeprefix(MODULE).removeprefix("torch.")
    found: object | None = torch
    for part in path.split("."):
        found = getattr(found, part, None)
    return found
