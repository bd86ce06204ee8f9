"""Raises the model to the operator set that the later steps know, with ONNX's version converter.

The opset is never lowered. The converter sees the graph without its large weights.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from knight import model as models, sizes
from knight.edit import Editor
from knight.errors import ConfigError, ModelError
from knight.operators import all_graphs, is_op
from knight.passes import PassOptions
from knight.passes._queries import live_nodes
from knight.passes._skeleton import skeleton, with_weights

OLDEST_IR_VERSION = 8


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns 1 if the opset or the IR version rose. Raises ModelError for what cannot be raised."""
    if options.opset > models.NEWEST_OPSET:
        raise ConfigError(f"opset {options.opset}: ONNX Runtime knows opsets up to {models.NEWEST_OPSET}")
    own = models.opset(model)
    changed = _set_ir_version(model) or own < options.opset  # first, since IR 3 wants weights to be inputs
    if own < options.opset:
        _prepare_nodes(model.graph, own, options.opset)
        _convert(model, own, options.opset)
    return int(_set_ir_version(model) or changed)


def _set_ir_version(model: ir.Model) -> bool:
    """The version that the opset needs; ONNX Runtime refuses newer ones than it knows."""
    needed = onnx.helper.find_min_ir_version_for(
        [onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()],
        ignore_unknown=True,
    )
    wanted = min(max(model.ir_version or 0, needed, OLDEST_IR_VERSION), models.NEWEST_IR_VERSION)
    changed = wanted != model.ir_version
    model.ir_version = wanted
    return changed


def _prepare_nodes(graph: ir.Graph, own: int, wanted: int) -> None:
    """Writes down what older operator versions took for granted and the converter leaves out."""
    for body in tuple(all_graphs(graph)):
        edit = Editor(body)
        for node in live_nodes(body):
            if own < 16 <= wanted and is_op(node, "RoiAlign"):
                _set(node, "coordinate_transformation_mode", "output_half_pixel")
            if own < 13 <= wanted and is_op(node, "Hardmax"):
                _flatten_hardmax(edit, node)


def _set(node: ir.Node, name: str, text: str) -> None:
    node.attributes[name] = ir.AttrString(name, text)


def _flatten_hardmax(edit: Editor, node: ir.Node) -> None:
    """Until opset 13 Hardmax saw its input as a matrix, with all dimensions from `axis` on as one row."""
    axis = models.attribute(node, "axis", 1)
    shape = edit.new_node(node, "Shape", [node.inputs[0]])
    flat = edit.new_node(node, "Flatten", [node.inputs[0]], {"axis": axis})
    maxima = edit.new_node(node, "Hardmax", [flat.outputs[0]], {"axis": -1})
    whole = edit.new_node(node, "Reshape", [maxima.outputs[0], shape.outputs[0]], like=node.outputs[0])
    edit.replace_value(node.outputs[0], whole.outputs[0])


def _fix_resizes(graph: ir.Graph) -> None:
    """Until opset 11 pixel i of what Upsample and Resize made was pixel i / scale of their input."""
    for body in all_graphs(graph):
        for node in body:
            if is_op(node, "Resize"):
                _set(node, "coordinate_transformation_mode", "asymmetric")
                if models.attribute(node, "mode", "nearest") == "nearest":
                    _set(node, "nearest_mode", _old_rounding(node))


def _old_rounding(node: ir.Node) -> str:
    """ONNX Runtime has always rounded old nearest pixels down where it enlarges, and up where it shrinks."""
    scales = models.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if scales is None or not np.any(scales < 1):
        return "floor"
    if np.any(scales > 1):
        raise ModelError(
            f"operator Resize of node {node.name!r} enlarges one axis and shrinks another, which newer "
            f"opsets cannot express to the nearest pixel; export the model with opset 11 or later"
        )
    return "ceil"


def _convert(model: ir.Model, own: int, wanted: int) -> None:
    names = {
        output.name: node.name for body in all_graphs(model.graph) for node in body for output in node.outputs
    }
    try:
        bare = skeleton(model)
        proto = sizes.within_limits(
            lambda: onnx.version_converter.convert_version(bare, wanted), bare, "the model"
        )
    except ModelError:
        raise
    except Exception as error:  # RuntimeError and ConvertError, by what fails inside the C++ library
        raise ModelError(_explain(model, own, wanted, error)) from error
    converted = with_weights(proto, model)
    for body in all_graphs(converted.graph):
        for node in body:
            node.name = node.name or next((names[o.name] for o in node.outputs if o.name in names), None)
    if own < 11 <= wanted:
        _fix_resizes(converted.graph)
    model.graph = converted.graph


def _explain(model: ir.Model, own: int, wanted: int, error: Exception) -> str:
    reason = " ".join(str(error).split())
    culprit = next(
        (
            f"operator {node.op_type} of node {node.name!r} "
            for body in all_graphs(model.graph)
            for node in body
            if node.op_type in reason
        ),
        "",
    )
    return (
        f"the model cannot be raised from opset {own} to {wanted}: {culprit}({reason[:300]}); "
        f"export it again with opset {wanted}"
    )
