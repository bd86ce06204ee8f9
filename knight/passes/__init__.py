"""Graph preparation: from the model as the user exported it to one canonical float model.

A pass is one file with ``run(model, options) -> int``: it changes the model in place, keeps its function, and
returns how many changes it made. Passes work on the top-level graph; the bodies of If, Loop and Scan stay as
they are, but what they read from outside is respected.

The order is one list to read, `ORDER`, where neighbours are weighed against each other. A pass that is not in
it, of Knight or of another distribution, says in its own file where it stands: ``after = "fuse_gelu"`` or
``before = "fuse_gelu"``. It stands at its slot's side wherever that is: beside a pass of a round of tidying,
it is part of each round. Several at one side stand in the order of their names. With ``tidies = True`` it is
among the passes for converted models too. ``knight plugins --passes`` prints the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from knight.errors import ConfigError, did_you_mean
from knight.registry import Registry


@dataclass(frozen=True)
class PassOptions:
    """What the passes need to know of the target and of the user's wishes.

    batch_size: fixed batch of the result, None keeps the source's. static_shapes: the target takes no dynamic
    dimension at all. output_names: values (or nodes) at which the graph is cropped. mean, std: normalization
    to put after the first input, one number per channel or one for all. opset: least opset of the result.
    recognise: composite operators to recognise from their decomposed form. threads: CPUs to use.
    extras: values of the options that other distributions add, by name.
    """

    batch_size: int | None = None
    static_shapes: bool = False
    output_names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    opset: int = 17
    recognise: frozenset[str] = frozenset()
    threads: int = 1
    extras: Mapping[str, Any] = field(default_factory=dict)


Pass = Callable[[ir.Model, PassOptions], int]

passes: Registry[Pass] = Registry("pass", "knight.passes", "knight.passes", "run")

_SIMPLIFY = (
    "fold_constants",
    "fold_shapes",
    "eliminate_identity",
    "deduplicate",
    "remove_unused",
    "infer_shapes",
)
"""One round of tidying; what a round leaves behind may let the next one find more."""

_SPELLINGS = (
    "pad_without_unsqueeze",
    "pad_from_concat",
    "merge_slices",
    "reduce_before_transpose",
    "flatten_from_reshape",
)
"""What each framework's exporter writes in its own way gets one form."""

ORDER: tuple[str, ...] = (
    "clean_interface",
    "name_nodes",
    "crop_outputs",
    "infer_shapes",
    "fold_shapes",  # the opset converter needs to know ranks
    "infer_shapes",
    "raise_opset",
    "clean_interface",  # the opset converter writes Constant nodes
    "name_nodes",
    "static_batch",
    "infer_shapes",
    *_SIMPLIFY,
    *_SPELLINGS,
    *_SIMPLIFY,
    "fuse_layer_norm",
    "fuse_normalization",
    "global_pool_from_reduce",  # after the norms, which are written with means
    "fuse_gelu",
    "fuse_activations",
    "fold_batch_norm",
    "gemm_from_matmul_add",
    "gemm_from_batched_matmul",
    "fold_pad",
    "normalize_input",
    "fold_batch_norm",  # what the normalization could not be folded into by itself
    *_SIMPLIFY,
    "sort",
    "name_nodes",
)

TIDY: tuple[str, ...] = (
    "clean_interface",
    "name_nodes",
    "infer_shapes",
    "fold_shapes",
    "infer_shapes",
    "raise_opset",
    "clean_interface",
    "name_nodes",
    "infer_shapes",
    *_SIMPLIFY,
    *_SPELLINGS,
    *_SIMPLIFY,
    "fold_batch_norm",
    *_SIMPLIFY,
    "sort",
    "name_nodes",
)
"""What a freshly converted model goes through: nothing that depends on where it will be deployed."""


def order() -> tuple[str, ...]:
    """The passes of `prepare`: those of `ORDER`, and at their slots all that are in no list.

    Raises ConfigError for a pass that names no slot, or one that is not there.
    """
    return _with_slots(ORDER, _unlisted(), "pass")


def tidy_order() -> tuple[str, ...]:
    """The passes of `tidy`: those of `TIDY`, and at their slots those that say ``tidies = True``."""
    tidying = [name for name in _unlisted() if passes.declared(name, "tidies", False)]
    return _with_slots(TIDY, tidying, "pass for converted models")


def _unlisted() -> list[str]:
    return [name for name in passes.names() if name not in ORDER]


def slot(name: str) -> tuple[str, str]:
    """Where a pass that is in no list stands: ("after" or "before", name of another pass)."""
    sides = {side: passes.declared(name, side) for side in ("after", "before")}
    given = [(side, other) for side, other in sides.items() if other is not None]
    if len(given) != 1 or not isinstance(given[0][1], str):
        raise ConfigError(
            f"pass {name!r} ({passes.origin(name)}) has to say where it stands: "
            f'write after = "fuse_gelu", say, or before = ..., into its module'
        )
    return given[0]


def _with_slots(listed: Sequence[str], others: Sequence[str], kind: str) -> tuple[str, ...]:
    """`listed`, with each of the `others` wherever its slot is. Raises ConfigError for a slot that is not."""
    slots = {name: slot(name) for name in others}
    beside: dict[tuple[str, str], list[str]] = {}
    for name, place in slots.items():
        beside.setdefault(place, []).append(name)

    def around(name: str) -> Iterator[str]:
        for other in beside.get(("before", name), ()):
            yield from around(other)
        yield name
        for other in beside.get(("after", name), ()):
            yield from around(other)

    known = {*listed, *slots}
    for name, (side, other) in slots.items():
        if other not in known:
            raise ConfigError(
                f"{_stands(name, side, other)}, and no {kind} is called so: {did_you_mean(other, known)}"
            )
    resolved = tuple(name for one in listed for name in around(one))
    for name, (side, other) in slots.items():
        if name not in resolved:
            raise ConfigError(
                f"{_stands(name, side, other)}, which leads round in a circle; give it another slot"
            )
    return resolved


def _stands(name: str, side: str, other: str) -> str:
    return f"pass {name!r} ({passes.origin(name)}) is to stand {side} {other!r}"


def prepare(
    model: ir.Model,
    options: PassOptions,
    on_pass: Callable[[str, int], None] | None = None,
) -> ir.Model:
    """A canonical copy of `model`. `on_pass` hears each pass's name and count.

    The source is left alone, but for the order of its nodes if they were not sorted.
    """
    passes.get("sort")(model, options)  # what is not sorted cannot be copied
    prepared = model.clone()
    for name in order():
        changes = passes.get(name)(prepared, options)
        if on_pass is not None:
            on_pass(name, changes)
    return prepared


def tidy(model: ir.Model, options: PassOptions) -> ir.Model:
    """A copy of `model` as its author would have written it: constants and BatchNormalization folded."""
    passes.get("sort")(model, options)
    tidied = model.clone()
    for name in tidy_order():
        passes.get(name)(tidied, options)
    return tidied
