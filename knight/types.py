"""The facts about quantization that travel between the steps, kept beside the graph.

Everything is keyed by value or node name; nothing here knows of graphs or runtimes.
Notation: ``real = scale * (q - zero_point)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]


@dataclass(frozen=True)
class QuantSpec:
    """How a tensor is quantized (not with which numbers).

    bits: width of the integer. signed: int or uint. symmetric: the zero point is fixed (`fixed_zero`), and
    the range is mirrored where that leaves integers below it. axis: the channel axis of a per-channel tensor,
    None for one scale per tensor. narrow: leaves out the smallest integer of a mirrored range (-127..127), so
    that negation is exact. centred: symmetric unsigned integers around the middle of their range: the grid of
    the signed ones with half the range added (uint8 around 128). block_size: elements along `axis` that share
    one scale (fewer in the last block); every place on the other axes then has scales of its own.
    """

    bits: int = 8
    signed: bool = True
    symmetric: bool = True
    axis: int | None = None
    narrow: bool = False
    centred: bool = False
    block_size: int | None = None

    @property
    def fixed_zero(self) -> int:
        """The zero point of a symmetric spec."""
        return 1 << (self.bits - 1) if self.centred and not self.signed else 0

    @property
    def qmin(self) -> int:
        """Smallest integer in use."""
        if not self.signed:
            return int(self.narrow and self.centred)
        return -(1 << (self.bits - 1)) + int(self.narrow)

    @property
    def qmax(self) -> int:
        """Largest integer in use."""
        return (1 << (self.bits - int(self.signed))) - 1

    @property
    def needs_wide_opset(self) -> bool:
        """Whether QuantizeLinear has it since opset 21 only."""
        return not 4 < self.bits <= 8

    @property
    def dtype(self) -> np.dtype:
        """NumPy type that holds the integers; those of 4 bits are ml_dtypes', as in onnx."""
        if self.bits <= 4:
            kind: np.dtype = np.dtype(ml_dtypes.int4 if self.signed else ml_dtypes.uint4)
            return kind
        width = 8 if self.bits <= 8 else 16 if self.bits <= 16 else 32
        return np.dtype(f"{'int' if self.signed else 'uint'}{width}")


@dataclass(frozen=True)
class QParams:
    """The numbers of a quantized tensor: float32 `scale` and the integers of its zero points.

    Both are 0-d, or 1-d along `spec.axis`, or with blocks of the tensor's shape, but that `spec.axis` counts
    blocks.
    """

    spec: QuantSpec
    scale: FloatArray
    zero_point: IntArray

    @property
    def low(self) -> FloatArray:
        """Smallest real number that can be represented."""
        return self.scale * (self.spec.qmin - self.zero_point.astype(np.float64))

    @property
    def high(self) -> FloatArray:
        """Largest real number that can be represented."""
        return self.scale * (self.spec.qmax - self.zero_point.astype(np.float64))


@dataclass(frozen=True)
class Tensor:
    """One value at one width: what stands between a QuantizeLinear and its DequantizeLinear.

    value: name of the float value. group: key of the group whose scale and zero point it has.
    """

    value: str
    group: str


@dataclass(frozen=True)
class Group:
    """Tensors that share one scale and zero point.

    spec: their grid. method, options: the calibration method that decides the range, and its options where
        they are not the default ones.
    sources: names of the values whose statistics, merged, decide it.
    spans: keys of groups whose ranges it holds together, instead of a range of its own: what a Concat reads
        is clipped already.
    """

    spec: QuantSpec
    method: str
    options: Mapping[str, float] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    spans: tuple[str, ...] = ()


@dataclass(frozen=True)
class Weight:
    """A constant that is quantized from its own numbers, for the operators that read it in this way."""

    constant: str
    spec: QuantSpec


@dataclass(frozen=True)
class Accumulator:
    """An operator that sums products of integers, in units of ``scale(input) * scale(weight)``.

    input, weight: keys of the tensor and the weight. bias: constant that becomes int32 in that unit, None
    without one. result: key of the tensor that the sum becomes (behind a folded Relu or Clip), None where it
    is handed on as floats.
    """

    input: str
    weight: str
    bias: str | None
    result: str | None


@dataclass(frozen=True)
class Patch:
    """New numbers for a model or its plan, whose graphs stay as they are.

    constants: name of a float constant -> numbers of the same shape. biases: node name -> float numbers of
        its bias, for this node alone, whoever else reads the constant.
    activations: key of a group -> its numbers. weights: key of a weight -> its numbers, where its extremes
        shall not decide.
    moved: values that the new constants give another range, so that they have to be observed again.
    """

    constants: Mapping[str, FloatArray] = field(default_factory=dict)
    biases: Mapping[str, FloatArray] = field(default_factory=dict)
    activations: Mapping[str, QParams] = field(default_factory=dict)
    weights: Mapping[str, QParams] = field(default_factory=dict)
    moved: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return any((self.constants, self.biases, self.activations, self.weights))

    def followed_by(self, later: Patch) -> Patch:
        """Both; where both have numbers, the later ones."""
        return Patch(
            {**self.constants, **later.constants},
            {**self.biases, **later.biases},
            {**self.activations, **later.activations},
            {**self.weights, **later.weights},
            self.moved | later.moved,
        )


Edge = tuple[str, int]
"""(node name, input index)."""


@dataclass(frozen=True)
class QuantPlan:
    """What will be quantized and how; made before any data is seen. Mappings are in graph order.

    tensors: key -> tensor, for every width of every value that gets Q/DQ. The key of a value's first width
        is the value's name.
    groups: key -> group; every tensor belongs to one.
    weights: key -> constant that is quantized; the key of its first way is the constant's name.
    reads: edge -> key of the tensor or weight that is read there; all other edges read the float value.
    outputs: graph output -> key of the tensor that it is taken from, for what integer operators make.
    fixed_point_outputs: those that leave the model as integers held in float.
    accumulators: node name -> its accumulator, for the operators that have one.
    integer_nodes: nodes that run as integers. float_nodes: node name -> why it stays float.
    forms: node name -> how it is written (see `knight.forms`), where that is not "dequantized".
    runtime: what runs the result: "onnxruntime", or "" where a chip does.
    multiplier_bits, shift_range: the chip's requantization (see `Target`); 0 bits where it needs none.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    weights: Mapping[str, Weight] = field(default_factory=dict)
    reads: Mapping[Edge, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    fixed_point_outputs: tuple[str, ...] = ()
    accumulators: Mapping[str, Accumulator] = field(default_factory=dict)
    integer_nodes: tuple[str, ...] = ()
    float_nodes: Mapping[str, str] = field(default_factory=dict)
    forms: Mapping[str, str] = field(default_factory=dict)
    runtime: str = ""
    multiplier_bits: int = 0
    shift_range: tuple[int, int] = (0, 31)

    def spec(self, tensor: str) -> QuantSpec:
        """The grid of the tensor with this key."""
        return self.groups[self.tensors[tensor].group].spec

    def of_value(self, value: str) -> tuple[str, ...]:
        """Keys of the tensors of one value."""
        return tuple(key for key, tensor in self.tensors.items() if tensor.value == value)

    @property
    def observed(self) -> tuple[str, ...]:
        """The values that need statistics."""
        return tuple(dict.fromkeys(name for group in self.groups.values() for name in group.sources))
