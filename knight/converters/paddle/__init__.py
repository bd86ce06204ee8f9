"""PaddlePaddle: inference programs (.pdmodel or .json, with .pdiparams) by way of paddle2onnx.

Both kinds of program become one form first, Paddle's own JSON; paddle2onnx translates that in a process
of its own, because it ends the process where it meets something unknown. Names come from the parameters:
the layer that owns ``conv2d_0.w_0`` is ``conv2d_0``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from knight.converters import Conversion, Converter, Source
from knight.converters.paddle._export import export
from knight.converters.paddle._files import find_files
from knight.converters.paddle._framework import Loaded, load
from knight.converters.paddle._names import pair, rename
from knight.converters.paddle._reference import make_probe, make_reference
from knight.converters.paddle._repairs import repair
from knight.converters.paddle._shapes import apply_shapes, check_shapes
from knight.listener import Listener


def convert(source: Source, listener: Listener) -> Conversion:
    """The program in `source.model` (file, folder or path prefix) as ONNX. Raises ModelError, ConfigError."""
    files = find_files(source, listener)
    with tempfile.TemporaryDirectory(prefix="knight-paddle-") as folder:
        loaded: Loaded = load(files, Path(folder), listener)
        check_shapes(loaded.program, source.input_shapes, listener)
        apply_shapes(loaded, source.input_shapes)
        model = export(loaded.program, loaded.weights, Path(folder))
    groups = pair(model, loaded.program)
    repair(model.graph, loaded.program, groups)
    values = rename(model, loaded.program, groups, loaded.output_names)
    return Conversion(model, make_reference(loaded), probe=make_probe(loaded, values))


converter = Converter(
    title="PaddlePaddle",
    extra="paddle",
    modules=("paddle", "paddle2onnx"),
    verb="Paddle",
    flags=frozenset({"weights", "input_shapes"}),
    convert=convert,
)
