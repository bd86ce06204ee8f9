"""A CPU without VNNI, wherever the tests run: kernels of one's own that lose what saturation would lose.

Where the CPU at hand saturates by itself, its own kernels do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from knight import model as models, runner


def pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions take this CPU for one that saturates, and with kernels="host" lose large weights."""
    if runner.saturates():
        return
    make = runner.Session.__init__

    def lossy(self: runner.Session, model: ir.Model | Path, **options: Any) -> None:
        make(self, _clipped(model) if options.get("kernels") == "host" else model, **options)

    monkeypatch.setattr(runner, "saturates", lambda: True)
    monkeypatch.setattr("knight.report.saturates", lambda: True)
    monkeypatch.setattr(runner.Session, "__init__", lossy)


def _clipped(model: ir.Model | Path) -> ir.Model:
    """int8 weights held within a third of their range."""
    copy = models.load(model) if isinstance(model, Path) else model.clone()
    for value in copy.graph.initializers.values():
        array = models.constant(value)
        if array is not None and array.dtype == np.int8 and array.size > 1:
            value.const_value = ir.tensor(np.clip(array, -40, 40), name=value.name)
    return copy
