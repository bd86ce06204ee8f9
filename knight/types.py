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
class Accumulator:
    """An operator that sums products of integers, in units of ``scale(input) * scale(weight)``.

    bias: constant that becomes int32 in that unit, None without one. result: the quantized value that the
    sum becomes (behind a folded Relu or Clip), None where it is handed on as floats.
    """

    input: str
    weight: str
    bias: str | None
    result: str | None


@dataclass(frozen=True)
class QuantPlan:
    """What will be quantized and how; made before any data is seen.

    activations: value name -> spec, for every value that gets Q/DQ.
    shares: value name -> name of the value whose scale it uses (a group has one root; the root is
        not a key).
    sources: root -> the values whose statistics, merged, decide its scale.
    spans: root -> roots whose ranges it holds together, instead of a range of its own: what a Concat reads
        is clipped already.
    weights: constant name -> spec, quantized from its own numbers.
    accumulators: node name -> its accumulator, for the operators that have one.
    integer_nodes: nodes that run as integers. float_nodes: node name -> why it stays float.
    float_reads: (node name, input index) edges that read the unquantized value although the value
        is quantized for others.
    on_integers: nodes that read and make the integers themselves instead of dequantized numbers.
    fixed_point_outputs: graph outputs that leave the model as integers held in float.
    runtime: what runs the result: "onnxruntime", or "" where a chip does.
    """

    activations: Mapping[str, QuantSpec] = field(default_factory=dict)
    shares: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    spans: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    weights: Mapping[str, QuantSpec] = field(default_factory=dict)
    accumulators: Mapping[str, Accumulator] = field(default_factory=dict)
    integer_nodes: tuple[str, ...] = ()
    float_nodes: Mapping[str, str] = field(default_factory=dict)
    float_reads: frozenset[tuple[str, int]] = frozenset()
    on_integers: frozenset[str] = frozenset()
    fixed_point_outputs: tuple[str, ...] = ()
    runtime: str = ""

    def root(self, value: str) -> str:
        """Name of the value whose scale `value` uses."""
        return self.shares.get(value, value)

    @property
    def observed(self) -> tuple[str, ...]:
        """The values that need statistics."""
        return tuple(dict.fromkeys(name for members in self.sources.values() for name in members))
