"""What is known of one layer's own error, and what the best range of the same width would leave of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from knight.calibration import calibrations
from knight.compare.comparison import Rounding
from knight.compare.own import Own
from knight.compare.weights import Constants
from knight.evaluation import sqnr_db
from knight.observer import Observer
from knight.quantizer import dequantize, fake_quantize, params_from_range, quantize
from knight.types import QParams, QuantSpec

HEALTHY_DB = 40.0
"""Layers whose own SQNR is above this need no explanation, unless `LOST_DB` are to be won."""

LOST_DB = 4.0
"""What a layer may lose against the best that its width allows before that needs an explanation."""


@dataclass(frozen=True)
class Evidence:
    """What is known of one layer.

    own: sums of its own error, quantized alone.
    rounding: how its output is rounded, None for one that stays float.
    constants: its weight and bias in both models, None without any.
    kept: energy of the output's rounding noise that the best range of the same width would leave, over what
        it is now.
    broken: elements that are NaN or infinite in one model only.
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
    back = rounding.scale if rounding.read_scale is None else rounding.read_scale
    return dequantize(quantize(numbers, _params(rounding, rounding.scale)), _params(rounding, back))


def _params(rounding: Rounding, scale: float) -> QParams:
    return QParams(spec_of(rounding), np.asarray(scale, np.float32), np.asarray(rounding.zero_point))


def spec_of(rounding: Rounding) -> QuantSpec:
    """The grid of a rounding."""
    least = round(rounding.low / rounding.scale) + rounding.zero_point
    return QuantSpec(rounding.bits, signed=least < 0, symmetric=least < 0 and rounding.zero_point == 0)


def _is_grid(rounding: Rounding) -> bool:
    """A damaged file may have a scale of zero, or one that is no number at all."""
    return rounding.scale > 0 and np.isfinite(rounding.scale)


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


def farthest(own: Own) -> float:
    """Largest magnitude of the layer's values."""
    return float(max(own.high.max(initial=0.0), -own.low.min(initial=0.0)))
