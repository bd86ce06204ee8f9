"""The cause of a layer's own error in words, where the numbers show it, and what to do about it.

The error of a layer quantized alone has two parts: what its weights and bias cost, and what the rounding of
its output costs. The larger part is looked into, and the first kind that fits is the cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from knight.calibration import calibrations
from knight.compare.comparison import Cause, Rounding
from knight.compare.own import Own
from knight.compare.weights import Constants, outliers
from knight.evaluation import sqnr_db
from knight.observer import Observer
from knight.quantizer import fake_quantize, params_from_range
from knight.types import QuantSpec

HEALTHY_DB = 40.0
"""Layers whose own SQNR is above this need no explanation, unless `LOST_DB` are to be won."""

LOST_DB = 4.0
"""What a layer may lose against the best that its width allows before that needs an explanation."""

_DOMINANT = 0.5  # share of an error that makes a part of it its cause
_WIDE = 0.62  # a range of which the values use less is too wide
_CUT_DB = 6.0  # a range that cuts off so much that a better one of this width wins this is wrong
_TWICE = 1.6  # the farthest sample reaches this many times as far as the next
_OFF = 0.08  # a channel's weight is another one's when it differs by more than this fraction
_FEW_CHANNELS = 0.25


@dataclass(frozen=True)
class Evidence:
    """What is known of one layer. numbers: elements of the float model's output, sampled. kept: energy of
    the output's rounding noise that the best range of the same width would leave, over what it is now.
    used: share of the range that this value, or another of the same scale, reaches.
    """

    own: Own
    rounding: Rounding | None
    constants: Constants | None
    kept: float
    broken: int = 0
    used: float | None = None

    @property
    def signal(self) -> float:
        """Energy of the float model's output."""
        return self.own.total("signal")

    @property
    def sqnr(self) -> float:
        """dB of the own error."""
        return sqnr_db(self.signal, self.own.total("noise"))

    @property
    def weight_noise(self) -> float:
        """Energy of the error before the output is rounded."""
        if self.own.total("weight_noise"):
            return self.own.total("weight_noise")
        return self.own.total("noise") if self.rounding is None else 0.0

    @property
    def best_sqnr(self) -> float:
        """dB that the same widths would allow: the best range, weights rounded as their width demands.

        An estimate, as if the errors of weights and rounding had nothing in common; never below what is.
        """
        noise = self.own.rounding * self.kept if self.rounding is not None else 0.0
        return max(self.sqnr, sqnr_db(self.signal, noise + self.weight_noise * self._weights_kept()))

    def _weights_kept(self) -> float:
        if self.constants is None:
            return 1.0
        noise = self.constants.noise()
        kept = min(1.0, self.constants.expected_noise() / noise) if noise else 1.0
        return min(kept, 1e-3) if bias_is_off(self.constants) else kept

    def gain(self) -> float:
        """dB between what is and what the same widths would allow."""
        return max(0.0, self.best_sqnr - self.sqnr)


def used_share(own: Own, rounding: Rounding) -> float | None:
    """Share of the range that the values take up, zero included; None where there are neither."""
    if not own.low.size or not _is_grid(rounding):
        return None
    low, high = min(0.0, float(own.low.min())), max(0.0, float(own.high.max()))
    if spec_of(rounding).symmetric:
        return max(high, -low) / max(rounding.high, -rounding.low)
    return (high - low) / (rounding.high - rounding.low)


def kept_noise(numbers: np.ndarray, rounding: Rounding | None, own: Own) -> float:
    """Share of the rounding noise that stays when the range is the best one, at the same width.

    numbers: elements of the layer, sampled; each stands for several. The channels' extremes, which
    a sample misses, are known: a range that cuts them off pays for them. The best range is that of the
    calibration method mse, all that occurs, or one between.
    """
    numbers = numbers[np.isfinite(numbers)]
    if rounding is None or rounding.bits > 16 or not numbers.size or not _is_grid(rounding):
        return 1.0
    weight = max(1.0, own.total("count") / numbers.size)
    missed = np.concatenate([own.low, own.high]).astype(np.float32) if weight > 1 else np.zeros(0, np.float32)
    every = np.concatenate([numbers, missed[np.isfinite(missed)]])

    def noise(rounded: np.ndarray) -> float:
        squares = np.square(rounded - every, dtype=np.float64)
        return weight * float(squares[: numbers.size].sum()) + float(squares[numbers.size :].sum())

    spec = spec_of(rounding)
    grids = [params_from_range(low, high, spec) for low, high in _ranges(every, numbers, spec)]
    now, best = noise(_rounded(every, rounding)), min(noise(fake_quantize(every, grid)) for grid in grids)
    return min(1.0, best / now) if now > 0 else 1.0


