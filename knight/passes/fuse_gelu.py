"""Recognises Gelu (Hendrycks and Gimpel, 2016) in the operators that exporters write for it.

``0.5 * x * (1 + erf(x / sqrt(2)))``, or ``0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))``, in any
order of the factors.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from knight import model as models
from knight.passes import PassOptions
from knight.passes._pattern import Match, OneOf, Op, Pattern, rewrite_all

SINCE_OPSET = 20
CUBIC = 0.044715
SLOPE = math.sqrt(2 / math.pi)


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of Gelus found; none unless the target asks for them and the opset has them."""
    if "Gelu" not in options.recognise or models.opset(model) < SINCE_OPSET:
        return 0
    return rewrite_all(model, [(_gelu(_ERF), _exact), (_gelu(_TANH), _approximate)])


def _halved(value: Pattern) -> OneOf:
    return OneOf(Op("Mul", value, 0.5), Op("Div", value, 2.0))


def _gelu(function: Pattern) -> OneOf:
    """``x * (1 + function) / 2`` in its orders."""
    sum_ = Op("Add", function, 1.0)
    return OneOf(
        _halved(Op("Mul", "x", sum_)),
        Op("Mul", _halved("x"), sum_),
        Op("Mul", "x", _halved(sum_)),
        Op("Mul", "x", Op("Add", _halved(function), 0.5)),
    )


_ERF = Op("Erf", OneOf(Op("Div", "x", math.sqrt(2)), Op("Mul", "x", math.sqrt(0.5))))
_SQUARE = OneOf(Op("Mul", "x", "x"), Op("Pow", "x", 2.0))
_CUBE = OneOf(Op("Pow", "x", 3.0), Op("Mul", "x", _SQUARE))
_CUBIC_FACTOR = OneOf(Op("Mul", _SQUARE, CUBIC), Op("Mul", "x", Op("Mul", "x", CUBIC)))  # 0.044715 x^2
_CUBIC_TERM = OneOf(Op("Mul", _CUBE, CUBIC), Op("Mul", "x", _CUBIC_FACTOR))
_TANH = Op(
    "Tanh",
    OneOf(
        Op("Mul", Op("Add", "x", _CUBIC_TERM), SLOPE),
        Op("Mul", Op("Mul", "x", SLOPE), Op("Add", _CUBIC_FACTOR, 1.0)),
        Op("Mul", "x", Op("Mul", Op("Add", _CUBIC_FACTOR, 1.0), SLOPE)),
        Op("Mul", Op("Mul", "x", Op("Add", _CUBIC_FACTOR, 1.0)), SLOPE),
        Op("Mul", "x", Op("Add", Op("Mul", _SQUARE, SLOPE * CUBIC), SLOPE)),
    ),
)


def _exact(match: Match) -> ir.Value:
    return match.insert("Gelu", [match["x"]])


def _approximate(match: Match) -> ir.Value:
    return match.insert("Gelu", [match["x"]], {"approximate": "tanh"})
