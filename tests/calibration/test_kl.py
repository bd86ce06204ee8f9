"""kl: compared with the published algorithm written out as loops, and on the tensors that mislead it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from knight.calibration import kl
from knight.calibration.kl import clipping_range
from knight.types import QuantSpec
from tests.calibration._samples import SPECS, TENSORS, histogram_of, real_error


def published(counts, end, step):
    """``KL(P || Q)`` of the first `end` bins, as in the slides: one step after the other, bin by bin.

    Only the departures that the module names are added: nothing inside the step around zero is a loss, no
    bin above the median of its surroundings is, and (n - 1) / 2 nats of each step are chance.
    """
    total, outliers = counts.sum(), counts[end:].sum()
    inside = counts[:end].sum()
    edges = [0]
    while edges[-1] < end:
        edges.append(min(int(np.rint((len(edges) - 0.5) * step)), end))
    padded = np.concatenate([counts[8:0:-1], counts, np.zeros(8)])
    calm = np.array([min(counts[i], np.median(padded[i : i + 17])) for i in range(counts.size)])
    nats = 0.0
    for left, right in pairwise(edges[1:]):
        used = [c for c in calm[left:right] if c > 0]
        nats += sum(c * np.log(c / np.mean(used)) for c in used) - max(len(used) - 1, 0) / 2
    # The last bin: P has the outliers, Q has not. A bin that stands alone counts 1.
    used = [
        min(c, max(m, 1)) for c, m in zip(counts[edges[-2] : end], calm[edges[-2] : end], strict=True) if c
    ]
    last = used[-1]
    q = np.mean(used)
    nats += (last + outliers) * np.log((last + outliers) / q) - last * np.log(last / q)
    return nats / total - np.log(total) + np.log(inside)


@pytest.mark.parametrize("step", [1.0, 2.5, 7.3])
@pytest.mark.parametrize("holes", [False, True])
def test_all_at_once_is_what_one_by_one_gives(step, holes):
    rng = np.random.default_rng(3)
    counts = rng.poisson(2000 * np.exp(-np.arange(300) / 40)).astype(np.float64)
    counts[77] *= 50
    if holes:
        counts[rng.random(300) < 0.4] = 0
    ends = np.flatnonzero(counts[20:])[::17] + 21
    got = kl._divergences(counts, ends, np.full(ends.size, step))
    expected = [published(counts, int(end), step) for end in ends]
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_the_pure_divergence_is_never_negative_for_many_elements():
    counts = np.exp(-((np.arange(4000) / 1000.0) ** 2)) * 1e9
    ends = np.arange(600, 4001, 100)
    assert (kl._divergences(counts, ends, ends / 127) > 0).all()


@pytest.mark.parametrize("name", ["int8", "uint8", "int8_asymmetric"])
def test_a_long_thin_tail_is_clipped(name):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.laplace(size=500_000), [60.0, -50.0]]).astype(np.float32)
    low, high = clipping_range(histogram_of(x), SPECS[name])
    assert 5 < high < 20 and -20 < low < -5


def test_one_sided_tensors_use_all_steps_of_an_unsigned_spec():
    """Twice the steps: the threshold lies further out than with the positive half of a signed spec."""
    x = np.abs(np.random.default_rng(0).laplace(size=500_000)).astype(np.float32)
    _, unsigned = clipping_range(histogram_of(x), SPECS["uint8"])
    _, asymmetric = clipping_range(histogram_of(x), SPECS["int8_asymmetric"])
    _, symmetric = clipping_range(histogram_of(x), SPECS["int8"])
    assert unsigned == asymmetric >= symmetric


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["int8", "uint8"])
def test_exact_zeros_do_not_move_the_threshold(share, name):
    x = np.abs(np.random.default_rng(1).normal(size=200_000)).astype(np.float32)
    zeros = np.zeros(int(x.size * share / (1 - share)), np.float32)
    expected = clipping_range(histogram_of(x), SPECS[name])
    got = clipping_range(histogram_of(np.concatenate([x, zeros])), SPECS[name])
    np.testing.assert_allclose(got, expected, rtol=0.01)


@pytest.mark.parametrize("value", [0.003, 0.5])  # far out, where few others are, the threshold may stop at it
def test_a_value_that_many_elements_share_does_not_move_the_threshold(value):
    x = np.random.default_rng(1).normal(size=200_000).astype(np.float32)
    expected = clipping_range(histogram_of(x), QuantSpec())
    peak = np.full(200_000, value, np.float32)
    got = clipping_range(histogram_of(np.concatenate([x, peak])), QuantSpec())
    np.testing.assert_allclose(got, expected, rtol=0.06)


@pytest.mark.parametrize("tensor", ["silu", "peaked", "normal"])
@pytest.mark.parametrize("size", [500, 5_000, 50_000])
def test_few_elements_are_not_clipped_more_than_many(tensor, size):
    x = TENSORS[tensor][:size]
    _, high = clipping_range(histogram_of(x), QuantSpec())
    assert high > 0.6 * x.max()


@pytest.mark.parametrize("tensor", TENSORS)
def test_more_steps_than_bins_is_the_full_range(tensor):
    x = TENSORS[tensor]
    full = (float(min(x.min(), 0)), float(max(x.max(), 0)))
    assert clipping_range(histogram_of(x), SPECS["int16"]) == full


def test_two_values_are_both_kept():
    x = np.repeat(np.array([1.0, 5.0], np.float32), [1000, 10])
    assert clipping_range(histogram_of(x), QuantSpec()) == (0.0, 5.0)


def test_the_small_side_of_an_uneven_tensor_is_kept():
    x = TENSORS["silu"]
    low, high = clipping_range(histogram_of(x), SPECS["uint8"])
    assert low == float(x.min()) and high > 5 * -low
    assert real_error(x, SPECS["uint8"], low, high) < 1e-3
