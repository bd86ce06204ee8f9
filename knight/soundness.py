"""What ONNX's own check lets pass, and readers of models stumble over: texts, types, sizes that are none."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from onnx import numpy_helper

from knight.errors import ModelError, printable, shown
from knight.protos import Parts, bodies
from knight.turns import goes_on

_KNOWN_TYPES = frozenset(int(dtype) for dtype in ir.DataType)
_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype", "output_datatype", "stash_type", "precision"})
"""Attributes of standard operators whose number is a data type."""

_LARGEST = (1 << 31) - 1
"""Of a size, a step or a count: no tensor is as long, and ONNX Runtime multiplies some unchecked."""

_LEAST: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("group", "num_groups", "blocksize", "hidden_size", "num_scan_inputs"), 1),
        **dict.fromkeys(("strides", "dilations", "kernel_shape", "pooled_shape"), 1),
        **dict.fromkeys(("batch_dims", "block_size", "output_padding"), 0),
        "pads": -_LARGEST,
    }
)
"""Attributes of standard operators that have to be at least so large: some divide by them."""

RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
"""Operators that end ONNX Runtime with a signal where there is nothing to go through."""

_TEXT = int(ir.DataType.STRING)

_MOST_DIMENSIONS = 32  # that NumPy can hold, before 2.0

_AGAIN = "export the model again"


def check(parts: Parts, where: str) -> None:
    """Raises ModelError for the first of a model's messages that says what no model can mean.

    parts: all `protos.messages` of the model. where: names it in errors.
    """
    for message, place in parts:
        problem = _text_problem(message)
        if problem is None and (judge := _JUDGES.get(message.DESCRIPTOR.name)) is not None:
            problem = judge(message)
        if problem is not None:
            raise ModelError(f"{where}: {printable(place)} {problem}")
    constants = _Constants.of(parts)
    for node, place in constants.nodes:
        problem = _BY_NUMBERS[node.op_type](node, constants)
        if problem is not None:
            raise ModelError(f"{where}: {printable(place)} {problem}")


def stored_bytes(tensor: onnx.TensorProto) -> int:
    """How many bytes the numbers of a tensor take in a file. Its type and shape have to be known good."""
    return -(-math.prod(tensor.dims) * ir.DataType(tensor.data_type).bitwidth // 8)


def _text_problem(message: Message) -> str | None:
    """Texts of an old protobuf syntax may be any bytes; such a one is read as bytes."""
    for name in _texts(message.DESCRIPTOR):
        value: Any = getattr(message, name)
        for text in (value,) if isinstance(value, (str, bytes)) else value:
            if isinstance(text, bytes):
                read = text.decode("utf-8", "backslashreplace")
                return f"has a text ({name}) that is not UTF-8: {shown(read)}; {_AGAIN}"
    return None


@cache
def _texts(kind: Descriptor) -> tuple[str, ...]:
    """The fields of a kind of message that hold texts."""
    return tuple(field.name for field in kind.fields if field.type == FieldDescriptor.TYPE_STRING)


def _tensor_problem(tensor: onnx.TensorProto) -> str | None:
    if tensor.data_type not in _KNOWN_TYPES or not tensor.data_type:
        return f"is of the unknown data type {tensor.data_type}; {_AGAIN}"
    if (problem := _sizes_problem(list(tensor.dims), 0)) is not None:
        return problem
    if tensor.HasField("segment"):
        return f"is one segment of several, which nothing reads; {_AGAIN}"
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    dtype = ir.DataType(tensor.data_type)
    if tensor.HasField("raw_data") and dtype != ir.DataType.STRING:
        found, wanted, unit = len(tensor.raw_data), stored_bytes(tensor), "bytes"
    else:
        field = onnx.helper.tensor_dtype_to_field(tensor.data_type)
        found, wanted, unit = len(getattr(tensor, field)), _entries(tensor, dtype), "numbers"
    if found == wanted:
        return None
    shape = "x".join(map(str, tensor.dims)) or "()"
    return f"holds {found} {unit}, where {dtype.name.lower()} of shape {shape} has {wanted}; {_AGAIN}"


def _entries(tensor: onnx.TensorProto, dtype: ir.DataType) -> int:
    """Entries of the field for numbers of this type: one each, two for a complex one, one for a byte of
    smaller ones.
    """
    if dtype == ir.DataType.STRING:
        return math.prod(tensor.dims)
    if dtype.bitwidth < 8:
        return stored_bytes(tensor)
    return math.prod(tensor.dims) * (2 if dtype.name.startswith("COMPLEX") else 1)


def _sizes_problem(sizes: list[int], least: int) -> str | None:
    if len(sizes) > _MOST_DIMENSIONS:
        return f"has {len(sizes)} dimensions; {_MOST_DIMENSIONS} are the most that can be: {_AGAIN}"
    wrong = next((size for size in sizes if not least <= size <= _LARGEST), None)
    return None if wrong is None else f"has a dimension of size {wrong}; {_AGAIN}"


def _value_problem(value: onnx.ValueInfoProto) -> str | None:
    kind = value.type
    while (name := kind.WhichOneof("value")) in ("sequence_type", "optional_type"):
        kind = getattr(kind, name).elem_type
    if name == "map_type":
        return "is a map, which no operator that Knight knows takes; cut off what makes maps (ZipMap)"
    if name not in ("tensor_type", "sparse_tensor_type"):
        return None
    tensor = getattr(kind, name)
    if tensor.elem_type not in _KNOWN_TYPES:
        return f"is of the unknown data type {tensor.elem_type}; {_AGAIN}"
    return _sizes_problem([dim.dim_value for dim in tensor.shape.dim], -1)  # some exporters' open dimension


def _attribute_problem(attribute: onnx.AttributeProto) -> str | None:
    name = attribute.name
    no_type = attribute.i not in _KNOWN_TYPES or (name == "output_dtype" and attribute.i == _TEXT)
    if name in _TYPE_ATTRIBUTES and attribute.HasField("i") and no_type:
        return f"has {name} = {attribute.i}, which is no data type; {_AGAIN}"
    if (least := _LEAST.get(name)) is None:
        return None
    numbers = [attribute.i] if attribute.HasField("i") else list(attribute.ints)
    wrong = next((number for number in numbers if not least <= number <= _LARGEST), None)
    return None if wrong is None else f"has {name} = {wrong}, outside of {least} to {_LARGEST}; {_AGAIN}"


def _node_problem(node: onnx.NodeProto) -> str | None:
    if node.op_type != "If" or node.domain not in ("", "ai.onnx"):
        return None
    for body in bodies(node):
        if body.input or len(body.output) != len(node.output):
            return (
                f"has {len(node.output)} outputs, and a branch with {len(body.input)} inputs and "
                f"{len(body.output)} outputs; a branch takes no inputs and gives them all: {_AGAIN}"
            )
    return None


def _function_problem(function: onnx.FunctionProto) -> str | None:
    made = {name for node in function.node for name in node.output} | set(function.input)
    missing = next((name for name in function.output if name not in made), None)
    return None if missing is None else f"makes no value {shown(missing)}, which is its output; {_AGAIN}"


def _graph_problem(graph: onnx.GraphProto) -> str | None:
    if not graph.sparse_initializer:
        return None
    name = graph.sparse_initializer[0].values.name
    return f"has a weight {shown(name)} that is stored sparse; export it with dense weights"


def _model_problem(model: onnx.ModelProto) -> str | None:
    for value in model.graph.input:
        if value.type.WhichOneof("value") == "tensor_type" and not value.type.tensor_type.elem_type:
            return f"has an input {shown(value.name)} of no data type; {_AGAIN}"
        empty = any(
            dim.HasField("dim_value") and dim.dim_value == 0 for dim in value.type.tensor_type.shape.dim
        )
        if empty and any(node.op_type in RECURRENT for node in model.graph.node):
            return f"has an input {shown(value.name)} of size 0, which recurrent layers cannot take; {_AGAIN}"
    return None


_JUDGES: Mapping[str, Callable[[Any], str | None]] = MappingProxyType(
    {
        "TensorProto": _tensor_problem,
        "ValueInfoProto": _value_problem,
        "AttributeProto": _attribute_problem,
        "NodeProto": _node_problem,
        "FunctionProto": _function_problem,
        "GraphProto": _graph_problem,
        "ModelProto": _model_problem,
    }
)
"""What else is asked of a message, by its kind: the answer is what is wrong with it, None for nothing."""


@dataclass
class _Constants:
    """Nodes that are judged by the numbers of what they read, and the constants of all graphs by name.

    A name that two bodies have tells nothing, and is None.
    """

    nodes: list[tuple[onnx.NodeProto, str]] = field(default_factory=list)
    tensors: dict[str, onnx.TensorProto | None] = field(default_factory=dict)

    @classmethod
    def of(cls, parts: Parts) -> _Constants:
        found = cls()
        for message, place in parts:
            if isinstance(message, onnx.GraphProto):
                for tensor in message.initializer:
                    found._add(tensor.name, tensor)
            elif isinstance(message, onnx.NodeProto) and message.op_type in _BY_NUMBERS:
                found.nodes.append((message, place))
            elif isinstance(message, onnx.NodeProto) and message.op_type == "Constant" and message.output:
                for attribute in message.attribute:
                    if attribute.HasField("t"):
                        found._add(message.output[0], attribute.t)
        return found

    def _add(self, name: str, tensor: onnx.TensorProto) -> None:
        self.tensors[name] = None if name in self.tensors else tensor

    def read(self, node: onnx.NodeProto, index: int) -> onnx.TensorProto | None:
        """The constant that `node` reads there, if it is one and lies in the model."""
        found = self.tensors.get(node.input[index]) if len(node.input) > index else None
        return None if found is None or found.data_location == onnx.TensorProto.EXTERNAL else found


def _rounding_problem(node: onnx.NodeProto, constants: _Constants) -> str | None:
    scale, zero_point, data = (constants.read(node, index) for index in (1, 2, 0))
    if scale is None or scale.data_type not in _REAL:
        return None
    if not np.isfinite(numpy_helper.to_array(scale).astype(np.float64)).all():
        return "has a scale that is not finite; quantize the model again"
    if zero_point is not None and math.prod(zero_point.dims) != math.prod(scale.dims):
        counts = f"{math.prod(scale.dims)} scales and {math.prod(zero_point.dims)} zero points"
        return f"has {counts}; quantize the model again"
    numbers = {one.name: one.i for one in node.attribute}
    count, axis = math.prod(scale.dims), numbers.get("axis", 1)
    if data is None or count == 1 or len(scale.dims) != 1 or numbers.get("block_size"):
        return None
    rank = len(data.dims)
    if -rank <= axis < rank and data.dims[axis] == count:
        return None
    shape = "x".join(map(str, data.dims))
    return f"has {count} scales along axis {axis} of {shape} numbers; quantize the model again"


def _loop_problem(node: onnx.NodeProto, constants: _Constants) -> str | None:
    """A while loop has no count, or the largest there is, and a condition that its body computes."""
    if len(node.input) < 2:
        return None
    count, first = constants.read(node, 0), constants.read(node, 1)
    if node.input[0] and (count is None or not (numpy_helper.to_array(count) > _LARGEST).any()):
        return None
    if node.input[1] and (first is None or not numpy_helper.to_array(first).any()):
        return None
    if any(goes_on(body) for body in bodies(node)):
        return f"has no end: neither a count nor a condition that changes; {_AGAIN}"
    return None


_BY_NUMBERS: Mapping[str, Callable[[onnx.NodeProto, _Constants], str | None]] = MappingProxyType(
    {
        **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _rounding_problem),
        "Loop": _loop_problem,
    }
)
"""As `_JUDGES`, by operator."""

_REAL = tuple(int(dtype) for dtype in ir.DataType if dtype.is_floating_point())