def _ranges(every: np.ndarray, numbers: np.ndarray, spec: QuantSpec) -> Iterator[tuple[float, float]]:
    """From the range that loses least of `numbers` to one that holds `every` number."""
    observer = Observer()
    observer.update(numbers)
    low, high = calibrations.get("mse")(observer.histogram(), spec)
    least, most = float(every.min()), float(every.max())
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        yield low + share * (least - low), high + share * (most - high)


def _rounded(numbers: np.ndarray, rounding: Rounding) -> np.ndarray:
    """What the layer's readers read."""
    ends = np.array([rounding.low, rounding.high]) / rounding.scale
    steps = np.rint(numbers / np.float32(rounding.scale)).clip(*ends)
    found: np.ndarray = steps * (rounding.scale if rounding.read_scale is None else rounding.read_scale)
    return found


def spec_of(rounding: Rounding) -> QuantSpec:
    """The grid of a rounding."""
    least = round(rounding.low / rounding.scale) + rounding.zero_point
    return QuantSpec(rounding.bits, signed=least < 0, symmetric=least < 0 and rounding.zero_point == 0)


def _is_grid(rounding: Rounding) -> bool:
    """A damaged file may have a scale of zero, or one that is no number at all."""
    return rounding.scale > 0 and np.isfinite(rounding.scale)


def cause(evidence: Evidence) -> Cause | None:
    """The first kind that fits, None for a layer that needs no explanation."""
    if not evidence.own.sums or not (evidence.own.total("noise") or evidence.broken):
        return None
    healthy = evidence.sqnr >= HEALTHY_DB and evidence.gain() < LOST_DB
    from_weights = evidence.weight_noise > evidence.own.rounding or evidence.rounding is None
    ordered = (*_FAULTS, *(() if healthy else _WEIGHTS if from_weights else _ROUNDING))
    return next((found for kind in ordered if (found := kind(evidence)) is not None), None)


def _not_finite(evidence: Evidence) -> Cause | None:
    if not evidence.broken:
        return None
    return Cause(
        "not_finite",
        f"{evidence.broken} elements are NaN or infinite on one side only",
        "look for a scale of zero, an overflow or a division by zero in this layer",
        fault=True,
    )


# The rounding of the output ------------------------------------------------------------------------------


def _scale_mismatch(evidence: Evidence) -> Cause | None:
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


def _near_zero_scale(evidence: Evidence) -> Cause | None:
    rounding, reach = evidence.rounding, _reach(evidence.own)
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


def _clipped(evidence: Evidence) -> Cause | None:
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


def _badly_clipped(evidence: Evidence) -> Cause | None:
    found = _clipped(evidence)
    return found if found is not None and found.fault else None


def _one_sample(evidence: Evidence) -> Cause | None:
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


def _wide_range(evidence: Evidence) -> Cause | None:
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


def _outlier_channel(evidence: Evidence) -> Cause | None:
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
        "equalize the channels with the next layer, or give this layer 16 bits (-mc)",
    )


def _tail(evidence: Evidence) -> Cause | None:
    """The range holds everything, and a shorter one would lose less."""
    if evidence.rounding is None or evidence.gain() < 3.0:
        return None
    own = evidence.own
    return Cause(
        "long_tail",
        f"a long tail decides the range: few values reach {_reach(own):.4g}, and the steps of "
        f"{evidence.rounding.scale:.3g} are coarse for the others",
        "calibrate with -qm mse or percentile",
        evidence.gain(),
    )


