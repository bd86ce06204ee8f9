"""The cause of a layer's own error in words, where the numbers show it, and what to do about it.

The error of a layer quantized alone has two parts: what its weights and bias cost, and what the rounding of
its output costs. The larger part is looked into, and the first kind that fits is the cause.
"""

from __future__ import annotations

from collections.abc import Callable

from knight.compare import output_causes as output, weight_causes as weights
from knight.compare.comparison import Cause
from knight.compare.evidence import HEALTHY_DB, LOST_DB, Evidence


def cause(evidence: Evidence) -> Cause | None:
    """The first kind that fits, None for a layer that needs no explanation."""
    if not evidence.own.sums or not (evidence.own.total("noise") or evidence.broken):
        return None
    healthy = evidence.sqnr >= HEALTHY_DB and evidence.gain() < LOST_DB
    from_weights = evidence.weight_noise > evidence.own.rounding or evidence.rounding is None
    ordered = (*_FAULTS, *(() if healthy else _WEIGHTS if from_weights else _ROUNDING))
    return next((found for kind in ordered if (found := kind(evidence)) is not None), None)


def not_finite(evidence: Evidence) -> Cause | None:
    """One model has numbers where the other has none."""
    if not evidence.broken:
        return None
    return Cause(
        "not_finite",
        f"{evidence.broken} elements are NaN or infinite on one side only",
        "look for a scale of zero, an overflow or a division by zero in this layer",
        fault=True,
    )


Kind = Callable[[Evidence], "Cause | None"]

_FAULTS: tuple[Kind, ...] = (
    not_finite,
    output.scale_mismatch,
    output.near_zero_scale,
    weights.weight_scale,
    weights.weight_channel,
    weights.bias,
    output.badly_clipped,
    output.wide_range,
)
_WEIGHTS: tuple[Kind, ...] = (weights.weight_outlier, weights.bias_shift, weights.weight_steps)
_ROUNDING: tuple[Kind, ...] = (
    output.clipped,
    output.one_sample,
    output.outlier_channel,
    output.long_tail,
    output.few_steps,
)
