"""Load and save models, and the few questions that every step asks of a graph.

The IR is `onnx_ir.Model`. Weights stay in their external files until a step needs them, so models
above protobuf's 2 GB limit pass through.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from knight import sizes, soundness, weight_files
from knight.errors import ModelError, printable, shown
from knight.files import other_kind
from knight.formats import hint
from knight.names import Names
from knight.protos import messages
from knight.repair import repair, without_outside_weights

NEWEST_OPSET = 26  # of the newest ONNX Runtime that Knight is tested with
NEWEST_IR_VERSION = 13
KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
PROTOBUF_LIMIT = (1 << 31) - (1 << 26)  # 2 GB less some room for the graph around the weights


def load(path: str | Path) -> ir.Model:
    """The ONNX model in `path`, checked. Raises ModelError for anything that is not a usable model, or that
    needs more memory than there is.
    """
    path = Path(path)
    where, folder = f"model {path}", path.parent
    proto = _read(path)
    proto.ClearField("training_info")  # nothing here reads it
    parts = list(messages(proto))
    soundness.check(parts, where)
    _check_versions(proto, path)
    weight_files.check(parts, where, folder)
    weight_files.forget_unknown(parts)
    changed = weight_files.read_inner(proto, where, folder, PROTOBUF_LIMIT)
    twice = [name for name, times in Counter(one.name for one in proto.graph.output).items() if times > 1]
    if twice:
        raise ModelError(f"{where}: has the output {shown(twice[0])} twice; name each output once")
    changed = repair(proto, where) or changed
    proto.ir_version = min(proto.ir_version, NEWEST_IR_VERSION)  # the opset decides what is in the file
    try:
        onnx.checker.check_model(without_outside_weights(proto) if changed else str(path))
        sizes.check(proto, where)
        model = ir.from_proto(proto)
    except (MemoryError, ModelError):
        raise
    except Exception as error:  # ONNX's and the IR's exception classes share no root
        raise ModelError(f"{where}: not valid ONNX: {_reason(error)}") from error
    ir.external_data.set_base_dir(model.graph, folder)
    return model


def _read(path: Path) -> onnx.ModelProto:
    if not path.exists():
        raise ModelError(f"model {path}: no such file")
    if path.is_dir():
        raise ModelError(f"model {path}: is a folder; name the .onnx file in it" + hint(path, "onnx"))
    if (kind := other_kind(path)) is not None:
        raise ModelError(f"model {path}: {kind}, not a file; name an .onnx file")
    if not _is_utf8(path):
        raise ModelError(f"model {path}: its path is no valid UTF-8, which ONNX wants; rename it")
    if path.stat().st_size == 0:
        raise ModelError(f"model {path}: the file is empty")
    try:
        proto = onnx.load(path, "protobuf", load_external_data=False)  # else the suffix says how to read it
    except DecodeError:
        raise ModelError(
            f"model {path}: not an ONNX file, or cut short; export or copy it again" + hint(path, "onnx")
        ) from None
    if not proto.graph.node and not proto.graph.output:
        raise ModelError(f"model {path}: holds no graph; not an ONNX file" + hint(path, "onnx"))
    return proto


def _reason(error: BaseException) -> str:
    """What is wrong, in one line, without the print of the node that ONNX's check adds."""
    while error.__cause__ is not None:  # the IR tells the outermost step first
        error = error.__cause__
    text, _, _ = str(error).partition("==> Context")
    return printable(" ".join(text.split())) or type(error).__name__


