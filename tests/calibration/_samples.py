"""Tensors of every shape that calibration meets, and the error that a range really causes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from knight.observer import Histogram, Observer
from knight.quantizer import fake_quantize, params_from_range
from knight.types import QuantSpec

SPECS = {
    "int8": QuantSpec(),
    "uint8": QuantSpec(signed=False, symmetric=False),
    "int8_asymmetric": QuantSpec(symmetric=False),
    "int16": QuantSpec(bits=16),
}

_N = 50_000


def _tensors() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(7)
    normal = rng.normal(size=_N)
    tensors = {
        "zeros": np.zeros(100),
        "constant": np.full(100, 3.0),
        "negative_constant": np.full(100, -0.7),
        "single": np.array([-2.5]),
        "single_zero": np.array([0.0]),
        "tiny": np.array([1.0, 2.0, -3.0]),
        "mask": rng.integers(0, 2, _N),
        "normal": normal,
        "one_sided": np.abs(normal),
        "one_sided_negative": -np.abs(normal),
        "peaked": np.where(rng.random(_N) < 0.9, 0.0, np.abs(normal)),
        "heavy_tailed": rng.standard_t(2, size=_N),
        "silu": normal * 3 / (1 + np.exp(-normal * 3)),
        "relu6": np.clip(normal * 4, 0, 6),
        "offset": normal * 0.01 + 5,
        "denormal": np.array([1e-45, -3e-45, 0.0]),
        "huge": np.array([3e38, -3e38, 1.0]),
        "one_outlier": np.concatenate([normal, [1e4]]),
    }
    return {name: np.asarray(x, np.float32) for name, x in tensors.items()}


TENSORS = _tensors()


def histogram_of(x: NDArray[np.float32]) -> Histogram:
    """What an observer remembers of `x`."""
    observer = Observer()
    observer.update(x)
    return observer.histogram()


def real_error(x: NDArray[np.float32], spec: QuantSpec, low: float, high: float) -> float:
    """Mean squared error of quantizing `x` to a range, element by element."""
    rounded = fake_quantize(x, params_from_range(low, high, spec)).astype(np.float64)
    return float(np.mean((rounded - x) ** 2))
