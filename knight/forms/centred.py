"""centred: a Sub of whole numbers from the integers that the caller feeds, in place of the Cast before it.

Both stand behind a DequantizeLinear of scale 1 that says which integers they are; a QuantizeLinear follows,
as behind every operator.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.errors import ModelError
from knight.forms import Writing


def integers(writing: Writing) -> ir.Value | None:
    """None: a QuantizeLinear makes them."""
    node, blocks = writing.node, writing.blocks
    real, numbers = node.inputs[0], models.constant(node.inputs[1])
    cast = real.producer() if real is not None else None
    fed = cast.inputs[0] if cast is not None and cast.op_type == "Cast" else None
    if real is None or cast is None or fed is None or fed.dtype is None or numbers is None:
        raise ModelError(
            f"{node.name}: the plan has it work on an input's integers, and it reads none; "
            f"make the plan again"
        )
    name, dtype = real.name or "", fed.dtype.numpy()
    offset = node.inputs[1]
    assert offset is not None
    stored = blocks.initializer(f"{offset.name}_quantized", numbers.astype(dtype))
    for index, (integers, base, like) in enumerate(((fed, name, real), (stored, offset.name or "", offset))):
        scale = blocks.initializer(f"{base}_scale", np.asarray(1, np.float32))
        zero = blocks.initializer(f"{base}_zero_point", np.asarray(0, dtype))
        new = blocks.node("DequantizeLinear", [integers, scale, zero], base, ir.DataType.FLOAT, like)
        blocks.graph.insert_before(node, [new])
        node.replace_input_with(index, new.outputs[0])
    if not real.uses() and not real.is_graph_output():
        maker, replacement = cast, node.inputs[0]
        blocks.graph.remove(maker, safe=True)
        assert replacement is not None
        real.name, replacement.name = None, name
    return None
