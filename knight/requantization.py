"""The integer form of the rescaling after an accumulator: ``y = (acc * multiplier) >> shift``.

A Conv's accumulator counts in units of ``s_x * s_w[c]``, its result in ``s_y``; the ratio of the two must
be written as ``multiplier * 2**-shift`` with a multiplier of a few bits and a shift that the chip has. This
is where a chip's tool stops with "must range in [0, 31]"; here the nearest pair is taken, and what it costs
is said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from knight.solver import Parameters
from knight.types import FloatArray, IntArray, QuantPlan


@dataclass(frozen=True)
class Requantization:
    """multiplier, shift: one integer per channel.

    error: largest relative error of ``multiplier * 2**-shift``.
    """

    multiplier: IntArray
    shift: IntArray
    error: float


def requantize(ratio: FloatArray, bits: int, shift_range: tuple[int, int]) -> Requantization:
    """Nearest multiplier (at most `bits` bits, positive) and shift for each positive ratio."""
    ratio = np.atleast_1d(np.asarray(ratio, np.float64))
    exponent = np.frexp(ratio)[1]
    shift = np.clip(bits - exponent, *shift_range)
    largest = (1 << bits) - 1
    multiplier = np.rint(np.ldexp(ratio, shift))
    rounded_up = (multiplier > largest) & (shift > shift_range[0])
    shift = shift - rounded_up
    multiplier = np.clip(np.rint(np.ldexp(ratio, shift)), 0, largest)
    error = np.abs(np.ldexp(multiplier, -shift) - ratio) / ratio
    return Requantization(multiplier.astype(np.int64), shift.astype(np.int64), float(error.max()))


def requantizations(plan: QuantPlan, params: Parameters) -> tuple[dict[str, Requantization], tuple[str, ...]]:
    """Multiplier and shift of every accumulator with a quantized result, by node name, and warnings about
    lossy ones.

    Empty for a target that rescales in float.
    """
    found: dict[str, Requantization] = {}
    warnings: list[str] = []
    for node, accumulator in plan.accumulators.items():
        if accumulator.result is None or not plan.multiplier_bits:
            continue
        unit = params.unit(plan, accumulator).astype(np.float64)
        ratio = unit / float(params.activation(plan, accumulator.result).scale)
        found[node] = requantize(ratio, plan.multiplier_bits, plan.shift_range)
        steps = 1 << (plan.spec(accumulator.result).bits - 1)
        if found[node].error > 1 / steps:
            low, high = plan.shift_range
            warnings.append(
                f"{node}: requantization needs a shift outside [{low}, {high}]; the nearest one is used, "
                f"off by {found[node].error:.1%} in its worst channel; another -qm, or --disable-names {node}"
            )
    return found, tuple(warnings)
