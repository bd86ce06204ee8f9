"""The source's layer names, without the wrappers that exporting put around them."""

from __future__ import annotations

import onnx_ir as ir


def without_wrappers(model: ir.Model) -> str:
    """Takes the path that all names share from every node and value; gives what was taken, '' for nothing.

    Exporting a Keras model calls its layers ``StatefulPartitionedCall/functional_1/conv1/Conv2D``.
    """
    border = {value.name for value in (*model.graph.inputs, *model.graph.outputs)}
    names = [node.name for node in model.graph if node.name and node.op_type != "Transpose"]
    prefix = _common_path(names)
    if not prefix:
        return ""
    taken = {value.name for value in model.graph.initializers.values()} | border
    for node in model.graph:
        node.name = (node.name or "").removeprefix(prefix)
        for value in node.outputs:
            short = (value.name or "").removeprefix(prefix)
            if value.name not in border and short and short not in taken:
                value.name = short
            taken.add(value.name)
    return prefix


def _common_path(names: list[str]) -> str:
    if len(names) < 2:
        return ""
    split = [name.split("/")[:-1] for name in names]
    shared = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return "/".join(shared) + "/" if shared else ""


def dimension_names(model: ir.Model) -> None:
    """tf2onnx calls an open dimension ``unk__42``: the first becomes ``batch``, others are named after their place."""
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.shape is None:
            continue
        dims: list[int | str | None] = []
        for axis, dim in enumerate(value.shape):
            dims.append(dim if isinstance(dim, int) else "batch" if axis == 0 else f"{value.name}_{axis}")
        value.shape = ir.Shape(dims)
