"""Builds Paddle nets for tests and stores them as users do."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from knight.converters import Conversion, Source
from knight.converters.paddle import converter
from knight.converters.paddle._framework import import_paddle
from knight.listener import SILENT

paddle = import_paddle()
Spec = tuple[Sequence[int | None], str]


def save(layer: Any, path: Path, *inputs: Spec) -> Path:
    """Stores `layer` in Paddle 3's form; gives the program's file."""
    layer.eval()
    specs = [
        paddle.static.InputSpec(list(shape), dtype, f"x{index}")
        for index, (shape, dtype) in enumerate(inputs)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paddle.jit.save(layer, str(path), input_spec=specs)
    return path.with_suffix(".json")


def convert(model: Path, **options: Any) -> Conversion:
    """The conversion of a stored model."""
    return converter.convert(Source(str(model), **options), SILENT)


def net(function: Callable[[Any], Any], **parts: Any) -> Any:
    """A layer that computes ``function(x)``; `parts` are its sublayers, which may be used in it."""

    class Net(paddle.nn.Layer):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            for name, part in parts.items():
                setattr(self, name, part)

        def forward(self, x: Any) -> Any:  # Paddle reads the names of the arguments
            return function(x)

    return Net()


def parameter_names(program: Path) -> list[str]:
    """The names of the parameters of a protobuf program."""
    from knight.converters.paddle._framework import _read_description

    return list(_read_description(program)[0])