def _check_versions(proto: onnx.ModelProto, path: Path) -> None:
    functions = {function.domain for function in proto.functions}
    for opset in proto.opset_import:
        if opset.domain in ("", "ai.onnx") and not 1 <= opset.version <= NEWEST_OPSET:
            raise ModelError(
                f"model {path}: opset {opset.version} is not known here (1 to {NEWEST_OPSET} are); "
                f"export it with opset 17"
            )
    for node in proto.graph.node:
        if node.domain not in KNOWN_DOMAINS | functions:
            raise ModelError(
                f"model {path}: operator {node.op_type} of node {node.name!r} is of the unknown domain "
                f"{node.domain!r}; export it with standard ONNX operators"
            )


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all initializers."""
    values = model.graph.initializers.values()
    return sum(value.const_value.nbytes for value in values if value.const_value is not None)


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def save(model: ir.Model, path: Path, *, external: bool | None = None) -> tuple[Path, ...]:
    """Writes `model` to `path`; returns all files written, the model itself last.

    Weights beyond protobuf's limit (or with `external`) go to a file beside it, named after their content, so
    that a model never refers to another model's weights. The caller makes the write atomic.
    """
    if external is None:
        external = weight_bytes(model) > PROTOBUF_LIMIT
    if not external:
        path.write_bytes(to_bytes(model))
        return (path,)
    data = path.with_name(f"{path.stem}-{fingerprint(model)}.data")
    tensors = {name: value.const_value for name, value in model.graph.initializers.items()}
    try:
        ir.save(model, path, external_data=data.name)
    finally:  # ir.save points the model at the new file; the caller's model keeps its own tensors
        for name, tensor in tensors.items():
            model.graph.initializers[name].const_value = tensor
    return (data, path)


def to_bytes(model: ir.Model) -> bytes:
    """The serialized model, weights inside; the same model always gives the same bytes."""
    return to_proto(model).SerializeToString(deterministic=True)


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """`model` as protobuf, with the weights inside that lie in files of their own.

    Only below `PROTOBUF_LIMIT`.
    """
    inside = model
    if any(isinstance(v.const_value, ir.ExternalTensor) for v in model.graph.initializers.values()):
        inside = model.clone()
        for name, value in inside.graph.initializers.items():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = ir.tensor(value.const_value.numpy(), name=name)
    return ir.to_proto(inside)


def fingerprint(model: ir.Model) -> str:
    """Twelve hex digits that name the weights' content."""
    digest = hashlib.sha256()
    for name, value in sorted(model.graph.initializers.items()):
        if value.const_value is not None:
            digest.update(name.encode())
            digest.update(value.const_value.tobytes())
    return digest.hexdigest()[:12]


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The numbers of `value` when they are fixed in the model, else None.

    Covers initializers that are not also graph inputs, and outputs of Constant nodes.
    """
    if value is None:
        return None
    if value.is_initializer():
        if value.is_graph_input() or value.const_value is None:
            return None
        return np.asarray(value.const_value.numpy())
    producer = value.producer()
    if producer is not None and producer.op_type == "Constant":
        tensor = ir.convenience.get_const_tensor(value)
        return None if tensor is None else np.asarray(tensor.numpy())
    return None


def is_constant(value: ir.Value | None) -> bool:
    """`constant(value) is not None`, without reading the numbers."""
    if value is None:
        return False
    if value.is_initializer():
        return not value.is_graph_input() and value.const_value is not None
    producer = value.producer()
    return producer is not None and producer.op_type == "Constant"


def values(graph: ir.Graph) -> Iterator[ir.Value]:
    """Every value of the top-level graph: inputs, initializers, node outputs, in graph order."""
    yield from graph.inputs
    for value in graph.initializers.values():
        if not value.is_graph_input():
            yield value
    for node in graph:
        yield from node.outputs


def name_of(value: ir.Value) -> str:
    """The value's name; a nameless value is a bug of the caller."""
    if value.name is None:
        raise ValueError(f"value without a name: {value!r}")
    return value.name


def fresh_name(graph: ir.Graph, base: str) -> str:
    """`base`, or `base_1`, `base_2` ...: a name that no value and no node of the model has.

    Walks the whole graph: who gives more than one name keeps a `Names`.
    """
    return Names.of(graph).fresh(base)


def add_initializer(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """Registers `array` as a new initializer; `name` is made unique."""
    value = initializer(fresh_name(graph, name), array)
    graph.register_initializer(value)
    return value


def with_constants(model: ir.Model, numbers: Mapping[str, np.ndarray]) -> ir.Model:
    """A copy whose initializers of these names have other numbers, of the same shape and type."""
    changed = model.clone()
    for name, array in numbers.items():
        changed.graph.initializers[name].const_value = ir.tensor(array, name=name)
    return changed


def initializer(name: str, array: np.ndarray) -> ir.Value:
    """A value with fixed numbers, of no graph yet."""
    value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    value.shape = ir.Shape(array.shape)
    value.dtype = ir.DataType.from_numpy(array.dtype)
    return value


def opset(model: ir.Model) -> int:
    """Version of the standard operator set."""
    return int(model.opset_imports.get("", model.opset_imports.get("ai.onnx", 1)))


def attribute(node: ir.Node, name: str, default: object = None) -> object:
    """The plain Python value of a node's attribute."""
    found = node.attributes.get(name)
    return default if found is None else found.value
