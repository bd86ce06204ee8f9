"""What a register function returns: a model, example inputs, and what its user says of both.

A dict (model, inputs, concrete_args, dynamic_axes_inputs, dynamic_axes_outputs), or the older pair of model
and inputs. Inputs may be one, several in order, or several by the names of forward's arguments. An input is a
tensor, or a shape, whose numbers are then random; -1 in a shape leaves a dimension open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from knight.converters._shapes import OPEN, open_axes
from knight.converters.pytorch._calling import named, names_of_inputs, parameters_of
from knight.converters.pytorch._loaded import Axes, Loaded, random_input, ready
from knight.errors import ScriptError, did_you_mean
from knight.listener import Listener

KEYS = ("model", "inputs", "concrete_args", "dynamic_axes_inputs", "dynamic_axes_outputs")


def as_loaded(result: Any, shapes: Sequence[Sequence[int]], where: str, listener: Listener) -> Loaded:
    """What the register function at `where` returned. Raises ScriptError naming the part that does not fit.

    shapes: those of -is, for a function that returns no inputs.
    """
    result = _as_dict(result, shapes, where)
    given = result["model"]
    if not isinstance(given, nn.Module):
        raise ScriptError(f"{where}: 'model' is {_kind(given)}, wanted a torch.nn.Module")
    module = ready(given, listener)
    concrete = _concrete(module, result.get("concrete_args"), where, listener)
    values, left_out = _in_order(module, result["inputs"], concrete, where)
    concrete = {**left_out, **concrete}
    inputs = _inputs(values, where)
    axes = _axes(result.get("dynamic_axes_inputs"), "dynamic_axes_inputs", where)
    if axes and len(axes) != len(inputs):
        raise ScriptError(
            f"{where}: dynamic_axes_inputs names {len(axes)} inputs and there are {len(inputs)}; "
            f"give one entry for each"
        )
    _check_axes(axes, inputs, where)
    names = names_of_inputs(module, len(inputs), list(axes), concrete)
    opened = {
        name: open_axes(name, value) for name, value in zip(names, values, strict=True) if is_shape(value)
    }
    return Loaded(
        module=module,
        inputs=inputs,
        concrete_args=concrete,
        input_names=list(axes),
        output_names=list(_axes(result.get("dynamic_axes_outputs"), "dynamic_axes_outputs", where)),
        dynamic_axes={**opened, **{name: {**opened.get(name, {}), **given} for name, given in axes.items()}},
    )


def _as_dict(result: Any, shapes: Sequence[Sequence[int]], where: str) -> Mapping[str, Any]:
    if isinstance(result, nn.Module) and shapes:
        result = {"model": result}
    if isinstance(result, (tuple, list)) and len(result) == 2:
        result = dict(zip(KEYS, result, strict=False))
    if not isinstance(result, Mapping):
        raise ScriptError(
            f"{where} returned {_kind(result)}; it has to return "
            f'{{"model": model, "inputs": [tensors]}} or the pair (model, inputs)'
        )
    for key in result:
        if key not in KEYS:
            raise ScriptError(f"{where}: unknown key {key!r}: {did_you_mean(str(key), KEYS)}")
    if result.get("inputs") is None and shapes:
        result = {**result, "inputs": [list(shape) for shape in shapes]}
    for key in ("model", "inputs"):
        if result.get(key) is None:
            raise ScriptError(f"{where} returned no {key!r}; it has to return the model and example inputs")
    read: Mapping[str, Any] = result
    return read


def _concrete(module: nn.Module, given: Any, where: str, listener: Listener) -> dict[str, Any]:
    """The concrete arguments that forward has by name; the others are named in a warning."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ScriptError(f"{where}: 'concrete_args' is {_kind(given)}, wanted a dict of forward's arguments")
    known = named(parameters_of(module))
    foreign = [str(name) for name in given if name not in known]
    if foreign:
        listener.warn(
            f"{where}: concrete_args {', '.join(foreign)} ignored: forward of {type(module).__name__} has no "
            f"argument of that name (it has {', '.join(known) or 'none'})"
        )
    return {name: value for name, value in given.items() if name in known}


def _in_order(
    module: nn.Module, given: Any, concrete: Mapping[str, Any], where: str
) -> tuple[list[Any], dict[str, Any]]:
    """The inputs in the order of forward, and the arguments between them that are None or not given."""
    names = [name for name in named(parameters_of(module)) if name not in concrete]
    if not isinstance(given, Mapping):
        values = [given] if isinstance(given, torch.Tensor) or is_shape(given) else given
        values = list(values) if isinstance(values, (list, tuple)) else [values]
        left_out = {name: None for name, value in zip(names, values, strict=False) if value is None}
        return [value for value in values if value is not None or len(names) < len(values)], left_out
    for name in given:
        if name not in names:
            raise ScriptError(
                f"{where}: inputs names {name!r}, which forward has not: {did_you_mean(str(name), names)}"
            )
    parameters = parameters_of(module)
    there = [name for name in names if given.get(name) is not None]
    skipped = names[: names.index(there[-1])] if there else []
    return [given[name] for name in there], {
        name: None if name in given else parameters[name].default for name in skipped if name not in there
    }


def is_shape(value: Any) -> bool:
    """Whether an input is whole numbers alone, as a torch.Size is."""
    return (
        isinstance(value, (list, tuple))
        and bool(value)
        and all(isinstance(size, int) and not isinstance(size, bool) for size in value)
    )


def _inputs(values: Sequence[Any], where: str) -> list[torch.Tensor]:
    """Raises ScriptError for an input that is neither a tensor nor a shape."""
    if not values:
        raise ScriptError(f"{where}: 'inputs' is empty; give one example tensor per input")
    found = []
    for number, value in enumerate(values):
        if is_shape(value):
            if any(size < 1 and size != OPEN for size in value):
                raise ScriptError(
                    f"{where}: input {number + 1} has shape {list(value)}; sizes are at least 1, or -1"
                )
            value = random_input(value, number)
        if not isinstance(value, torch.Tensor):
            raise ScriptError(
                f"{where}: input {number + 1} is {_kind(value)}, wanted a torch.Tensor "
                f"(torch.from_numpy(array), or concrete_args for what is no tensor)"
            )
        found.append(value.detach().cpu())
    return found


def _axes(given: Any, key: str, where: str) -> Axes:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(
        isinstance(axes, (Mapping, list, tuple)) for axes in given.values()
    ):
        raise ScriptError(f"{where}: {key} has to be a dict such as {{'input': {{0: 'batch_size'}}}}")
    return {
        str(name): dict(axes) if isinstance(axes, Mapping) else {axis: f"{name}_{axis}" for axis in axes}
        for name, axes in given.items()
    }


def _check_axes(axes: Axes, inputs: Sequence[torch.Tensor], where: str) -> None:
    for (name, opened), value in zip(axes.items(), inputs, strict=False):
        for axis in opened:
            if not isinstance(axis, int) or not 0 <= axis < value.ndim:
                raise ScriptError(
                    f"{where}: dynamic_axes_inputs[{name!r}] names axis {axis!r} "
                    f"of a tensor with {value.ndim} axes"
                )


def _kind(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__module__}.{type(value).__name__}".replace("builtins.", "")
