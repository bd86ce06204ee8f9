"""Patches as JSON: the new numbers that optimizers found, beside the parameters that go with them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import numpy as np
import onnx_ir as ir

from knight.errors import ConfigError, printable, wrong_value
from knight.scales.numbers import Numbers, Size, numbers, short
from knight.schema import Table, wants
from knight.types import FloatArray, Patch, QuantPlan


class Floats(Table, frozen=True):
    """A float32 array. values: in C order."""

    shape: Annotated[tuple[Size, ...], msgspec.Meta(max_length=8), wants("a list of at most 8 sizes")]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if math.prod(self.shape) != len(self.values):
            wanted = f"of {len(self.values)} numbers, as values has"
            raise ValueError(f"shape: {wrong_value(list(self.shape), wanted)}")
        with np.errstate(over="ignore"):
            finite = np.isfinite(np.asarray(self.values, np.float64).astype(np.float32)).all()
        if not finite:
            raise ValueError("values: holds a number that is no float32; optimize again")

    def array(self) -> FloatArray:
        """The same as an array."""
        return np.asarray(self.values, np.float64).astype(np.float32).reshape(self.shape)


class PatchDocument(Table, frozen=True):
    """As `Patch`."""

    constants: dict[str, Floats]
    biases: dict[str, Floats]
    activations: dict[str, Numbers]
    weights: dict[str, Numbers]
    moved: tuple[str, ...]

    def patch(self) -> Patch:
        """The same as a `Patch`."""
        return Patch(
            {name: floats.array() for name, floats in self.constants.items()},
            {name: floats.array() for name, floats in self.biases.items()},
            {key: entry.params() for key, entry in self.activations.items()},
            {key: entry.params() for key, entry in self.weights.items()},
            frozenset(self.moved),
        )


def patch_keys(patch: Patch) -> dict[str, Any]:
    """The keys of `PatchDocument`."""
    return {
        "constants": {name: _floats(array) for name, array in patch.constants.items()},
        "biases": {name: _floats(array) for name, array in patch.biases.items()},
        "activations": {key: numbers(params) for key, params in patch.activations.items()},
        "weights": {key: numbers(params) for key, params in patch.weights.items()},
        "moved": sorted(patch.moved),
    }


def _floats(array: FloatArray) -> dict[str, Any]:
    values = [short(number) for number in np.asarray(array, np.float32).reshape(-1)]
    return {"shape": np.shape(array), "values": values}


def check_patch(patch: Patch, model: ir.Model, plan: QuantPlan, before: str) -> None:
    """Raises ConfigError, beginning with `before`, for numbers of what `model` and `plan` do not have."""
    for place, found, wanted in _shapes(patch, model, plan):
        if wanted is None:
            raise ConfigError(
                f"{before}patch.{printable(place)}: the model has no such numbers; optimize again"
            )
        if found != wanted:
            raise ConfigError(
                f"{before}patch.{printable(place)}.shape: {wrong_value(list(found), str(list(wanted)))}"
            )
    for kind, keys, known in (
        ("activations", patch.activations, plan.groups),
        ("weights", patch.weights, plan.weights),
    ):
        for key in keys:
            if key not in known:
                raise ConfigError(f"{before}patch.{kind}.{printable(key)}: is none of the plan's {kind}")


def _shapes(
    patch: Patch, model: ir.Model, plan: QuantPlan
) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...] | None]]:
    """(key path, shape that it has, shape that it has to have; None for what there is not)."""

    def shape(name: str | None) -> tuple[int, ...] | None:
        value = model.graph.initializers.get(name) if name is not None else None
        tensor = value.const_value if value is not None else None
        return None if tensor is None else tuple(tensor.shape.numpy())

    for name, array in patch.constants.items():
        yield f"constants.{name}", array.shape, shape(name)
    for node, array in patch.biases.items():
        accumulator = plan.accumulators.get(node)
        wanted = shape(accumulator.bias) if accumulator is not None else None
        yield f"biases.{node}", array.shape, wanted
