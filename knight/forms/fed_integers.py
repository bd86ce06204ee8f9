"""fed_integers: the Cast of an input that takes integers, where the quantizer would give them back."""

from __future__ import annotations

import onnx_ir as ir

from knight.forms import Writing


def integers(writing: Writing) -> ir.Value | None:
    """What the caller feeds, where its integers are the tensor's and nobody reads the floats."""
    source, params = next(iter(writing.node.inputs), None), writing.params
    same = source is not None and source.dtype == ir.DataType.from_numpy(params.zero_point.dtype)
    if not same or float(params.scale) != 1.0 or int(params.zero_point) != 0:
        return None
    only = bool(writing.readers) and len(writing.readers) == len(writing.value.uses())
    return source if only and not writing.value.is_graph_output() else None
