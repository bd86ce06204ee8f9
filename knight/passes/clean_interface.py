"""Gives every model the same outer form, whatever exporter wrote it.

Initializers stop being graph inputs, functions of the model are inlined, Constant nodes become initializers,
dimensions of -1 become unknown ones, operator sets that nothing uses are dropped, and weights in files beside
the model join it where protobuf has room for them.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from knight import model as models
from knight.edit import Editor
from knight.errors import ModelError
from knight.passes import PassOptions
from knight.passes._constants import lift_constant
from knight.passes._queries import live_nodes


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of inputs, functions, constants, dimensions and operator sets changed."""
    changes = _name_standard_domain(model) + _allow_plain_weights(model) + _drop_default_inputs(model.graph)
    changes += _inline_functions(model)
    edit = Editor(model.graph)
    changes += sum(lift_constant(edit, node) for node in live_nodes(model.graph))
    changes += sum(_free_negative_dims(value) for value in (*model.graph.inputs, *model.graph.outputs))
    changes += _join_weights(model)
    imports = len(model.graph.opset_imports)
    common.RemoveUnusedOpsetsPass()(model)
    return changes + imports - len(model.graph.opset_imports)


def _name_standard_domain(model: ir.Model) -> int:
    """The standard operators may be imported as "ai.onnx", which is the same as nothing."""
    version = model.opset_imports.pop("ai.onnx", None)
    if version is None:
        return 0
    model.opset_imports.setdefault("", version)
    return 1


def _allow_plain_weights(model: ir.Model) -> int:
    """Below IR version 4 every initializer has to be a graph input as well."""
    old = model.ir_version is None or model.ir_version < 4
    if old:
        model.ir_version = 4
    return int(old)


def _drop_default_inputs(graph: ir.Graph) -> int:
    """Inputs with a default value are weights."""
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


def _join_weights(model: ir.Model) -> int:
    """A model that refers to files works only beside them. The numbers stay on disk until they are read."""
    if models.weight_bytes(model) > models.PROTOBUF_LIMIT:
        return 0
    changes = 0
    for value in model.graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            tensor = value.const_value
            value.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=value.name)
            changes += 1
    return changes


def _free_negative_dims(value: ir.Value) -> int:
    """Some exporters write -1 for a dimension that may vary."""
    if value.shape is None or not any(isinstance(dim, int) and dim < 0 for dim in value.shape):
        return 0
    value.shape = ir.Shape([None if isinstance(dim, int) and dim < 0 else dim for dim in value.shape])
    return 1
