"""Gives every model the same outer form, whatever exporter wrote it.

Initializers stop being graph inputs, functions of the model are inlined, Constant nodes become initializers,
dimensions of -1 become unknown ones, and operator sets that nothing uses are dropped.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from knight.errors import ModelError
from knight.passes import PassOptions
from knight.passes._rewrite import become_constant, is_op, live_nodes


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of inputs, functions, constants, dimensions and operator sets changed."""
    changes = _drop_default_inputs(model.graph)
    changes += _inline_functions(model)
    changes += sum(_lift(node) for node in live_nodes(model.graph) if is_op(node, "Constant"))
    changes += sum(_free_negative_dims(value) for value in (*model.graph.inputs, *model.graph.outputs))
    imports = len(model.graph.opset_imports)
    common.RemoveUnusedOpsetsPass()(model)
    return changes + imports - len(model.graph.opset_imports)


def _drop_default_inputs(graph: ir.Graph) -> int:
    """Inputs with a default value are weights: IR versions below 4 had to list them as inputs."""
    kept = [value for value in graph.inputs if not value.is_initializer()]
    dropped = len(graph.inputs) - len(kept)
    if dropped:
        graph.inputs[:] = kept
    return dropped


def _inline_functions(model: ir.Model) -> int:
    functions = len(model.functions)
    if not functions:
        return 0
    try:
        common.InlinePass()(model)
    except (ValueError, ir.passes.PassError) as error:
        raise ModelError(
            f"the model's own functions cannot be inlined: {' '.join(str(error).split())}; "
            f"export the model without functions"
        ) from error
    model.functions.clear()  # what is left is called by nobody
    return functions


def _lift(node: ir.Node) -> int:
    """Turns one Constant node into an initializer, unless it is a graph output (which needs a node)."""
    output = node.outputs[0]
    if output.is_graph_output():
        return 0
    become_constant(output, _tensor(node))
    return 1


def _tensor(node: ir.Node) -> ir.TensorProtocol:
    """The tensor of a Constant node, in any of the forms that ONNX allows."""
    form, attribute = next(iter(node.attributes.items()))
    if form == "value":
        return _own_tensor(attribute.as_tensor())
    if form in ("value_float", "value_floats"):
        return ir.tensor(np.array(attribute.value, dtype=np.float32))
    if form in ("value_int", "value_ints"):
        return ir.tensor(np.array(attribute.value, dtype=np.int64))
    if form in ("value_string", "value_strings"):
        text = attribute.value if form == "value_strings" else [attribute.value]
        shape = ir.Shape([len(text)] if form == "value_strings" else [])
        return ir.StringTensor([item.encode() for item in text], shape=shape)
    raise ModelError(
        f"node {node.name!r}: Constant in the form {form!r} is not supported; use a dense tensor"
    )


def _own_tensor(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """The same numbers in a tensor of its own: initializers name their tensor, and the source shares this one."""
    shape = ir.Shape(tensor.shape.numpy())
    if tensor.dtype == ir.DataType.STRING:
        return ir.StringTensor([item for item in tensor.numpy().reshape(-1)], shape=shape)
    return ir.Tensor(tensor.numpy(), dtype=tensor.dtype, shape=shape)


def _free_negative_dims(value: ir.Value) -> int:
    """Some exporters write -1 for a dimension that may vary."""
    if value.shape is None or not any(isinstance(dim, int) and dim < 0 for dim in value.shape):
        return 0
    value.shape = ir.Shape([None if isinstance(dim, int) and dim < 0 else dim for dim in value.shape])
    return 1
