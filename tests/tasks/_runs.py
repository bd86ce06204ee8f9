"""Executors over plain Python functions, and pictures of one colour, for tests of the ready-made tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from knight.executor import Executor, RunSettings
from knight.listener import Listener
from knight.runner import TensorInfo

Net = Callable[..., list[np.ndarray]]


class Heard(Listener):
    """Keeps what the user would be told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def announce(self, text: str) -> None:
        self.lines.append(text)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def info(shape: Sequence[int | None] = (1, 3, 8, 8), name: str = "x", dtype: str = "float32") -> TensorInfo:
    return TensorInfo(name, np.dtype(dtype), tuple(shape), f"tensor({dtype})")


def executor(
    net: Net,
    *entries: Mapping[str, Any],
    inputs: Sequence[TensorInfo] = (info(),),
    listener: Listener | None = None,
    is_float: bool = False,
    **settings: Any,
) -> Executor:
    """`net` takes one array per input and gives the outputs."""
    settings = {"iteration": 100, "input_configs_dict": entries, **settings}
    return Executor(
        lambda feeds: net(*feeds.values()),
        inputs,
        ["y"],
        RunSettings(**settings),
        listener=listener or Heard(),
        is_float=is_float,
    )


def paint(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> Path:
    """A picture of one colour; size: (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size[1], size[0]), colour).save(path)
    return path


def sees_red(classes: int = 6) -> Net:
    """A classifier whose best class is red / 40 of a picture fed as BGR, the next one is the second best."""

    def net(x: np.ndarray) -> list[np.ndarray]:
        wanted = x[:, 2].mean(axis=(1, 2))[:, None] / 40
        return [-np.abs(np.arange(classes)[None] - wanted - 0.1).astype(np.float32)]

    return net
