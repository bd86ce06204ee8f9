"""A torch model as it came in, ready to be converted, and eager torch as the reference of the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from knight.converters import Feeds
from knight.converters._shapes import filled
from knight.converters.pytorch._calling import call
from knight.listener import Listener

Axes = Mapping[str, Mapping[int, str]]


@dataclass(frozen=True)
class Loaded:
    """A module with all that its user said of it.

    inputs: example tensors in the order of forward. concrete_args: arguments of forward that are no tensors.
    input_names, output_names: as far as the user named them. dynamic_axes: names of open dimensions.
    """

    module: nn.Module
    inputs: Sequence[torch.Tensor]
    concrete_args: Mapping[str, Any] = field(default_factory=dict)
    input_names: Sequence[str] = ()
    output_names: Sequence[str] = ()
    dynamic_axes: Axes = field(default_factory=dict)


def ready(module: nn.Module, listener: Listener) -> nn.Module:
    """`module` on the CPU, in eval mode, out of its DataParallel."""
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        module = module.module
    for part in module.modules():
        if hasattr(part, "disable_observer") and hasattr(part, "fake_quant_enabled"):
            part.disable_observer()  # type: ignore[operator]  # what was observed is final from here on
    if module.training:
        listener.detail("the model was in training mode; it is converted as model.eval() leaves it")
    return module.cpu().eval()


def random_input(shape: Sequence[int], seed: int = 0) -> torch.Tensor:
    """Normal numbers; a -1 of `shape` becomes a size to try."""
    return torch.randn(filled(shape), generator=torch.Generator().manual_seed(seed))


def tensors(values: Any) -> list[torch.Tensor]:
    """The tensors in nested tuples, lists and dicts, in order; None is left out, numbers become tensors."""
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, (tuple, list)):
        return [tensor for value in values for tensor in tensors(value)]
    if values is None:
        return []
    return [values if isinstance(values, torch.Tensor) else torch.tensor(values)]


def reference_of(loaded: Loaded, names: Sequence[str]) -> Callable[[Feeds], list[np.ndarray]]:
    """Eager torch on feeds by the ONNX inputs' `names`."""

    def reference(feeds: Feeds) -> list[np.ndarray]:
        with torch.no_grad():
            given = [torch.from_numpy(np.array(feeds[name])) for name in names]
            return [tensor.numpy() for tensor in tensors(call(loaded.module, given, loaded.concrete_args))]

    return reference


def layer_probe(
    loaded: Loaded, names: Sequence[str]
) -> Callable[[Feeds, Sequence[str]], Mapping[str, np.ndarray]]:
    """What the submodules give, under their paths, which are the names of the ONNX values after them."""

    def probe(feeds: Feeds, wanted: Sequence[str]) -> Mapping[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}

        def hook(path: str) -> Any:
            def keep(module: nn.Module, args: Any, result: Any) -> None:
                if isinstance(result, torch.Tensor) and path not in found:
                    found[path] = result.detach().clone().numpy()

            return keep

        paths = dict(loaded.module.named_modules())
        handles = [paths[path].register_forward_hook(hook(path)) for path in wanted if path in paths]
        try:
            reference_of(loaded, names)(feeds)
        finally:
            for handle in handles:
                handle.remove()
        return found

    return probe
