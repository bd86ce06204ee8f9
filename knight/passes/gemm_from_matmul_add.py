"""MatMul with a constant matrix, plus a constant vector, becomes one Gemm.

The factors of a Gemm go into its constants:
``alpha * A B + beta * C = A (alpha B) + (beta C)``. Only for 2-D operands, which is what Gemm takes.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.edit import Editor, hand_over
from knight.operators import is_op
from knight.passes import PassOptions
from knight.passes._fold import Affine, fold_after, fold_factors, output_channels
from knight.passes._queries import live_nodes, rank, sole_consumer


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of Add operators that went away and of Gemm operators that lost their factors."""
    del options
    changes, edit = 0, Editor(model.graph)
    for node in live_nodes(model.graph):
        changes += is_op(node, "Add") and _fuse(edit, node)
    for node in live_nodes(model.graph):
        changes += is_op(node, "Gemm") and fold_factors(edit, node)
    return changes


def _fuse(edit: Editor, add: ir.Node) -> bool:
    for product, vector in (add.inputs, tuple(reversed(add.inputs))):
        matmul = product.producer() if product is not None else None
        if product is None or matmul is None or not is_op(matmul, "MatMul") or rank(matmul.inputs[0]) != 2:
            continue
        channels = output_channels(matmul)
        if channels is None or channels.rank != 2 or sole_consumer(product) is not add:
            continue
        shift = channels.spread(models.constant(vector))
        if shift is not None and fold_after(edit, matmul, Affine(np.ones(channels.count), shift)):
            hand_over(add.outputs[0], product)
            return True
    return False
