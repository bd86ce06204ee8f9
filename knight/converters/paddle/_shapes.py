"""Input shapes that the user gives: they fill open dimensions, but for -1, and never change fixed ones.

What follows from them for the values inside is measured, by running the program on inputs of those shapes:
Paddle stores shapes and does not work them out again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knight.converters._shapes import OPEN, open_length, tell_fixed
from knight.converters.paddle._framework import Loaded
from knight.converters.paddle._program import Program
from knight.errors import ConfigError, ModelError
from knight.listener import Listener

Shapes = Sequence[Sequence[int]]

_NUMPY = {"0.t_i64": np.int64, "0.t_i32": np.int32, "0.t_bool": np.bool_, "0.t_f64": np.float64}


def check_shapes(program: Program, shapes: Shapes, listener: Listener) -> None:
    """Raises ConfigError where `shapes` do not fit the program's inputs."""
    if not shapes:
        return
    inputs = program.inputs
    listed = ", ".join(f"{name} {_text(shape)}" for name, shape in inputs.items())
    if len(shapes) != len(inputs):
        raise ConfigError(
            f"-is: {len(shapes)} shapes are given, the model has {len(inputs)} inputs ({listed}); "
            f"give one -is per input, in this order"
        )
    for (name, fixed), given in zip(inputs.items(), shapes, strict=True):
        if len(fixed) != len(given):
            raise ConfigError(
                f"-is {_spaced(given)}: input {name!r} has {len(fixed)} dimensions {_text(fixed)}, "
                f"not {len(given)}"
            )
        tell_fixed(name, given, fixed, listener)
        if any(size < 1 and size != OPEN for size in given):
            raise ConfigError(f"-is {_spaced(given)}: sizes of input {name!r} have to be positive")
        for axis, (size, wanted) in enumerate(zip(given, fixed, strict=True)):
            if wanted >= 0 and size not in (wanted, OPEN):
                raise ConfigError(
                    f"-is {_spaced(given)}: dimension {axis} of input {name!r} is fixed at {wanted} in the "
                    f"model, {size} is given; only the open ones of {_text(fixed)} can be filled"
                )


def apply_shapes(loaded: Loaded, shapes: Shapes) -> None:
    """Fixes the shapes of all values of the program to what they are for inputs of `shapes`."""
    inputs = loaded.program.inputs
    given = {
        name: tuple(wanted if size < 0 else size for size, wanted in zip(fixed, shape, strict=True))
        for (name, fixed), shape in zip(inputs.items(), shapes, strict=bool(shapes))
    }
    if all(given[name] == tuple(shape) for name, shape in inputs.items() if given):
        return
    found = {
        op.results[0].number: given[op.attributes["name"]]
        for op in loaded.program.operations
        if op.name in ("pd_op.data", "pd_op.feed")
    }
    open_values = [
        value.number
        for op in loaded.program.operations
        for value in op.results[:1]  # further ones may be scratch space that is never filled
        if value.shape is not None and -1 in value.shape and value.number not in found
        if op.name.startswith("pd_op.") and op.name != "pd_op.fetch"
    ]
    try:
        runs = [loaded.fetch(open_values, _feeds(loaded, _tried(given, seed), seed)) for seed in (0, 1)]
    except Exception as error:
        said = [line.strip() for line in str(error).splitlines() if line.strip()][-1:]
        text = ", ".join(f"{name} {list(shape)}" for name, shape in given.items())
        raise ModelError(
            f"the model does not run with the shapes of -is ({text}): {''.join(said)}"
        ) from error
    for number, first, second in zip(open_values, *runs, strict=True):
        if first.ndim == second.ndim:  # another size for other numbers is open by nature
            found[number] = tuple(
                size if size == other else OPEN for size, other in zip(first.shape, second.shape, strict=True)
            )
    loaded.program.set_shapes(found)


def _tried(shapes: dict[str, tuple[int, ...]], run: int) -> dict[str, tuple[int, ...]]:
    """Shapes to run with: what is open has another size in each run."""
    return {
        name: tuple(
            size if size != OPEN else 2 + run if axis == 0 else open_length(len(shape)) * (1 + run)
            for axis, size in enumerate(shape)
        )
        for name, shape in shapes.items()
    }


def _feeds(loaded: Loaded, shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    kinds = {
        op.attributes["name"]: op.data["O"][0]["TT"]["D"][0]["#"]
        for op in loaded.program.operations
        if op.name in ("pd_op.data", "pd_op.feed")
    }
    feeds = {}
    for name, shape in shapes.items():
        dtype = np.dtype(_NUMPY.get(kinds[name], np.float32))
        draw = generator.standard_normal(shape) if dtype.kind == "f" else generator.integers(0, 2, shape)
        feeds[name] = draw.astype(dtype)
    return feeds


def _text(shape: Sequence[int]) -> str:
    return "[" + ", ".join("?" if size < 0 else str(size) for size in shape) + "]"


def _spaced(shape: Sequence[int]) -> str:
    return " ".join(map(str, shape))
