"""What Knight cannot translate goes through torch's exporters, aloud; if all fail, all reasons are told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from knight.converters.pytorch import _fx, _modules
from knight.converters.pytorch._loaded import Loaded
from knight.converters.pytorch._modules import convert_loaded
from knight.converters.pytorch.ops import table
from knight.errors import ModelError
from knight.listener import Listener
from tests.converters.checks import assert_same


class Heard(Listener):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(autouse=True)
def no_translation_of_tan(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {target: handler for target, handler in table().items() if target is not torch.tan}
    monkeypatch.setattr(_fx, "table", lambda: known)


class Rare(nn.Module):
    """torch.tan stands for what nobody has translated."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor, power: int = 1) -> Any:
        return torch.tan(self.head(x)) * power


def test_torch_export_takes_over() -> None:
    heard = Heard()
    loaded = Loaded(
        Rare().eval(),
        [torch.randn(2, 3)],
        {"power": 2},
        input_names=["x"],
        dynamic_axes={"x": {0: "batch"}},
    )
    conversion = convert_loaded(loaded, heard)
    (said,) = heard.warnings
    assert said.startswith(
        "converted by torch.export, not by torch.fx, because 1 operators have no translation"
    )
    assert "torch.tan" in said and "test_fallback.py:" in said
    assert_same(conversion, batches=(2, 5))
    assert "head" in [node.name for node in conversion.model.graph]


def test_torchscript_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(loaded: Loaded) -> Any:
        raise RuntimeError("not today")

    monkeypatch.setattr(_modules, "_by_export", fail)
    heard = Heard()
    conversion = convert_loaded(Loaded(Rare().eval(), [torch.randn(2, 3)]), heard)
    assert heard.warnings[0].startswith("converted by the TorchScript exporter, not by torch.fx")
    assert_same(conversion)
    monkeypatch.setattr(_modules, "_by_script", fail)
    with pytest.raises(
        ModelError, match=r"torch\.fx: .*tan.* \| torch\.export: RuntimeError: not today \| the Tor"
    ):
        convert_loaded(Loaded(Rare().eval(), [torch.randn(2, 3)]), heard)
