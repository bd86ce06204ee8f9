"""kl_v2: kl, held back from clipping so much that its squared error exceeds that of the full range."""

from __future__ import annotations

import numpy as np

from knight.calibration import kl
from knight.calibration._candidates import full_range
from knight.calibration._error import Moments, squared_error
from knight.observer import Histogram
from knight.types import QuantSpec


def clipping_range(histogram: Histogram, spec: QuantSpec, percent: float) -> tuple[float, float]:
    """The range of kl, or the full range where that has the smaller squared error."""
    narrow, full = kl.clipping_range(histogram, spec, percent), full_range(histogram)
    ends = np.array([narrow, full]).T
    errors = squared_error(Moments.of(histogram), spec, ends[0], ends[1])
    return narrow if errors[0] <= errors[1] else full
