"""Graph preparation: from the model as the user exported it to one canonical float model.

A pass is one file with ``run(model, options) -> int``: it changes the model in place, keeps its function, and
returns how many changes it made. Passes work on the top-level graph; the bodies of If, Loop and Scan stay as
they are, but what they read from outside is respected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from knight.registry import Registry


@dataclass(frozen=True)
class PassOptions:
    """What the passes need to know of the target and of the user's wishes.

    batch_size: fixed batch of the result, None keeps the source's. static_shapes: the target takes no dynamic
    dimension at all. output_names: values (or nodes) at which the graph is cropped. mean, std: normalization
    to put after the first input, one number per channel or one for all. opset: least opset of the result.
    recognise: composite operators to recognise from their decomposed form. threads: CPUs to use.
    """

    batch_size: int | None = None
    static_shapes: bool = False
    output_names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    opset: int = 17
    recognise: frozenset[str] = frozenset()
    threads: int = 1


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
    for name in ORDER:
        changes = passes.get(name)(prepared, options)
        if on_pass is not None:
            on_pass(name, changes)
    return prepared


def tidy(model: ir.Model, options: PassOptions) -> ir.Model:
    """A copy of `model` as its author would have written it: constants and BatchNormalization folded."""
    passes.get("sort")(model, options)
    tidied = model.clone()
    for name in TIDY:
        passes.get(name)(tidied, options)
    return tidied
