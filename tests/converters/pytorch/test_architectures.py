"""Whole architectures, randomly initialised: converted by fx alone, equal to eager torch, and quantized."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import knight
from knight.passes import PassOptions, tidy
from tests.converters.checks import assert_same
from tests.converters.pytorch.models import ARCHITECTURES, SEQUENCES, randomly_initialised
from tests.converters.pytorch.nets import conversion_of

FLOOR_DB = 10.0


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_vision(name: str) -> None:
    make, size = ARCHITECTURES[name]
    generator = np.random.default_rng(0)
    pictures = generator.standard_normal((3, 3, size, size)).astype(np.float32)
    conversion = conversion_of(randomly_initialised(make), [torch.from_numpy(pictures[:2])])
    assert_same(conversion, {"x0": pictures[:1]})
    assert_same(conversion, {"x0": pictures})
    model = tidy(conversion.model, PassOptions())
    samples = [pictures[i : i + 1] for i in range(3)]
    report = knight.quantize(model, samples, target="onnxruntime", method="min_max").report
    assert report["sqnr_db"] > FLOOR_DB, report["float_operator_names"]
    assert report["integer_operators"] > 0


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences(name: str) -> None:
    ids = np.random.default_rng(0).integers(0, 20, (3, 12))
    ids[:, 0] = 1  # what is all padding has no answer
    conversion = conversion_of(randomly_initialised(SEQUENCES[name]), [torch.from_numpy(ids[:2])])
    assert_same(conversion, {"x0": ids})
    assert_same(conversion, {"x0": ids[:1]})
    model = tidy(conversion.model, PassOptions())
    report = knight.quantize(model, [ids[i : i + 1] for i in range(3)], target="onnxruntime").report
    assert report["sqnr_db"] > FLOOR_DB
