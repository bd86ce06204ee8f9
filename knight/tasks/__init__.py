"""The ready-made infer functions: one file each, named as users ask for it, defining `infer(executor)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from knight.executor import InferFunction
from knight.registry import Registry

if TYPE_CHECKING:
    from knight.tasks._config import InputConfig

tasks: Registry[InferFunction] = Registry("infer function", "knight.tasks", "knight.tasks", "infer")

ReadInputs = Callable[[Sequence[Mapping[str, Any]]], "list[InputConfig]"]
"""What entries of ``input-configs`` say of the model's inputs. Raises ConfigError."""


def reads_inputs(reader: ReadInputs) -> Callable[[InferFunction], InferFunction]:
    """Marks an infer function whose entries describe the model's inputs, as `reader` tells them.

    What they say then goes into the quantized model too: its input types, and the normalization of pictures.
    """

    def mark(infer: InferFunction) -> InferFunction:
        infer.read_inputs = reader  # type: ignore[attr-defined]  # functions take attributes
        return infer

    return mark


def reader_of(infer: InferFunction) -> ReadInputs | None:
    """How entries for `infer` are read; None for one that does not say it (see `own_entries`)."""
    reader: ReadInputs | None = getattr(infer, "read_inputs", None)
    return reader


def own_entries(entries: Sequence[Mapping[str, Any]]) -> list[InputConfig]:
    """What entries for any other function say of the model's inputs; their other keys are not looked at.

    Raises ConfigError naming the entry and the key.
    """
    from knight.tasks._own_entries import read_own

    return read_own(entries)
