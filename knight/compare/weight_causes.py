"""Causes of a layer's error that lie in its weights and its bias."""

from __future__ import annotations

import numpy as np

from knight.compare.comparison import Cause
from knight.compare.evidence import HEALTHY_DB, Evidence, bias_is_off
from knight.compare.own import Own
from knight.compare.weights import outliers
from knight.evaluation import sqnr_db

_DOMINANT = 0.5  # share of an error that makes a part of it its cause
_OFF = 0.08  # a channel's weight is another one's when it differs by more than this fraction
_FEW_CHANNELS = 0.25


def bias(evidence: Evidence) -> Cause | None:
    """The bias is not that of the float model: zero, at the end of the integers, or another one."""
    found = evidence.constants
    if found is None or found.bias is None or found.bias_result is None:
        return None
    if not bias_is_off(found):
        return None
    difference = np.abs(found.bias_result - found.bias)
    worst = int(difference.argmax())
    wants = f"channel {worst} wants {found.bias[worst]:.4g} and has {found.bias_result[worst]:.4g}"
    if not found.bias_result.any():
        kind = "bias_zero"
        text = f"the bias is zero in the quantized model, up to {np.abs(found.bias).max():.4g} in float"
    elif found.saturated:
        kind = "bias_saturated"
        text = f"saturated bias: {found.saturated} elements stand at the end of the integers; {wants}"
    else:
        kind, text = "bias_differs", f"the bias is another one: {wants}"
    remedy = "quantize again; a bias that does not fit needs a coarser scale of its weights"
    return Cause(kind, text, remedy, evidence.gain(), fault=True)


def weight_channel(evidence: Evidence) -> Cause | None:
    """The weights of a few channels are not those of the float model."""
    found = evidence.constants
    if found is None:
        return None
    factors = found.factors()
    known = np.isfinite(factors)
    off = known & (np.abs(factors - 1) > _OFF) & (found.noise_ratio() > 0.02)
    count = int(off.sum())
    if not count or count > max(1, _FEW_CHANNELS * known.sum()):
        return None
    noise = found.noise_ratio() * (found.rows()[0] ** 2).sum(axis=1)
    if noise[off].sum() < _DOMINANT * noise[np.isfinite(noise)].sum():
        return None
    worst = int(np.where(off, noise, -1).argmax())
    word = (
        f"the weights of channel {worst} are"
        if count == 1
        else f"the weights of {count} channels, such as {worst}, are"
    )
    return Cause(
        "weight_channel",
        f"{word} {factors[worst]:.3g} times those of the float model",
        "quantize again; equalize the channels where one stands out",
        evidence.gain(),
        fault=True,
    )


def weight_scale(evidence: Evidence) -> Cause | None:
    """All weights are the same multiple of those of the float model."""
    found = evidence.constants
    if found is None:
        return None
    factors = found.factors()
    known = factors[np.isfinite(factors)]
    if not known.size:
        return None
    middle = float(np.median(known))
    if abs(middle - 1) <= _OFF or np.mean(np.abs(known / middle - 1) < _OFF if middle else known == 0) < 0.7:
        return None
    return Cause(
        "weight_scale",
        f"the weights are {middle:.3g} times those of the float model: their scale is wrong",
        "quantize again; in a file from another tool, look at the weight's DequantizeLinear",
        evidence.gain(),
        fault=True,
    )


def weight_outlier(evidence: Evidence) -> Cause | None:
    """One channel decides the scale that all weights share."""
    found = evidence.constants
    if found is None or found.per_channel:
        return None
    left, _ = found.rows()
    reach = np.abs(left).max(axis=1, initial=0.0)
    far = outliers(reach)
    if not far or len(far) > max(1, _FEW_CHANNELS * reach.size):
        return None
    return Cause(
        "weight_outlier",
        f"one outlier channel of the weights, {far[0]}, reaches {reach[far[0]]:.4g}, the middle one "
        f"{np.median(reach):.4g}, and all share one scale",
        "quantize the weights per channel (a chip file's per_channel), or equalize the channels "
        "(--optimize equalization)",
    )


def bias_shift(evidence: Evidence) -> Cause | None:
    """The rounded weights move the mean of the channels."""
    shifted = _shifted(evidence.own)
    if not _explains(evidence, shifted):
        return None
    return Cause(
        "bias_shift",
        f"the rounded weights shift the mean of the channels: that is {shifted / evidence.weight_noise:.0%} "
        f"of the error",
        "correct the biases (--optimize bias_correction)",
        max(0.0, sqnr_db(evidence.signal, max(evidence.own.total("noise") - shifted, 1e-30)) - evidence.sqnr),
        optimizer="bias_correction",
    )


def weight_steps(evidence: Evidence) -> Cause | None:
    """Nothing is wrong but the width of the weights."""
    found = evidence.constants
    if evidence.sqnr >= HEALTHY_DB:
        return None
    bits = 8 if found is None else found.bits
    return Cause(
        "weight_steps",
        f"{2**bits} steps are few for these weights",
        "correct the biases (--optimize bias_correction), or leave this layer in float (--disable-names)",
    )


def _shifted(own: Own) -> float:
    """Energy of the mean error of each channel."""
    if not own.sums:
        return 0.0
    name = "weight_shift" if own.total("weight_noise") else "shift"
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.nansum(own.sums[name] ** 2 / own.sums["count"]))


def _explains(evidence: Evidence, part: float) -> bool:
    return part > _DOMINANT * evidence.weight_noise > 0
