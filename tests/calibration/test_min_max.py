"""min_max: the extremes, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from knight.calibration.min_max import clipping_range
from tests.calibration._samples import SPECS, TENSORS, histogram_of


@pytest.mark.parametrize("tensor", TENSORS)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_gives_the_exact_extremes_widened_to_zero(tensor, spec):
    x = TENSORS[tensor]
    expected = (float(np.minimum(x.min(), 0)), float(np.maximum(x.max(), 0)))
    assert clipping_range(histogram_of(x), spec) == expected
