"""A quantized model taken apart: the float model beneath, and the parameters that stood on its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from knight import model as models
from knight.border import INPUT_DTYPES, NORMALIZATION, OFFSETS
from knight.names import Names
from knight.passes import PassOptions, passes
from knight.qdq._border import cast_inputs, real_outputs
from knight.qdq._constants import Constants, fold_constants, settle_parameters
from knight.qdq._ranges import take_out_clips
from knight.qdq._roundings import Edge, Roundings, take_out_roundings
from knight.qdq._saturation import restore_bounds
from knight.qdq.graph import DEQUANTIZE, QUANTIZE, Graph
from knight.qdq.integer_operators import input_at
from knight.qdq.lowering import lower
from knight.qdq.names import real_name
from knight.qdq.numbers import check_scales
from knight.qdq.recognise import Quantized, is_integer_operator, recognise
from knight.types import QParams

_STAYS_TRUE = (INPUT_DTYPES, NORMALIZATION, OFFSETS)
"""Metadata on the border, which stays as it is."""

_DROPS_BOUNDS = ("knight", "onnxruntime", None)
"""Tools that leave Relu and Clip to the saturation of integers; a tool that is not known may."""


@dataclass(frozen=True)
class Absorbed:
    """A quantized model as a float model and parameters.

    The quantized model's numbers come out where `model` runs with each value of `activations` rounded by its
    parameters, except that the edges in `unrounded` read it as it was made, and that those in `edges` round
    what they read (once more) by parameters of their own.

    model: in float32, with the numbers of the weights as they were dequantized. Names are the float model's
        as far as the tool's way of naming tells them; inputs and outputs keep theirs.
    activations: value name -> parameters.
    weights, biases: initializer name -> parameters of the integers that it was stored as, or rounded to.
    edges: (node name, input index) -> parameters of that reader alone.
    unrounded: edges that read the value before its own rounding. ("", index) stands for an output.
    left: node name -> why it is still there: what could not be absorbed.
    restored: names of the Relu and Clip nodes that the tool had left to the saturation of integers.
    recognised: what the quantized file says of itself, None where it is not quantized.
    """

    model: ir.Model
    activations: Mapping[str, QParams]
    weights: Mapping[str, QParams]
    biases: Mapping[str, QParams]
    edges: Mapping[Edge, QParams]
    unrounded: frozenset[Edge]
    left: Mapping[str, str]
    restored: tuple[str, ...]
    recognised: Quantized | None

    @property
    def tool(self) -> str | None:
        """Who quantized it, as far as the file tells."""
        return None if self.recognised is None else self.recognised.tool

    @property
    def integer_share(self) -> float:
        """Share of the operators with constant weights that read quantized inputs and weights."""
        return 0.0 if self.recognised is None else self.recognised.integer_share


def absorb(model: ir.Model) -> Absorbed:
    """Takes `model`, quantized by whatever tool, apart. It stays as it is, but for the order of its nodes.

    A float model comes back as it is, in Knight's outer form and without what no output needs. Raises
    ModelError for functions that cannot be inlined, and for scales by which nothing can be rounded.
    """
    check_scales(model.graph)
    recognised = recognise(model)
    options = PassOptions()
    passes.get("sort")(model, options)  # what is not sorted cannot be copied
    copy = model.clone()
    for name in ("clean_interface", "remove_unused", "name_nodes"):
        passes.get(name)(copy, options)
    names = Names.of(copy.graph)
    settle_parameters(copy, names)
    real_outputs(copy, names)
    ranges = take_out_clips(copy.graph)
    absorbed = lower(copy).model
    names = Names.of(absorbed.graph)
    constants = fold_constants(absorbed, ranges, names)
    inputs = cast_inputs(absorbed, names)
    found = take_out_roundings(absorbed, Graph(absorbed).constant, ranges, names)
    values = {**inputs, **found.values}
    passes.get("remove_unused")(absorbed, options)
    _restore_names(absorbed.graph, constants, values)
    restored = []
    if recognised is not None and recognised.tool in _DROPS_BOUNDS:
        raw = {*_read_raw(absorbed.graph, found), *inputs}  # the caller cuts nothing off
        restored = restore_bounds(absorbed, values, raw, Names.of(absorbed.graph))
    for key in [key for key in absorbed.metadata_props if key.startswith("knight.")]:
        if key not in _STAYS_TRUE:
            del absorbed.metadata_props[key]
    for name in ("clean_interface", "infer_shapes"):  # operator sets that are not used any more; new values
        passes.get(name)(absorbed, options)
    kept = set(models.values(absorbed.graph))
    return Absorbed(
        absorbed,
        _by_name(values, kept),
        _by_name(constants.weights, kept),
        _by_name(constants.biases, kept),
        found.edges,
        frozenset(found.unrounded),
        dict(_left(absorbed.graph, found)),
        tuple(restored),
        recognised,
    )


def _by_name(params: Mapping[ir.Value, QParams], kept: set[ir.Value]) -> dict[str, QParams]:
    return {value.name or "": each for value, each in params.items() if value in kept}


def _read_raw(graph: ir.Graph, found: Roundings) -> Iterator[ir.Value]:
    nodes = {node.name: node for node in graph.all_nodes()}
    for name, place in found.unrounded:
        value = graph.outputs[place] if name == "" else nodes[name].inputs[place]
        if value is not None:
            yield value


def _restore_names(graph: ir.Graph, constants: Constants, values: Mapping[ir.Value, QParams]) -> None:
    """Gives values and constants the names that they had in the float model, where nothing else has them."""
    taken = {value.name for node in graph.all_nodes() for value in node.outputs}
    taken.update(value.name for value in models.values(graph))
    wanted = {value: real_name(value.name or "") for value in values if not value.is_graph_output()}
    wanted.update((value, name) for value, name in constants.origins.items() if value.is_initializer())
    for value, name in wanted.items():
        fixed = value.is_graph_input() or value.graph is None
        if name and name not in taken and not fixed:
            taken.add(name)
            value.name = name


def _left(graph: ir.Graph, found: Roundings) -> Iterator[tuple[str, str]]:
    """Operators on integers that are still there, with the reason."""
    for node in graph.all_nodes():
        if node in found.refused:
            yield node.name or "", found.refused[node]
        elif node.graph is not graph and is_integer_operator(node):
            yield node.name or "", "stands in the body of an If, Loop or Scan"
        elif node.op_type in (QUANTIZE, DEQUANTIZE) and is_integer_operator(node):
            yield node.name or "", _why_it_converts(node)
        elif is_integer_operator(node):
            yield node.name or "", "its scales are not fixed, or stand for blocks"


def _why_it_converts(node: ir.Node) -> str:
    scale, source = input_at(node, 1), input_at(node, 0)
    if models.attribute(node, "block_size", 0):
        return "has one scale per block"
    if not models.is_constant(scale):
        return "its scale is computed while the model runs"
    if node.op_type == DEQUANTIZE:
        if source is not None and source.is_graph_input():
            return "dequantizes integers that the caller gives"
        return "dequantizes what no QuantizeLinear of fixed scale has made"
    if node.outputs[0].is_graph_output():
        return "its integers are an output of the model"
    return "its integers are read by an operator that cannot be absorbed"
