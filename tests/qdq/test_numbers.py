"""Integers as real numbers: taps, and what QuantizeLinear and DequantizeLinear state."""

from __future__ import annotations

import numpy as np

from knight.qdq.numbers import Tap


def test_a_tap_turns_integers_into_real_numbers() -> None:
    tap = Tap("q", np.float32([0.5, 2.0]), np.int32([128, 3]), axis=1)
    got = tap.real(np.uint8([[128, 4], [0, 0]]))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, [[0.0, 2.0], [-64.0, -6.0]])
    np.testing.assert_array_equal(
        Tap("q", np.float32(0.5), np.int32(-128)).real(np.int8([-128, 127])), [0, 127.5]
    )
