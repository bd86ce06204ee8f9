"""equalization: channels between two layers are scaled so that both have weights of like size there.

What the first layer makes in channel i is divided by s_i and what the second reads there is multiplied by
it, which changes nothing where only operators stand between that let a positive factor pass. With r1_i and
r2_i the largest weights that make and read channel i, ``s_i = sqrt(r1_i r2_i) / r2_i`` makes them the same,
so that no channel is lost in steps that fit another. A Clip between stops it: its 6 would have to become one
bound per channel.
(Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction, section 4.1,
equation 11.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from knight import model as models, operators
from knight.bench import Bench
from knight.optimizers import Optimizer
from knight.types import Patch

HOMOGENEOUS = frozenset({"Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool"})
"""Operators with ``f(s x) = s f(x)`` for s > 0, that keep channels apart."""

_LAYERS = frozenset({"Conv", "Gemm"})
_SWEEPS = 40
_SETTLED = 1e-3
"""Layers in a row share channels: pairs are gone through until no factor is further than this from 1."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """Two layers whose channels between them can be scaled; `between`: values that are scaled with them."""

    first: ir.Node
    second: ir.Node
    between: tuple[str, ...]


def run(bench: Bench) -> Patch:
    """The constants of all pairs after equalization."""
    found = list(pairs(bench.graph, bench.plan.integer_nodes))
    bench.listener.detail(f"equalization: {len(found)} pairs of layers")
    layers = dict.fromkeys(node for pair in found for node in (pair.first, pair.second))
    constants = {
        value.name or "": np.array(models.constant(value), np.float64)
        for node in layers
        for value in node.inputs[1:]
        if value is not None
    }
    for _ in range(_SWEEPS):
        steps = [_equalize(pair, constants) for pair in found]
        if all(np.abs(np.log(step)).max() < _SETTLED for step in steps):
            break
    return Patch(
        constants={name: array.astype(np.float32) for name, array in constants.items()},
        moved=frozenset(name for pair in found for name in pair.between),
    )


def factors(made: Array, read: Array) -> Array:
    """s of each channel, from the largest magnitudes of the weights that make and read it.

    1 where one of them is 0: there nothing is read, or nothing but the bias is made.
    """
    used = (made > 0) & (read > 0)
    return np.where(used, np.sqrt(made * read) / np.where(used, read, 1.0), 1.0)


def _equalize(pair: Pair, constants: Mapping[str, Array]) -> Array:
    """Scales both layers' constants in place; gives the factors."""
    makes = _made_by(pair.first, constants[_name(pair.first, 1)])
    reads = _read_by(pair.second, constants[_name(pair.second, 1)])
    scale = factors(_largest(makes), _largest(reads))
    makes /= scale.reshape(*makes.shape[:2], *[1] * (makes.ndim - 2))
    reads *= scale.reshape(*reads.shape[:2], *[1] * (reads.ndim - 2))
    if operators.bias(pair.first) is not None:
        bias = constants[_name(pair.first, 2)]
        bias /= scale.reshape(bias.shape)
    return scale


def _made_by(node: ir.Node, weight: Array) -> Array:
    """A view (1, channels that the layer makes, ...) of its weight."""
    by_column = node.op_type == "Gemm" and not models.attribute(node, "transB", 0)
    return (weight.T if by_column else weight)[np.newaxis]


def _read_by(node: ir.Node, weight: Array) -> Array:
    """A view (groups, channels that each of them reads, ...) of a layer's weight."""
    if node.op_type == "Gemm":
        return (weight.T if models.attribute(node, "transB", 0) else weight)[np.newaxis]
    group = models.attribute(node, "group", 1)
    assert isinstance(group, int)
    return np.moveaxis(weight.reshape(group, -1, *weight.shape[1:]), 2, 1)


def _largest(weight: Array) -> Array:
    """Magnitude of each channel, which the first two axes count."""
    largest: Array = np.abs(weight).max(axis=tuple(range(2, weight.ndim)), initial=0.0).reshape(-1)
    return largest


def _name(node: ir.Node, index: int) -> str:
    value = node.inputs[index]
    return value.name or "" if value is not None else ""


# Which layers -------------------------------------------------------------------------------------------


def pairs(graph: ir.Graph, among: Sequence[str]) -> Iterator[Pair]:
    """All that can be equalized, in graph order. among: names of the nodes that may be changed."""
    names = set(among)
    for node in graph:
        if node.name in names and _is_layer(node, graph):
            between, second = _reader(node.outputs[0], graph)
            if second is not None and second.name in names and _is_layer(second, graph):
                yield Pair(node, second, between)


def _reader(value: ir.Value, graph: ir.Graph) -> tuple[tuple[str, ...], ir.Node | None]:
    """The values from `value` on that scale with it, and the layer that alone reads the last of them."""
    between: list[str] = []
    while True:
        between.append(value.name or "")
        uses = list(value.uses())
        if value.is_graph_output() or len(uses) != 1:
            return tuple(between), None
        node, index = uses[0]
        if node.graph is not graph or index != 0:
            return tuple(between), None
        if node.op_type not in HOMOGENEOUS:
            return tuple(between), node
        value = node.outputs[0]


def _is_layer(node: ir.Node, graph: ir.Graph) -> bool:
    """Whether its constants are its own, so that changing them changes nothing else."""
    if node.op_type not in _LAYERS or models.attribute(node, "transA", 0):
        return False
    constants = [value for value in node.inputs[1:] if value is not None]
    return all(
        value.name in graph.initializers
        and models.is_constant(value)
        and value.dtype == ir.DataType.FLOAT
        and len(value.uses()) == 1
        and not value.is_graph_output()
        for value in constants
    )


optimizer = Optimizer(run, changes="float")
