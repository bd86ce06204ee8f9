"""What is written of a finished quantized model: one file per form, each a function of the QDQ model alone.

The QDQ model carries its own scales and zero points, so an exporter knows of no plan and no chip. What it
gives is the model of the result, measured and compared as any other, and whatever files belong beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from knight.errors import OutputError
from knight.registry import Registry

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Exported:
    """model: becomes ``NAME_quantize.onnx``; has the inputs and outputs of the QDQ model, by their names.
    files: what else is written, by its path with forward slashes: ``scales.txt`` becomes ``NAME_scales.txt``,
    ``vendor/net.bin`` ``NAME_vendor/net.bin``.
    """

    model: ir.Model
    files: Mapping[str, bytes] = field(default_factory=dict)


Exporter = Callable[["ir.Model"], Exported]
"""``export(model) -> Exported``; leaves `model`, the finished QDQ model, as it is."""

exporters: Registry[Exporter] = Registry("format", "knight.exporters", "knight.exporters", "export")


def export(name: str, model: ir.Model) -> Exported:
    """What format `name` makes of a QDQ model.

    Raises ConfigError for an unknown name, OutputError for a file that would lie elsewhere than beside the
    model, or in the place of one of Knight's own.
    """
    exported = exporters.get(name)(model)
    for file in exported.files:
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise OutputError(f"format {name}: file {file!r} lies outside of the result's folder; report it")
        if file in _OWN:
            raise OutputError(f"format {name}: file {file!r} has the name of one of Knight's; report it")
    return exported


_OWN = ("quantize.onnx", "report.json")
