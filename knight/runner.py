"""ONNX Runtime sessions: the only module that imports it, and the place where arithmetic is chosen.

Sessions are exact: they compute what the file says, on every CPU. What the CPU's own kernels make of it is
another question, which ``kernels="host"`` asks: on x86 without VNNI they saturate (see `exact`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from knight import memory, model as models, sizes
from knight.errors import DataError, ModelError, shown
from knight.exact import WEIGHTS, may_differ, mend, quantized_alone
from knight.failures import reason
from knight.faults import told
from knight.soundness import RECURRENT
from knight.stopping import breaking_off, long_calls
from knight.temporary import TemporaryFolder
from knight.watch import Watch

_QUANTIZES_WEIGHTS = "WeightBiasQuantization"
"""The optimizer that gives int8 weights to what stands in float between pairs."""

_STATES_TYPES = "QDQPropagationTransformer"
"""The optimizer that, from opset 21, states the integers' type on the pairs that it adds; another one turns
int8 into uint8 and leaves what is stated, and ONNX Runtime 1.31 then refuses its own graph."""

_FOLDED = 1 << 28
"""Bytes up to which ONNX Runtime computes a constant while it loads a model, or twice the weights where that
is more: what comes of weights is kept, what a small file blows up is not."""

T = TypeVar("T")
Level = Literal["none", "basic", "extended", "all"]
Kernels = Literal["exact", "host"]

_LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_SECONDS = 3600.0
"""For a run of a model with loops, whose number of turns may stand in the data."""

_NAMED = 3  # nodes in a message

_LARGEST_CONSTANT = "optimization.constant_folding_max_output_size_in_bytes"

_DTYPES: dict[str, np.dtype] = {
    "tensor(float16)": np.dtype("float16"),
    "tensor(float)": np.dtype("float32"),
    "tensor(double)": np.dtype("float64"),
    "tensor(bool)": np.dtype("bool"),
    "tensor(string)": np.dtype("object"),
    **{
        f"tensor({kind}{bits})": np.dtype(f"{kind}{bits}")
        for kind in ("int", "uint")
        for bits in (8, 16, 32, 64)
    },
}


@dataclass(frozen=True)
class TensorInfo:
    """A model input or output. `dtype` is None for what is not a plain tensor (sequence, map, optional);
    `shape` has None for a dimension that may vary."""

    name: str
    dtype: np.dtype | None
    shape: tuple[int | None, ...]
    kind: str

    def __str__(self) -> str:
        dims = "x".join("?" if dim is None else str(dim) for dim in self.shape)
        return f"{self.name} {self.kind.removeprefix('tensor(').removesuffix(')')}[{dims}]"


def available_threads(wanted: int) -> int:
    """`wanted`, but not more than the CPUs this process may use."""
    return max(
        1,
        min(
            wanted, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        ),
    )


@cache
def saturates() -> bool:
    """Whether ONNX Runtime's kernels for uint8 x int8 saturate on this CPU: tried out, not looked up."""
    activations, weights = np.full((4, 8), 255, np.uint8), np.full((8, 4), 127, np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "w"], ["y"])],
        "largest_products",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, activations.shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT32, None)],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (sums,) = session.run(None, {"a": activations})
    return not np.array_equal(sums, activations.astype(np.int64) @ weights.astype(np.int64))


