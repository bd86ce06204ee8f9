"""Integers that enter and leave a quantized model, as Knight writes them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.errors import ModelError, shown
from knight.names import Names
from knight.outputs import OUTPUT_SCALES, output_scales
from knight.qdq.graph import DEQUANTIZE
from knight.qdq.numbers import conversion, integer_type
from knight.types import QParams


def real_outputs(model: ir.Model, names: Names) -> None:
    """Outputs that leave as integers held in float leave as the real numbers that they stand for."""
    graph, scales = model.graph, output_scales(model)
    for output in graph.outputs:
        cast, given = output.producer(), scales.get(output.name or "")
        integers = cast.inputs[0] if cast is not None and cast.op_type == "Cast" else None
        dtype = None if integers is None else integer_type(integers)
        if cast is None or given is None or dtype is None:
            continue
        if not dtype.min <= given["zero_point"] <= dtype.max:
            raise ModelError(
                f"the model's metadata {OUTPUT_SCALES} give output {shown(output.name or '')} the zero "
                f"point {given['zero_point']}, which no {dtype.name.lower()} is; quantize it again"
            )
        numbers = {
            "scale": np.asarray(given["scale"], np.float32),
            "zero_point": np.asarray(given["zero_point"], dtype.numpy()),
        }
        stated = [models.initializer(names.fresh(f"{output.name}_{key}"), n) for key, n in numbers.items()]
        for value in stated:
            graph.register_initializer(value)
        real = ir.Node("", DEQUANTIZE, [integers, *stated], num_outputs=1)
        real.name = names.fresh(f"{output.name}_{DEQUANTIZE}")
        _put(graph, cast, real)


def cast_inputs(model: ir.Model, names: Names) -> dict[ir.Value, QParams]:
    """Inputs whose integers are the real numbers themselves are cast; how each result is rounded."""
    found = {}
    for node in list(model.graph):
        source = node.inputs[0] if node.op_type == DEQUANTIZE else None
        stated = conversion(node) if source is not None and source.is_graph_input() else None
        if stated is None or np.any(stated.params.scale != 1) or np.any(stated.params.zero_point):
            continue
        to = ir.AttrInt64("to", int(ir.DataType.FLOAT))
        cast = ir.Node("", "Cast", [source], [to], num_outputs=1, name=names.fresh(f"{node.name}_Cast"))
        _put(model.graph, node, cast)
        found[cast.outputs[0]] = stated.params
    return found


def _put(graph: ir.Graph, old: ir.Node, new: ir.Node) -> None:
    """`new` in the place of `old`; its result takes the name."""
    before, after = old.outputs[0], new.outputs[0]
    after.type, after.shape = before.type, before.shape
    graph.insert_after(old, new)
    before.replace_all_uses_with(after, replace_graph_outputs=True)
    graph.remove(old, safe=True)
    after.name, before.name = before.name, None
