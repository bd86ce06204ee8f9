"""Constant nodes in all the forms that ONNX allows, as initializers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from knight.edit import Editor
from knight.errors import ModelError
from knight.operators import is_op


def lift_constant(edit: Editor, node: ir.Node) -> bool:
    """Turns a Constant node into an initializer; False for other nodes and for a graph output."""
    if not is_op(node, "Constant") or node.outputs[0].is_graph_output():
        return False
    edit.become_constant(node.outputs[0], _tensor(node))
    return True


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
    """The same numbers in a tensor of its own: an initializer names its tensor, but the source shares it."""
    shape = ir.Shape(tensor.shape.numpy())
    if tensor.dtype == ir.DataType.STRING:
        return ir.StringTensor([item for item in tensor.numpy().reshape(-1)], shape=shape)
    return ir.Tensor(tensor.numpy(), dtype=tensor.dtype, shape=shape)