def _few_steps(evidence: Evidence) -> Cause | None:
    if evidence.rounding is None or evidence.sqnr >= HEALTHY_DB:
        return None
    return Cause(
        "few_steps",
        f"{2**evidence.rounding.bits} steps are few for these values: the best range of this width gives "
        f"{evidence.best_sqnr:.1f} dB",
        "give this layer 16 bits (-mc)",
    )


# Weights and bias ----------------------------------------------------------------------------------------


def _bias(evidence: Evidence) -> Cause | None:
    found = evidence.constants
    if found is None or found.bias is None or found.bias_result is None:
        return None
    if not bias_is_off(found):
        return None
    difference = np.abs(found.bias_result - found.bias)
    worst = int(difference.argmax())
    if not found.bias_result.any():
        kind, text = (
            "bias_zero",
            f"the bias is zero in the quantized model, up to {np.abs(found.bias).max():.4g} in float",
        )
    elif found.saturated:
        kind = "bias_saturated"
        text = (
            f"saturated bias: {found.saturated} elements stand at the end of the integers; channel {worst} "
            f"wants {found.bias[worst]:.4g} and has {found.bias_result[worst]:.4g}"
        )
    else:
        kind = "bias_differs"
        text = (
            f"the bias is another one: channel {worst} wants {found.bias[worst]:.4g} and has "
            f"{found.bias_result[worst]:.4g}"
        )
    remedy = "quantize again; a bias that does not fit needs a coarser scale of its weights"
    return Cause(kind, text, remedy, evidence.gain(), fault=True)


def bias_is_off(found: Constants) -> bool:
    """The bias differs by more than its own rounding, or a correction of it, would explain.

    A correction moves the bias, but it lessens the error: what is left is no shift of the mean.
    """
    wanted, got = found.bias, found.bias_result
    if wanted is None or got is None:
        return False
    energy = float(wanted @ wanted)
    if not got.any():
        return float(np.abs(wanted).max(initial=0.0)) > found.bias_step
    return bool(found.saturated) or float((got - wanted) @ (got - wanted)) > 0.25 * max(energy, 1e-30)


def _weight_channels(evidence: Evidence) -> Cause | None:
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


def _weight_scale(evidence: Evidence) -> Cause | None:
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


def _weight_outlier(evidence: Evidence) -> Cause | None:
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
        "quantize the weights per channel, or equalize the channels",
    )


def _bias_shift(evidence: Evidence) -> Cause | None:
    shifted = _shifted(evidence.own)
    if not _explains(evidence, shifted):
        return None
    return Cause(
        "bias_shift",
        f"the rounded weights shift the mean of the channels: that is {shifted / evidence.weight_noise:.0%} "
        f"of the error",
        "bias correction",
        max(0.0, sqnr_db(evidence.signal, max(evidence.own.total("noise") - shifted, 1e-30)) - evidence.sqnr),
    )


def _weight_steps(evidence: Evidence) -> Cause | None:
    found = evidence.constants
    if evidence.sqnr >= HEALTHY_DB:
        return None
    bits = 8 if found is None else found.bits
    return Cause(
        "weight_steps",
        f"{2**bits} steps are few for these weights",
        "weight optimisation (AdaRound), or 16 bits for this layer (-mc)",
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


def _reach(own: Own) -> float:
    return float(max(own.high.max(initial=0.0), -own.low.min(initial=0.0)))


Kind = Callable[[Evidence], Cause | None]
_FAULTS: tuple[Kind, ...] = (
    _not_finite,
    _scale_mismatch,
    _near_zero_scale,
    _weight_scale,
    _weight_channels,
    _bias,
    _badly_clipped,
    _wide_range,
)
_WEIGHTS: tuple[Kind, ...] = (_weight_outlier, _bias_shift, _weight_steps)
_ROUNDING: tuple[Kind, ...] = (_clipped, _one_sample, _outlier_channel, _tail, _few_steps)


def kinds() -> Iterator[str]:
    """All kinds of causes."""
    yield from ("not_finite", "scale_mismatch", "near_zero_scale", "clipped", "one_sample", "wide_range")
    yield from ("outlier_channel", "long_tail", "few_steps", "weight_scale", "weight_channel", "bias_zero")
    yield from ("bias_saturated", "bias_differs", "weight_outlier", "bias_shift", "weight_steps")
