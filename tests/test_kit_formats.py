"""Every kit model of every framework: proven, and as good as its ONNX twin when it is quantized."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from knight.conversion import convert

BENCH = Path(__file__).resolve().parent.parent / "scripts" / "bench"
sys.path.append(str(BENCH))  # the scripts there import each other by name
formats: Any = importlib.import_module("formats")

PICTURES = 100


@pytest.mark.parametrize("case", formats.CASES, ids=lambda case: f"{case.file} {sorted(case.options)}")
def test_kit(case: Any, kit: Path) -> None:
    converted = convert(case.framework, formats.source_of(kit, case), threads=1)
    assert converted.error is not None and converted.error < 1e-4
    if case.net is None:
        return
    samples, pictures = formats.data(kit, case.net, PICTURES)
    if case.nhwc:
        samples, pictures = ([x.transpose(0, 2, 3, 1).copy() for x in part] for part in (samples, pictures))
    found = formats.quantized_sqnr(converted.model, samples, pictures)
    assert abs(found - formats.twin_sqnr(kit, case.net, PICTURES)) < 0.5
