"""Types and shapes of all values, as far as ONNX's shape inference knows them (constants propagated)."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from knight import model as models, sizes
from knight.errors import ModelError
from knight.passes import PassOptions
from knight.passes._skeleton import skeleton
from knight.turns import check_turns

WHERE = "the model"


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of values whose type or shape became better known."""
    return infer(model)


def infer(model: ir.Model) -> int:
    """As `run`. Raises ModelError for shapes that contradict each other or need more memory than there is,
    and for loops that turn too often.
    """
    proto = skeleton(model)
    sizes.check_functions(proto.functions, proto.graph.node, WHERE)
    check_turns(proto.graph, WHERE)  # counts are computed, and functions inlined, after the model was loaded
    try:
        inferred = sizes.inferred(proto, WHERE)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(
            f"the model's shapes contradict each other: {' '.join(str(error).split())}"
        ) from error
    sizes.check_values(inferred.graph, WHERE)
    known = {value.name: value for value in models.values(ir.from_proto(inferred).graph)}
    return sum(
        _learn(value, known[value.name]) for value in models.values(model.graph) if value.name in known
    )


def _learn(value: ir.Value, inferred: ir.Value) -> bool:
    if value.is_initializer():
        return False
    before = (value.type, value.shape)
    if inferred.type is not None:
        value.type = inferred.type
    if inferred.shape is not None:
        value.shape = inferred.shape
    return before != (value.type, value.shape)
