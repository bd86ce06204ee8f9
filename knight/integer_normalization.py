"""The normalization of an integer input in a form that runs as integers, for chips that ask for it.

``scale * (x - mean)`` of an integer x is ``scale * (x - m) + scale * (m - mean)`` for whole numbers m. What
is left to compute is ``x - m``, a Sub of integers, or nothing where m is 0; the scale and the rest of the
mean go into the weights and biases of the Conv, Gemm and MatMul that read it, also through operators that
only move or select.

Where none of these pads with zeros, any m is exact, and the one is taken with which all integers of the
input are those of the chip (128 for uint8 on int8). Where one does, its zeros mean the mean: m is the mean,
rounded, and the rest of it, half a step of the input at most, is right everywhere but in the results that
the zeros reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from knight import border
from knight.edit import Editor
from knight.input_ways import Doubles, Stays, Way, way_from
from knight.model import name_of
from knight.passes import PassOptions, passes
from knight.passes._fold import Affine, fold_before
from knight.preparing import Prepared
from knight.types import QuantSpec

_NEGLIGIBLE = 1e-6  # of a step of the input
_SUFFIX = "_shifted"


Sources = Callable[[ir.Model], Sequence[ir.Value]]
Offsets = Callable[[Way], NDArray[np.int64]]


@dataclass(frozen=True)
class Folded:
    """A prepared model in a form whose normalization is in its weights.

    prepared: that form. observed: the form that it was made from, which has all values of both. operators:
    names of those in `prepared` that have to run as integers. values: what the weights multiply.
    """

    prepared: Prepared
    observed: Prepared
    operators: tuple[str, ...]
    values: tuple[str, ...]


def fold(prepared: Prepared, spec: QuantSpec) -> Folded | str:
    """The form of `prepared` whose normalization is in the weights, or why there is none.

    spec: the chip's integers.
    """
    chosen: dict[str, list[int]] = {}

    def offsets(way: Way) -> NDArray[np.int64]:
        source = _fed(way)
        assert source.dtype is not None
        found = _offsets(way, np.iinfo(source.dtype.numpy()), spec)
        chosen[name_of(source)] = found.reshape(-1).tolist()
        return found

    def sources(model: ir.Model) -> list[ir.Value]:
        nodes = (node for node in model.graph if node.name in prepared.border.casts)
        return [node.outputs[0] for node in nodes if next(border.affine_chain(node.outputs[0]), None)]

    try:
        observed, _ = _with_branches(prepared.model, sources, offsets)
        folded, ways = _folded(prepared.model, sources, offsets)
    except Stays as reason:
        return str(reason)
    border.record_offsets(folded, chosen)
    described = border.described(folded, prepared.border.types)
    operators = [node.name or "" for way in ways for node in (*way.movers, *way.readers)]
    return Folded(
        Prepared(folded, described),
        Prepared(observed, prepared.border),
        (*described.centring, *operators),
        tuple(described.whole),
    )


def folded_like(model: ir.Model, offsets: Mapping[str, Sequence[int]]) -> ir.Model:
    """A copy of the float model `model` whose inputs' normalization is folded as in one that subtracts
    `offsets`; `model` itself where that does not fit it.
    """

    def sources(twin: ir.Model) -> list[ir.Value]:
        return [value for value in twin.graph.inputs if value.name in offsets]

    def given(way: Way) -> NDArray[np.int64]:
        numbers = np.asarray(offsets[name_of(way.source)], np.int64)
        if numbers.size not in (1, way.scale.size):
            raise Stays("another number of channels")
        return numbers.reshape(way.scale.shape if numbers.size > 1 else (1,) * way.scale.ndim)

    try:
        return _folded(model, sources, given)[0]
    except Stays:
        return model


def _with_branches(
    model: ir.Model, sources: Sources, offsets: Offsets
) -> tuple[ir.Model, list[tuple[Way, Mapping[ir.Value, ir.Value]]]]:
    """A copy of `model` that computes beside everything else what the weights will multiply; of every way the
    value that stands for each of its own.
    """
    twin = model.clone()
    ways = [way_from(twin, source) for source in sources(twin)]
    return twin, [(way, _branch(twin, way, offsets(way))) for way in ways]


def _folded(model: ir.Model, sources: Sources, offsets: Offsets) -> tuple[ir.Model, list[Way]]:
    """A copy of `model` whose weights multiply that. Raises Stays."""
    twin, branches = _with_branches(model, sources, offsets)
    renamed: dict[str, ir.Node] = {}
    edit = Editor(twin.graph)
    ways = []
    for way, branch in branches:
        rest = _rest(way, offsets(way)).reshape(-1)
        factors = (way.scale * np.ones_like(way.mean)).reshape(-1)
        for reader, channels in way.readers.items():
            affine = Affine(factors[channels], rest[channels])
            if not fold_before(edit, reader, affine, padded=True):
                raise Stays(f"the weights of {reader.op_type} {reader.name!r} cannot take it in")
            read = reader.inputs[0]
            assert read is not None
            reader.replace_input_with(0, branch[read])
        copies = [_maker(branch[mover.outputs[0]]) for mover in way.movers]
        renamed.update({mover.name or "": copy for mover, copy in zip(way.movers, copies, strict=True)})
        ways.append(Way(way.source, way.chain, way.scale, way.mean, copies, way.readers, way.padded))
    passes.get("remove_unused")(twin, PassOptions())
    for name, copy in renamed.items():  # whoever names an operator means this one
        copy.name = name
    return twin, ways


# The other form ------------------------------------------------------------------------------------------


def _offsets(way: Way, limits: np.iinfo, spec: QuantSpec) -> NDArray[np.int64]:
    """m: whole numbers of the input's type, one for all where they are the same."""
    if way.padded:
        found = np.rint(way.mean)
    elif spec.qmin <= limits.min and limits.max <= spec.qmax:
        found = np.zeros((1,) * way.mean.ndim)
    else:
        found = np.full((1,) * way.mean.ndim, limits.min - spec.qmin)
    whole: NDArray[np.int64] = np.clip(found, limits.min, limits.max).astype(np.int64)
    same = whole.size > 0 and bool((whole == whole.flat[0]).all())
    return whole.flat[0].reshape((1,) * whole.ndim) if same else whole


