"""Model files: TorchScript, .pt2, pickled modules; what they are is told from their content."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from knight import model as models
from knight.converters import Source
from knight.converters.pytorch import convert
from knight.errors import ConfigError, ModelError
from knight.listener import SILENT
from knight.passes import PassOptions, tidy
from knight.runner import Session
from tests.converters.checks import assert_same, random_feeds

KIT = [("resnet20_cifar10", 32), ("mobilenet_v1_0.25_224", 224)]


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    ).eval()


class Fixed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(2, 12)


def test_torchscript(tmp_path: Path) -> None:
    path = tmp_path / "net.any"
    torch.jit.save(torch.jit.trace(net(), torch.randn(1, 3, 8, 8)), path)
    conversion = convert(Source(str(path), input_shapes=((1, 3, 8, 8),)), SILENT)
    assert_same(conversion, batches=(1, 4))
    assert "0" in [node.name for node in conversion.model.graph]
    conversion = convert(Source(str(path), input_shapes=((-1, 3, 8, -1),)), SILENT)
    assert Session(conversion.model).inputs[0].shape == (None, 3, 8, None)
    for width in (8, 12):
        assert_same(conversion, {"input": np.ones((2, 3, 8, width), np.float32)})
    with pytest.raises(ConfigError, match=r"does not hold the shapes of its 1 input.*name each with -is"):
        convert(Source(str(path)), SILENT)
    with pytest.raises(
        ModelError, match=r"not run on inputs of shape \[1, 4, 8, 8\], as -is says: .*channels"
    ):
        convert(Source(str(path), input_shapes=((1, 4, 8, 8),)), SILENT)


def test_a_batch_that_the_code_fixes_stays(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.jit.save(torch.jit.trace(Fixed(), torch.randn(2, 3, 4)), path)
    conversion = convert(Source(str(path), input_shapes=((2, 3, 4),)), SILENT)
    assert tuple(conversion.model.graph.inputs[0].shape or ()) == (2, 3, 4)
    assert_same(conversion)


def test_exported_programs(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(net(), (torch.randn(1, 3, 8, 8),)), path)
    assert_same(convert(Source(str(path)), SILENT))


def test_pickled_modules_only_when_allowed(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save(net(), path)
    with pytest.raises(ModelError, match=r"loading them would run .*torch.nn.*--allow-pickle"):
        convert(Source(str(path)), SILENT)
    conversion = convert(Source(str(path), input_shapes=((1, 3, 8, 8),), allow_pickle=True), SILENT)
    assert_same(conversion)


def test_weights_alone_are_no_model(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"state_dict": net().state_dict()}, path)
    with pytest.raises(ModelError, match=r"holds weights alone \(4 entries\).*name this file with -w"):
        convert(Source(str(path)), SILENT)


def test_other_content(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match=r"net\.pt: "):
        convert(Source(str(path)), SILENT)
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(net(), torch.randn(1, 3, 8, 8)), buffer)
    path.write_bytes(buffer.getvalue()[:700])
    with pytest.raises(ModelError, match="cut short"):
        convert(Source(str(path)), SILENT)


@pytest.mark.parametrize(("name", "size"), KIT)
@pytest.mark.parametrize("form", ["torchscript.pt", "exported.pt2"])
def test_kit(name: str, size: int, form: str, kit: Path) -> None:
    shapes = ((1, 3, size, size),) if form == "torchscript.pt" else ()
    conversion = convert(Source(str(kit / "pytorch" / f"{name}_{form}"), input_shapes=shapes), SILENT)
    assert_same(conversion, batches=(1, 2))
    twin = Session(models.load(kit / "onnx" / f"{name}.onnx"))
    feeds = random_feeds(twin, 1)
    converted = Session(tidy(conversion.model, PassOptions()))
    (wanted,), (found,) = (
        twin.run(feeds),
        converted.run({converted.inputs[0].name: feeds[twin.inputs[0].name]}),
    )
    assert float(np.abs(found - wanted).max()) < 1e-4 * float(np.ptp(wanted))
