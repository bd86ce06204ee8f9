"""Judges a translation: eager torch and ONNX Runtime give the same, at every batch that is left open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from knight.converters import Conversion
from knight.converters.pytorch._fx import convert_module
from knight.listener import SILENT, Listener
from tests.converters.checks import assert_same

torch.set_num_threads(1)


class Calls(nn.Module):
    """A module whose forward is `function`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: torch.Tensor) -> Any:
        return self.function(*args)


def flat(values: Any) -> list[torch.Tensor]:
    """The tensors in nested tuples, lists and dicts, in order."""
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, (tuple, list)):
        return [tensor for value in values for tensor in flat(value)]
    return [] if values is None else [values if isinstance(values, torch.Tensor) else torch.tensor(values)]


def conversion_of(
    module: nn.Module,
    inputs: Sequence[torch.Tensor],
    *,
    dynamic: bool = True,
    concrete_args: Mapping[str, Any] | None = None,
    listener: Listener = SILENT,
) -> Conversion:
    """`module` through fx, with eager torch as its reference; `dynamic` opens the batch of all inputs."""
    names = [f"x{i}" for i in range(len(inputs))]
    axes = {name: {0: "batch"} for name in names} if dynamic else {}
    model, probe = convert_module(
        module,
        inputs,
        input_names=names,
        dynamic_axes=axes,
        concrete_args=concrete_args,
        listener=listener,
    )

    def reference(feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            given = [torch.from_numpy(feeds[name].copy()) for name in names]
            return [tensor.numpy() for tensor in flat(module(*given, **dict(concrete_args or {})))]

    return Conversion(model, reference, probe=probe)


def check(
    function: Callable[..., Any] | nn.Module,
    *inputs: torch.Tensor,
    dynamic: bool = True,
    tolerance: float = 1e-5,
    feeds: Mapping[str, np.ndarray] | None = None,
) -> ir.Model:
    """Converts `function` and compares; the inputs themselves are fed too. Gives the model."""
    module = function.eval() if isinstance(function, nn.Module) else Calls(function).eval()
    conversion = conversion_of(module, inputs, dynamic=dynamic)
    given = {f"x{i}": value.numpy().copy() for i, value in enumerate(inputs)}
    assert_same(conversion, given, tolerance=tolerance)
    mixed = np.random.default_rng(0)
    others = {
        name: mixed.permutation(array.reshape(-1)).reshape(array.shape) for name, array in given.items()
    }
    assert_same(conversion, others, tolerance=tolerance)  # nothing of the examples is baked in
    if dynamic:
        more = {
            name: np.concatenate([array, array[:1] * 1, array])[: len(array) + 2]
            for name, array in given.items()
        }
        assert_same(conversion, more, tolerance=tolerance)
    return conversion.model