def _rest(way: Way, offsets: NDArray[np.int64]) -> Doubles:
    """``scale * (m - mean)``."""
    off = offsets - way.mean
    rest: Doubles = np.where(np.abs(off) < _NEGLIGIBLE, 0.0, off * way.scale)
    return rest


def _branch(model: ir.Model, way: Way, offsets: NDArray[np.int64]) -> dict[ir.Value, ir.Value]:
    """Puts ``x - m``, and what moves it, beside the chain and what is behind it; the value for each there."""
    edit, source = Editor(model.graph), way.source
    end = way.chain[-1].outputs[0] if way.chain else source
    stands = {end: source}
    if offsets.any():
        name, numbers = _fed(way).name, offsets.reshape(_trimmed(offsets.shape)).astype(np.float32)
        constant = edit.constant(f"{name}_offset", numbers)
        before = next(node for node in model.graph if source in node.inputs)
        node = edit.new_node(
            before, "Sub", [source, constant], name=f"{name}{_SUFFIX}", output=f"{name}{_SUFFIX}", like=source
        )
        stands[end] = node.outputs[0]
    for mover in way.movers:
        stands.update(zip(mover.outputs, _copied(edit, mover, stands), strict=True))
    return stands


def _copied(edit: Editor, mover: ir.Node, stands: Mapping[ir.Value, ir.Value]) -> Iterator[ir.Value]:
    """The outputs of a copy of `mover` behind it that reads what `stands` for its inputs."""
    inputs = [stands.get(value, value) if value is not None else None for value in mover.inputs]
    copy = ir.Node(
        mover.domain,
        mover.op_type,
        inputs,
        mover.attributes.values(),
        num_outputs=len(mover.outputs),
        name=edit.names.fresh(f"{mover.name}{_SUFFIX}"),
    )
    for old, new in zip(mover.outputs, copy.outputs, strict=True):
        new.name = edit.names.fresh(f"{old.name}{_SUFFIX}")
        new.type, new.shape = old.type, old.shape
    edit.graph.insert_after(mover, copy)
    return iter(copy.outputs)


def _trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """`shape` without the leading axes of one element."""
    first = next((place for place, size in enumerate(shape) if size > 1), len(shape))
    return shape[first:]


def _fed(way: Way) -> ir.Value:
    """The model's input, which a Cast may stand behind."""
    cast = way.source.producer()
    value = way.source if cast is None else cast.inputs[0]
    assert value is not None
    return value


def _maker(value: ir.Value) -> ir.Node:
    node = value.producer()
    assert node is not None
    return node
