"""How a module's forward is called: what it takes, and which of it the example inputs are."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from knight.errors import ScriptError, did_you_mean

_KINDS = inspect.Parameter


def parameters_of(module: nn.Module) -> Mapping[str, inspect.Parameter]:
    """The parameters of forward by name, in order, without self; of TorchScript those of its schema."""
    if not isinstance(module, torch.jit.ScriptModule):
        return inspect.signature(module.forward).parameters
    forward: Any = module.forward
    return {
        argument.name: inspect.Parameter(
            argument.name,
            _KINDS.POSITIONAL_OR_KEYWORD,
            default=argument.default_value if argument.has_default_value() else _KINDS.empty,
        )
        for argument in forward.schema.arguments[1:]
    }


def named(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """Those that have a name of their own, without ``*args`` and ``**kwargs``."""
    collecting = (_KINDS.VAR_POSITIONAL, _KINDS.VAR_KEYWORD)
    return [name for name, parameter in parameters.items() if parameter.kind not in collecting]


def names_of_inputs(
    module: nn.Module, count: int, given: Sequence[str], concrete_args: Mapping[str, Any] | None
) -> list[str]:
    """Names for so many inputs: those that are `given`, then forward's own."""
    parameters = [name for name in parameters_of(module) if name not in (concrete_args or {})]
    found = [*given, *parameters[len(given) :]]
    return (found + [f"input_{i}" for i in range(len(found), count)])[:count]


def arguments(
    module: nn.Module, inputs: Sequence[Any], concrete_args: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """How forward is called: `inputs` for its parameters in order, but for those that are concrete.

    Raises ScriptError for a concrete argument that forward does not have.
    """
    parameters = parameters_of(module)
    kinds = {parameter.kind for parameter in parameters.values()}
    unknown = [name for name in concrete_args if name not in parameters]
    if unknown and _KINDS.VAR_KEYWORD not in kinds:
        raise ScriptError(
            f"concrete_args: forward of {type(module).__name__} has no argument {unknown[0]!r}; "
            f"{did_you_mean(unknown[0], parameters)}"
        )
    names = [name for name in named(parameters) if name not in concrete_args]
    if len(inputs) > len(names):
        return list(inputs), dict(concrete_args)
    keyed = {**dict(zip(names, inputs, strict=False)), **concrete_args}
    args = []  # by place as far as that goes: hooks see no others
    for name, parameter in parameters.items():
        if name not in keyed or parameter.kind in (_KINDS.KEYWORD_ONLY, _KINDS.VAR_KEYWORD):
            break
        args.append(keyed.pop(name))
    return args, keyed


def call(module: nn.Module, inputs: Sequence[torch.Tensor], concrete_args: Mapping[str, Any]) -> Any:
    """What `module` gives for them."""
    args, kwargs = arguments(module, inputs, concrete_args)
    return module(*args, **kwargs)
