"""Small nets, their samples and a short way to quantize and compare them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

import knight
from knight import model as models
from knight.compare.comparison import Comparison
from knight.compare.layerwise import PairRunner
from knight.compare.models import Options, compare_models, forms
from knight.compare.pairing import Pairing, pair
from knight.compare.rows import Row, rows_of
from knight.executor import RunSettings
from knight.feeding import counted
from knight.qdq.graph import Graph
from knight.qdq.lowering import lower
from tests import small_models

TARGETS = ("onnxruntime", "TX5368AV200")
NETS = ("conv_net", "two_inputs", "integer_input")
Feeds = dict[str, np.ndarray]


def net(name: str, folder: Path) -> tuple[ir.Model, list[Feeds]]:
    """A net of `tests.small_models` and five samples for it."""
    model = models.load(getattr(small_models, name)(folder))
    random = np.random.default_rng(7)
    return model, [
        {value.name or "": _sample(value, random) for value in model.graph.inputs} for _ in range(5)
    ]


def _sample(value: ir.Value, random: np.random.Generator) -> np.ndarray:
    assert value.shape is not None
    shape = [size if isinstance(size, int) else 1 for size in value.shape]
    if value.dtype == ir.DataType.INT64:
        return random.integers(0, 12, shape)
    return random.normal(size=shape).astype(np.float32)


def quantized(model: ir.Model, data: Sequence[Any], target: str, **options: Any) -> ir.Model:
    """`model` in 8 bits, calibrated with all that occurs."""
    return knight.quantize(model, data, target=target, method="min_max", **options).model


def compared(reference: ir.Model, result: ir.Model, data: Sequence[Any], **options: Any) -> Comparison:
    """The two models side by side over `data`."""
    infer, count = counted(data)
    given = Options(**{"remedies": False, "threads": 1, **options})
    return compare_models(reference, result, infer, RunSettings(iteration=count or 1), options=given)


def pairing_of(reference: ir.Model, result: ir.Model) -> Pairing:
    """Which values of the two models belong together."""
    return pair(forms(reference), Graph(lower(result).model))


def run_rows(reference: ir.Model, result: ir.Model, data: Sequence[Feeds]) -> list[Row]:
    """The rows of the comparison, with their sums over `data`."""
    pairing = pairing_of(reference, result)
    rows = rows_of(pairing, result)
    runner = PairRunner(pairing, result, rows, threads=1)
    try:
        for feeds in data:
            runner.feed(feeds)
    finally:
        runner.close()
    return rows
