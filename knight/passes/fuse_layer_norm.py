"""Recognises LayerNormalization (Ba et al., 2016) in the operators that exporters write for it.

``gamma * (x - mean) / sqrt(mean((x - mean)^2) + epsilon) + beta`` over the last axes, for constant gamma
and beta.
"""

from __future__ import annotations

import onnx_ir as ir

from knight import model as models
from knight.passes import PassOptions
from knight.passes._pattern import Match, rewrite_all
from knight.passes._queries import rank
from knight.passes._standardization import STANDARDIZED, common_axes, lengths, operand, parameter

SINCE_OPSET = 17


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of normalizations found; none unless the target asks for them."""
    if "LayerNormalization" not in options.recognise or models.opset(model) < SINCE_OPSET:
        return 0
    return rewrite_all(model, [(STANDARDIZED, _layer_norm)])


def _layer_norm(match: Match) -> ir.Value | None:
    axes, count = common_axes(match), rank(match["x"])
    if axes is None or count is None or axes != tuple(range(count - len(axes), count)):
        return None
    shape = lengths(match, axes)
    if shape is None:
        return None
    gamma, beta = (
        parameter(match, name, shape, axes, fill) for name, fill in (("gamma", 1.0), ("beta", 0.0))
    )
    if gamma is None or beta is None:
        return None
    inputs = [match["x"], operand(match, "gamma", gamma)]
    if "beta" in match.values:
        inputs.append(operand(match, "beta", beta))
    attributes = {"axis": -len(axes), "epsilon": match.number("epsilon")}
    return match.insert("LayerNormalization", inputs, attributes)
