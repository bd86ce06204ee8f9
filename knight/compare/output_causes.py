"""Causes of a layer's error that lie in the rounding of its output."""

from __future__ import annotations

import numpy as np

from knight.compare.comparison import Cause
from knight.compare.evidence import HEALTHY_DB, Evidence, farthest
from knight.compare.weights import outliers

_DOMINANT = 0.5  # share of an error that makes a part of it its cause
_WIDE = 0.62  # a range of which the values use less is too wide
_CUT_DB = 6.0  # a range that cuts off so much that a better one of this width wins this is wrong
_TWICE = 1.6  # the farthest sample reaches this many times as far as the next
_FEW_CHANNELS = 0.25


def scale_mismatch(evidence: Evidence) -> Cause | None:
    """The scale that the integers are read back with is another one than they are written with."""
    rounding = evidence.rounding
    if rounding is None or rounding.read_scale is None:
        return None
    factor = rounding.read_scale / rounding.scale
    return Cause(
        "scale_mismatch",
        f"written with scale {rounding.scale:.4g}, read back with scale {rounding.read_scale:.4g}: "
        f"every number becomes {factor:.3g} times itself",
        "give the DequantizeLinear the scale of its QuantizeLinear; quantize again",
        evidence.gain(),
        fault=True,
    )


def near_zero_scale(evidence: Evidence) -> Cause | None:
    """The range ends far below the values."""
    rounding, reach = evidence.rounding, farthest(evidence.own)
    if rounding is None or not reach or max(rounding.high, -rounding.low) > 1e-3 * reach:
        return None
    return Cause(
        "near_zero_scale",
        f"the scale {rounding.scale:.3g} is next to zero: the range ends at {rounding.high:.3g}, "
        f"values reach {reach:.4g}",
        "calibrate again with data in which this layer is active",
        evidence.gain(),
        fault=True,
    )


def clipped(evidence: Evidence) -> Cause | None:
    """Most of the error is that of values beyond the range."""
    own, rounding = evidence.own, evidence.rounding
    if rounding is None or own.clipped_noise < _DOMINANT * own.rounding:
        return None
    low, high = float(own.low.min()), float(own.high.max())
    end, value = (rounding.high, high) if high - rounding.high >= rounding.low - low else (rounding.low, low)
    share = own.clipped / max(1.0, own.total("count"))
    return Cause(
        "clipped",
        f"clipped range: it ends at {end:.4g}, values reach {value:.4g}; {share:.3%} of them are cut, which "
        f"is {own.clipped_noise / own.total('noise'):.0%} of the error",
        "calibrate with -qm mse or min_max, or with more data (-i)",
        evidence.gain(),
        fault=evidence.gain() >= _CUT_DB,
    )


def badly_clipped(evidence: Evidence) -> Cause | None:
    """`clipped`, where a better range of this width would win much."""
    found = clipped(evidence)
    return found if found is not None and found.fault else None


def one_sample(evidence: Evidence) -> Cause | None:
    """One sample alone decides the range."""
    own, rounding = evidence.own, evidence.rounding
    if rounding is None or len(own.reaches) < 2 or own.calls < 3:
        return None
    (first, call), (second, _) = own.reaches
    end = max(rounding.high, -rounding.low)
    if first < _TWICE * second or end < 0.9 * first or evidence.gain() < 1.0:
        return None
    return Cause(
        "one_sample",
        f"too wide a range from one sample: call {call} reaches {first:.4g}, all others at most {second:.4g}",
        "calibrate with -qm percentile or mse, or take that sample out",
        evidence.gain(),
    )


def wide_range(evidence: Evidence) -> Cause | None:
    """The values use a part of the range only."""
    own, rounding, used = evidence.own, evidence.rounding, evidence.used
    if rounding is None or used is None or used >= _WIDE:
        return None
    low, high = min(0.0, float(own.low.min())), max(0.0, float(own.high.max()))
    return Cause(
        "wide_range",
        f"too wide a range: {rounding.low:.4g} to {rounding.high:.4g} for values from {low:.4g} to "
        f"{high:.4g}; {used:.0%} of it is used",
        "calibrate with the data that the model will see, and -qm mse",
        evidence.gain(),
        fault=True,
    )


def outlier_channel(evidence: Evidence) -> Cause | None:
    """Few channels reach much further than the others."""
    own = evidence.own
    if evidence.rounding is None or own.low.size < 4:
        return None
    reach = np.maximum(own.high, -own.low)
    far = outliers(reach)
    if not far or len(far) > max(1, _FEW_CHANNELS * reach.size):
        return None
    named = ", ".join(map(str, far[:4])) + (" ..." if len(far) > 4 else "")
    word = "one outlier channel" if len(far) == 1 else f"{len(far)} outlier channels"
    return Cause(
        "outlier_channel",
        f"{word} ({named}): it reaches {reach[far[0]]:.4g}, the middle one {np.median(reach):.4g}; "
        f"the others are left with few steps",
        "equalize the channels with the next layer (--optimize equalization), or leave this layer and what "
        "reads it in float (--disable-names)",
    )


def long_tail(evidence: Evidence) -> Cause | None:
    """The range holds everything, and a shorter one would lose less."""
    if evidence.rounding is None or evidence.gain() < 3.0:
        return None
    own = evidence.own
    return Cause(
        "long_tail",
        f"a long tail decides the range: few values reach {farthest(own):.4g}, and the steps of "
        f"{evidence.rounding.scale:.3g} are coarse for the others",
        "calibrate with -qm mse or percentile",
        evidence.gain(),
    )


def few_steps(evidence: Evidence) -> Cause | None:
    """Nothing is wrong but the width."""
    if evidence.rounding is None or evidence.sqnr >= HEALTHY_DB:
        return None
    return Cause(
        "few_steps",
        f"{2**evidence.rounding.bits} steps are few for these values: the best range of this width gives "
        f"{evidence.best_sqnr:.1f} dB",
        "leave this layer and what reads it in float (--disable-names)",
    )