class Session:
    """A model ready to run on the CPU.

    taps: names of intermediate values that `run` gives beside the model's outputs. optimized: file that
    receives the graph as ONNX Runtime really runs it, with the kernels of the CPU at hand. spin: threads stay
    awake after a run, which is quicker where the next one follows at once. kernels: "exact" computes what the
    file says; "host" runs the file as it is, with the kernels that ONNX Runtime has for this CPU.

    differs: what this CPU's own kernels would get wrong (see `exact.mend`); empty where that is nothing.

    Neither loading nor a run takes more memory than is free: it ends with an error instead.
    """

    def __init__(
        self,
        model: ir.Model | Path,
        *,
        taps: Sequence[str] = (),
        threads: int = 1,
        level: Level = "all",
        optimized: Path | None = None,
        spin: bool = True,
        kernels: Kernels = "exact",
    ) -> None:
        ort.disable_telemetry_events()  # nothing about the user's models leaves the machine
        options = ort.SessionOptions()
        options.graph_optimization_level = _LEVELS[level]
        options.intra_op_num_threads = available_threads(threads)
        options.inter_op_num_threads = 1
        if not spin:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # failures come back as exceptions; do not print them as well
        if optimized is not None:
            options.optimized_model_filepath = str(optimized)
        self._keep: list[TemporaryFolder] = []
        self.differs: frozenset[str] = frozenset()
        header = _header(model)
        self._divides = _divides(header)
        options.add_session_config_entry(_LARGEST_CONSTANT, str(_most_folded(header)))
        source = self._source(model, taps)
        self._disabled: list[str] = []
        if kernels == "exact" and optimized is None:
            options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")  # float32
            states_types = header is not None and models.opset(header) >= 21
            self._disabled = [_QUANTIZES_WEIGHTS, *([_STATES_TYPES] if states_types else [])]
            if _may_differ(header, level):
                with self._divisions():
                    source = self._mended(source, options, level)
            if level != "none" and any(_op_types(header, quantized_alone)):
                self.differs |= {WEIGHTS}
        with self._divisions():
            self._session = _session(source, options, self._disabled)
        self.inputs = tuple(map(_info, self._session.get_inputs()))
        self.outputs = tuple(map(_info, self._session.get_outputs()))
        self._long_calls = long_calls()
        self._buffers: dict[str, np.ndarray] = {}
        self._recurrent = any(op_type in RECURRENT for op_type in _op_types(header))
        self._seconds = _SECONDS if any(_op_types(header, _has_bodies)) else None

    def _divisions(self) -> AbstractContextManager[None]:
        """Inside, the end of the process by a division of integers is told; few models can come to that."""
        if not self._divides:
            return nullcontext()
        return told(
            f"ONNX Runtime divided integers where the processor refuses to, the smallest one by -1 it seems, "
            f"or any by zero; look at {self._divides}"
        )

    def _source(self, model: ir.Model | Path, taps: Sequence[str]) -> bytes | str:
        if isinstance(model, Path):
            return str(model)
        _check_functions(model)
        if models.weight_bytes(model) <= models.PROTOBUF_LIMIT:
            proto = models.to_proto(model)
            _tap(proto, taps)
            return proto.SerializeToString()
        path = self._folder() / "model.onnx"
        models.save(model, path, external=True)
        if taps:
            proto = onnx.load(path, load_external_data=False)
            _tap(proto, taps)
            onnx.save(proto, path)
        return str(path)

    def _mended(self, source: bytes | str, options: ort.SessionOptions, level: Level) -> bytes | str:
        """What computes what `source` states, by the graph that ONNX Runtime makes of it."""
        path, weights = self._folder() / "optimised.onnx", "optimised.data"
        options.graph_optimization_level = _LEVELS["extended" if level == "all" else level]
        options.optimized_model_filepath = str(path)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", weights)
        _session(source, options, self._disabled)
        options.graph_optimization_level = _LEVELS[level]
        options.optimized_model_filepath = ""
        proto = onnx.load(path)
        self.differs = mend(proto, saturates=saturates())
        if sum(len(tensor.raw_data) for tensor in proto.graph.initializer) > models.PROTOBUF_LIMIT:
            onnx.save(proto, path, save_as_external_data=True, location=weights)
            return str(path) if self.differs else source
        self._keep.pop().cleanup()
        return proto.SerializeToString() if self.differs else source

    def _folder(self) -> Path:
        """A folder that lasts as long as the session."""
        self._keep.append(TemporaryFolder())
        return Path(self._keep[-1].name)

    def run(
        self,
        feeds: Mapping[str, np.ndarray],
        outputs: Sequence[str] | None = None,
        *,
        seconds: float | None = None,
    ) -> list[np.ndarray]:
        """One forward pass; `outputs` in the order asked for (default: all, taps last).

        seconds: the most that it may take, told between two operators. Raises DataError, which names the node
        for which the memory or the time does not suffice.
        """
        given = dict(feeds)
        self._check_sizes(given)
        results: list[np.ndarray] = self._watched(
            lambda options: self._session.run(outputs, given, options), seconds or self._seconds
        )
        return results

    def _check_sizes(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Raises DataError for nothing to go through, which ends the process in some recurrent layers."""
        for name, array in feeds.items() if self._recurrent else ():
            if np.size(array) == 0:
                shape = "x".join(map(str, np.shape(array)))
                raise DataError(
                    f"input {shown(name)} holds no numbers (shape {shape}), which the model's recurrent "
                    f"layers cannot take; feed at least one step"
                )

    def _watched(self, act: Callable[[ort.RunOptions], T], seconds: float | None) -> T:
        """What the run `act` gives, within the memory that is free; also looked at where `seconds` are given.

        A signal that stops Knight ends it after the operator that it is at. Raises DataError where it fails.
        """
        options = ort.RunOptions()
        watch = None if seconds is None else Watch(options, seconds)
        break_off = partial(setattr, options, "terminate", True)
        try:
            with (
                memory.at_most_available(),
                breaking_off(break_off, self._long_calls),
                watch or nullcontext(),
                self._divisions(),
            ):
                return act(options)
        except Exception as error:  # ONNX Runtime's exception classes share no public root
            why = reason(error, watch.cause if watch is not None else "")
            raise DataError(f"ONNX Runtime failed on this sample: {why}") from error

    def run_in_place(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """One forward pass of all outputs into buffers that the next call overwrites.

        Many large taps would otherwise cost more time in fresh memory than in arithmetic. Outputs whose
        size does not follow from the inputs' dimensions are new arrays, as from `run`.
        """
        if any(info.dtype is None or info.dtype == object for info in (*self.inputs, *self.outputs)):
            return self.run(feeds)
        self._check_sizes(feeds)
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array).reshape(array.shape))  # scalars stay so
        buffers = [self._bind(binding, info, shape) for info, shape in self._output_shapes(feeds)]
        self._watched(lambda options: self._session.run_with_iobinding(binding, options), self._seconds)
        results = zip(buffers, binding.get_outputs(), strict=True)
        return [value.numpy() if buffer is None else buffer for buffer, value in results]

    def output_bytes(self, feeds: Mapping[str, np.ndarray]) -> dict[str, int]:
        """Size of each output for `feeds`, in bytes; 0 where it depends on more than their shapes."""
        return {
            info.name: int(np.prod(shape)) * info.dtype.itemsize if shape and info.dtype is not None else 0
            for info, shape in self._output_shapes(feeds)
        }

    def _output_shapes(
        self, feeds: Mapping[str, np.ndarray]
    ) -> Iterator[tuple[TensorInfo, tuple[int, ...] | None]]:
        """Each output with the shape it will have for `feeds`, None where that depends on more than their
        shapes.
        """
        sizes: dict[object, int] = {}
        for argument in self._session.get_inputs():
            sizes.update(zip(argument.shape, feeds[argument.name].shape, strict=False))
        for info, argument in zip(self.outputs, self._session.get_outputs(), strict=True):
            dims = [
                dim if isinstance(dim, int) else sizes.get(dim) if dim else None for dim in argument.shape
            ]
            known = tuple(dim for dim in dims if dim is not None and dim >= 0)  # else ONNX Runtime says why
            # An empty shape may be a scalar's, or that of a tensor of unknown rank.
            yield info, known if known and len(known) == len(dims) else None

    def _bind(
        self, binding: ort.IOBinding, info: TensorInfo, shape: tuple[int, ...] | None
    ) -> np.ndarray | None:
        if shape is None:
            binding.bind_output(info.name)
            return None
        buffer = self._buffers.get(info.name)
        if buffer is None or buffer.shape != shape:
            buffer = self._buffers[info.name] = np.empty(shape, info.dtype)
        binding.bind_output(info.name, "cpu", 0, info.dtype, shape, buffer.ctypes.data)
        return buffer


def shapes(
    model: ir.Model, names: Sequence[str], feeds: Mapping[str, np.ndarray]
) -> dict[str, tuple[int, ...]]:
    """The shapes that these values have for one sample; what is no tensor is left out."""
    results = Session(model, taps=names, level="none").run(feeds, names)
    found = zip(names, results, strict=True)
    return {name: array.shape for name, array in found if isinstance(array, np.ndarray)}


def _session(
    source: bytes | str, options: ort.SessionOptions, disabled: Sequence[str] = ()
) -> ort.InferenceSession:
    """disabled: names of optimizers to leave out."""
    providers = ["CPUExecutionProvider"]
    try:
        cancel = partial(options.set_load_cancellation_flag, True)
        with memory.at_most_available(), breaking_off(cancel, long_calls()):
            return ort.InferenceSession(
                source, options, providers=providers, disabled_optimizers=list(disabled)
            )
    except Exception as error:  # ONNX Runtime's exception classes share no public root
        raise ModelError(f"ONNX Runtime cannot load the model: {reason(error)}") from error


def _check_functions(model: ir.Model) -> None:
    """ONNX Runtime inlines them all, however many calls that makes."""
    functions = [ir.serde.serialize_function(one) for one in model.functions.values()]
    nodes = [ir.serde.serialize_node(node) for node in model.graph] if functions else []
    sizes.check_functions(functions, nodes, "the model")


def _most_folded(model: ir.Model | None) -> int:
    return max(_FOLDED, 0 if model is None else 2 * models.weight_bytes(model))


def _may_differ(model: ir.Model | None, level: Level) -> bool:
    fuses = level in ("extended", "all")  # else a Softmax stays one, and only integer operators saturate
    return (fuses or saturates()) and may_differ(_op_types(model), saturates=saturates())


def _header(model: ir.Model | Path) -> ir.Model | None:
    """The model without the weights in other files; None for what is none, which is told by who loads it."""
    if not isinstance(model, Path):
        return model
    try:
        return ir.from_proto(onnx.load(model, "protobuf", load_external_data=False))
    except Exception:
        return None


def _divides(model: ir.Model | None) -> str:
    """The nodes that divide integers, for a message; empty where there are none."""
    nodes = [] if model is None else [node for node in model.graph.all_nodes() if _divides_integers(node)]
    names = [f"{shown(node.name or node.outputs[0].name or '')} ({node.op_type})" for node in nodes]
    return ", ".join(names[:_NAMED]) + (" and others" if names[_NAMED:] else "")


def _divides_integers(node: ir.Node) -> bool:
    if node.op_type == "SplitToSequence":  # by the size of a part, which may be zero
        return True
    if node.op_type not in ("Div", "Mod") or not node.outputs:
        return False
    dtype = node.outputs[0].dtype
    return dtype is None or (dtype.is_integer() and dtype.is_signed())


def _has_bodies(node: ir.Node) -> bool:
    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(attribute.type in kinds for attribute in node.attributes.values())


def _op_types(model: ir.Model | None, wanted: Callable[[ir.Node], bool] = lambda node: True) -> Iterator[str]:
    """Of all operators that are wanted, in bodies and functions too."""
    if model is None:
        return
    yield from (node.op_type for node in model.graph.all_nodes() if wanted(node))
    for function in model.functions.values():
        yield from (node.op_type for node in function.all_nodes() if wanted(node))


def _tap(proto: onnx.ModelProto, taps: Sequence[str]) -> None:
    present = {output.name for output in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in taps if name not in present)


def _info(argument: ort.NodeArg) -> TensorInfo:
    shape = tuple(dim if isinstance(dim, int) else None for dim in argument.shape or ())
    return TensorInfo(argument.name, _DTYPES.get(argument.type), shape, argument.type)
