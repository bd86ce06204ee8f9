"""docs/export.md: its format of one's own works as printed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from knight import model as models
from knight.exporters import export, exporters
from tests.exporters._qdq import Net

PAGE = Path(__file__).resolve().parents[2] / "docs" / "export.md"


def test_the_format_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    module: dict[str, Any] = {}
    exec(code, module)
    monkeypatch.setattr(exporters, "get", lambda name: module["export"])
    net = Net()
    model = net.model(net.pair(net.op("Sigmoid", net.fed(2, 3, scale=0.03)), 0.004))
    before = models.to_bytes(model)
    exported = export("scales", model)
    assert json.loads(exported.files["scales.json"]) == pytest.approx({"x0": 0.03, "v2": 0.004})
    assert exported.model is model and models.to_bytes(model) == before


def test_the_page_names_every_format() -> None:
    for name in exporters.names():
        assert f"| `{name}`" in PAGE.read_text("utf-8")
