"""After a change in place: the new values of the other tensors that share the changed memory.

ONNX has values, not memory. ``y[:, 0].add_(1)`` therefore becomes a new value of the view, written into `y`,
and read again by every other view of `y`. Which element is where is told by the example results, which share
memory as the user's tensors do.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import fx

from knight.converters.pytorch._translator import Translator
from knight.converters.pytorch.ops import table

Index = tuple[Any, ...]
Rebuild = Callable[[], ir.Value]

_STORES = {operator.setitem, operator.iadd, operator.isub, operator.imul, operator.itruediv}


def shares(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Both look at the same memory, perhaps at different places."""
    return left.untyped_storage().data_ptr() == right.untyped_storage().data_ptr()


def same_elements(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Both are the same numbers in the same order and shape."""
    if left.shape != right.shape or left.storage_offset() != right.storage_offset():
        return False
    steps = zip(left.shape, left.stride(), right.stride(), strict=True)
    return all(size == 1 or here == there for size, here, there in steps)


def update_views(
    t: Translator, values: dict[fx.Node, Any], changed: Sequence[fx.Node], others: Sequence[fx.Node]
) -> list[fx.Node]:
    """Gives `others`, which share memory with the `changed` nodes, their new values; returns the rest.

    changed: nodes whose entry in `values` is the new value already, all of the same elements.
    """
    whole = list(changed)  # contain all elements that changed, and are up to date
    partly: list[fx.Node] = []
    pending = list(others)
    progress = True
    while pending and progress:
        progress = False
        for node in list(pending):
            found = _rebuilt(t, values, node, whole, partly)
            if found is None:
                continue
            values[node], is_whole = found[0](), found[1]
            (whole if is_whole else partly).append(node)
            pending.remove(node)
            progress = True
    return pending


def _rebuilt(
    t: Translator,
    values: dict[fx.Node, Any],
    node: fx.Node,
    whole: Sequence[fx.Node],
    partly: Sequence[fx.Node],
) -> tuple[Rebuild, bool] | None:
    """How `node` follows from a node that is up to date, and whether it then holds all that changed."""
    for source in whole:
        for relation in (_written_into, _reshaped, _permuted):
            rebuild = relation(t, values, node, source)
            if rebuild is not None:
                return rebuild, True
    for source in (*whole, *partly):
        rebuild = _read_from(t, values, node, source)
        if rebuild is not None:
            return rebuild, False
    return None


def _written_into(t: Translator, values: dict[fx.Node, Any], node: fx.Node, part: fx.Node) -> Rebuild | None:
    index = _index_of(part, node)
    if index is None:
        return None
    return lambda: _translated(t, operator.setitem, node, node, values[node], index, values[part])


def _read_from(t: Translator, values: dict[fx.Node, Any], node: fx.Node, base: fx.Node) -> Rebuild | None:
    index = _index_of(node, base)
    if index is None:
        return None
    return lambda: _translated(t, operator.getitem, node, base, values[base], index)


def _reshaped(t: Translator, values: dict[fx.Node, Any], node: fx.Node, source: fx.Node) -> Rebuild | None:
    for here, there in zip(_examples(node), _examples(source), strict=True):
        flat = here.is_contiguous() and there.is_contiguous() and here.numel() == there.numel()
        if not flat or here.storage_offset() != there.storage_offset():
            return None

    def rebuild() -> ir.Value:
        t.examples, t.inputs = _examples(node), [[example] for example in _examples(source)]
        return t.reshape(values[source])

    return rebuild


def _permuted(t: Translator, values: dict[fx.Node, Any], node: fx.Node, source: fx.Node) -> Rebuild | None:
    def order(example: torch.Tensor) -> list[int]:
        return sorted(range(example.ndim), key=lambda axis: (-example.stride()[axis], axis))

    here, there = _examples(node)[0], _examples(source)[0]
    if here.ndim != there.ndim:
        return None
    axes = [0] * here.ndim  # the axis of `source` that becomes each axis of `node`
    for axis, origin in zip(order(here), order(there), strict=True):
        axes[axis] = origin
    pairs = zip(_examples(node), _examples(source), strict=True)
    if not all(same_elements(wanted, example.permute(axes)) for wanted, example in pairs):
        return None
    return lambda: t.op("Transpose", values[source], perm=axes)


def _translated(
    t: Translator, function: Callable[..., Any], result: fx.Node, first: fx.Node, *args: Any
) -> ir.Value:
    t.examples, t.inputs = _examples(result), [[example] for example in _examples(first)]
    value: ir.Value = table()[function](t, *args)
    return value


def _examples(node: fx.Node) -> Sequence[torch.Tensor]:
    examples: Sequence[torch.Tensor] = node.meta["examples"]
    return examples


def _index_of(part: fx.Node, base: fx.Node) -> Index | None:
    """The index for which ``base[index]`` is `part` in every run, None where there is none."""
    runs = list(zip(_examples(part), _examples(base), strict=True))
    for index in _candidates(*runs[0]):
        if all(_is_at(piece, example, index) for piece, example in runs):
            return index
    return None


def _is_at(part: torch.Tensor, base: torch.Tensor, index: Index) -> bool:
    try:
        return same_elements(part, base[index])
    except IndexError:
        return False


def _candidates(part: torch.Tensor, base: torch.Tensor) -> Iterator[Index]:
    """Indices of integers and slices that may lead from `base` to `part`, by their strides and offsets."""
    if part.ndim > base.ndim or 0 in base.stride() or not part.numel():
        return
    starts, rest = [0] * base.ndim, part.storage_offset() - base.storage_offset()
    if rest < 0:
        return
    for axis in np.argsort([-step for step in base.stride()], kind="stable"):
        if base.shape[axis] > 1:
            starts[axis], rest = divmod(rest, base.stride()[axis])
    for kept in combinations(range(base.ndim), part.ndim):
        index: list[Any] = list(starts)
        for axis, size, step in zip(kept, part.shape, part.stride(), strict=True):
            index[axis] = _slice(starts[axis], size, step // base.stride()[axis] or 1, base.shape[axis])
        yield tuple(index)


def _slice(start: int, count: int, step: int, size: int) -> slice:
    """`count` elements of an axis of `size`; open-ended where they reach its end, for axes of open size."""
    if start == 0 and step == 1 and count == size:
        return slice(None)
    stop = start + (count - 1) * step + 1
    return slice(start, None if stop == size else stop, step)


def changed_by(node: fx.Node) -> fx.Node | None:
    """Whose value a change in place replaces: that of `out`, or of the first argument."""
    first = node.args[0] if node.args else node.kwargs.get("input")
    target = node.kwargs.get("out", first)
    return target if isinstance(target, fx.Node) else None


def is_in_place(node: fx.Node) -> bool:
    """By torch's convention for names, by ``inplace=True``, or by ``out``."""
    if node.op == "call_method":
        name = str(node.target)
        return name.endswith("_") and not name.endswith("__")
    if node.op != "call_function":
        return False
    name = getattr(node.target, "__name__", "")
    return (
        node.target in _STORES
        or node.kwargs.get("inplace") is True
        or node.kwargs.get("out") is not None
        or (name.endswith("_") and not name.endswith("__") and not name.startswith("_"))
    )
