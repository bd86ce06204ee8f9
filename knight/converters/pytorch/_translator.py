"""The builder that translations write with: it knows the example results of the traced call at hand.

A trace runs the model on one set of examples, or on two that differ in the open dimensions: what is equal in
both is fixed, what differs is open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from knight.converters._builder import Builder, shape_of
from knight.errors import ModelError

if TYPE_CHECKING:
    import torch

INT64 = np.dtype(np.int64)


class Translator(Builder):
    """A `Builder` with the call's example results.

    examples: what the call gave, once per run of the trace. inputs: its positional arguments, once per run.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.examples: Sequence[Any] = ()
        self.inputs: Sequence[Sequence[Any]] = ()

    @property
    def dtype(self) -> np.dtype:
        """Element type of the result: of the first tensor; int64 for an integer made of sizes."""
        return numpy_type(self.examples[0])

    def value(self, x: Any, dtype: np.dtype | type | None = None) -> ir.Value:
        """`x`, a value or a number, as a value of type `dtype`."""
        if not isinstance(x, ir.Value):
            return self.constant(np.asarray(x, dtype if dtype is not None else default_type(x)))
        if dtype is not None and x.dtype != ir.DataType.from_numpy(np.dtype(dtype)):
            return self.op("Cast", x, to=ir.DataType.from_numpy(np.dtype(dtype)))
        return x

    def like(self, x: Any, other: ir.Value) -> ir.Value:
        """`x` in the type of `other`."""
        assert other.dtype is not None
        return self.value(x, other.dtype.numpy())

    def ints(self, numbers: Any) -> ir.Value:
        """Whole numbers, some perhaps only known at run time, as an int64 vector."""
        items = list(numbers) if isinstance(numbers, (list, tuple)) else [numbers]
        if not any(isinstance(item, ir.Value) for item in items):
            return self.constant(np.array(items, np.int64))
        axis = self.constant(np.array([0]))
        parts = [
            self.op("Unsqueeze", self.value(item, INT64), axis)
            if isinstance(item, ir.Value)
            else self.constant(np.array([item], np.int64))
            for item in items
        ]
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=0)

    def axes(self, x: ir.Value, dims: Any) -> list[int]:
        """`dims` (a number, several, or None for all) counted from the front."""
        size = rank(x)
        if dims is None:
            return list(range(size))
        given = dims if isinstance(dims, (list, tuple)) else [dims]
        return [int(dim) % size if size else 0 for dim in given]

    def reshape(self, x: ir.Value, sizes: Sequence[Any] | None = None) -> ir.Value:
        """`x` in the shape of the example result.

        sizes: the result's dimensions as the user gave them, asked where the examples do not decide.
        """
        target = self._target(x)
        if target is not None:
            return self.op("Reshape", x, self.constant(np.array(target, np.int64)))
        if sizes is None:
            raise ModelError("more than one open dimension is joined or split here; fix all but one of them")
        return self.op("Reshape", x, self.ints(list(sizes)))

    def _target(self, x: ir.Value) -> list[int] | None:
        """0 for a dimension that stays, -1 for one open dimension, numbers for the others."""
        shapes = [tuple(example.shape) for example in self.examples]
        before = [tuple(arguments[0].shape) for arguments in self.inputs]
        target: list[int] = []
        for axis, sizes in enumerate(zip(*shapes, strict=True)):
            stays = all(
                axis < len(shape) and shape[axis] == size for shape, size in zip(before, sizes, strict=True)
            )
            if len(set(sizes)) == 1:
                target.append(sizes[0])
            elif stays:
                target.append(0)
            else:
                target.append(-1)
        return target if target.count(-1) <= 1 else None

    def fixed_sizes(self, what: str, axes: Sequence[int]) -> list[int]:
        """Sizes of the first argument along `axes`. Raises ModelError where one is open."""
        shapes = [tuple(arguments[0].shape) for arguments in self.inputs]
        sizes = [{shape[axis] for shape in shapes} for axis in axes]
        if any(len(found) > 1 for found in sizes):
            raise ModelError(
                f"{what} needs a fixed size along axis {axes[0]}; leave it out of the open dimensions"
            )
        return [found.pop() for found in sizes]


def rank(x: ir.Value) -> int:
    """Number of dimensions."""
    shape = shape_of(x)
    if shape is None:
        raise ModelError(f"value {x.name!r} has no known rank")
    return len(shape)


def numpy_type(example: Any) -> np.dtype:
    """NumPy's type for a torch tensor, dtype, or Python number; of a tuple, that of its first element."""
    if isinstance(example, (tuple, list)):
        return numpy_type(example[0])
    if hasattr(example, "dtype"):
        return of_torch(example.dtype)
    return default_type(example)


def of_torch(dtype: torch.dtype) -> np.dtype:
    """NumPy's name for a torch type. Raises ModelError for types that NumPy lacks."""
    name = str(dtype).removeprefix("torch.")
    try:
        return np.dtype(name)
    except TypeError:
        raise ModelError(f"tensors of type {name} have no place in ONNX models here; use float32") from None


def default_type(number: Any) -> np.dtype:
    """The type that torch gives a Python number."""
    array = np.asarray(number)
    if array.dtype.kind == "f":
        return np.dtype(np.float32)
    return INT64 if array.dtype.kind in "iu" else array.dtype


def promoted(*operands: Any) -> np.dtype:
    """The type in which torch computes with `operands`: tensors before numbers, floats before integers."""
    tensors = [x.dtype.numpy() for x in operands if isinstance(x, ir.Value) and x.dtype is not None]
    numbers = [default_type(x) for x in operands if not isinstance(x, ir.Value)]
    best = np.result_type(*tensors) if tensors else np.result_type(*numbers)
    if {best.kind, *(dtype.kind for dtype in numbers)} >= {"f"} and best.kind != "f":
        return np.dtype(np.float32)
    if best.kind == "b" and any(dtype.kind in "iu" for dtype in numbers):
        return INT64
    return best
