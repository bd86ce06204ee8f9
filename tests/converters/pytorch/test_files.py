"""Model files: TorchScript, .pt2, pickled modules; what they are is told from their content."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
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


@pytest.mark.parametrize("key", ["model", "ema", None])
def test_whole_models_find_their_classes_beside_the_script(
    key: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As YOLO repositories save them: in half precision, beside an epoch and an optimizer."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder, file = tmp_path / "repository", tmp_path / "net.pt"
    (folder / "yolo_parts").mkdir(parents=True)
    (folder / "yolo_parts" / "net.py").write_text(
        "import torch\nclass Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.conv = torch.nn.Conv2d(3, 4, 3)\n"
        "    def forward(self, x):\n        return self.conv(x).relu()\n"
    )
    (folder / "infer.py").write_text("")
    kept = f"{{'model': None, 'epoch': 3, {key!r}: Net().half()}}" if key else "Net()"
    make = f"import torch; from yolo_parts.net import Net; torch.save({kept}, {str(file)!r})"
    subprocess.run([sys.executable, "-c", make], cwd=folder, check=True)
    source = Source(str(file), input_shapes=((1, 3, 8, 8),), allow_pickle=True)
    with pytest.raises(ModelError, match=r"net\.pt: its classes are elsewhere: ModuleNotFoundError.*-uds"):
        convert(source, SILENT)
    conversion = convert(replace(source, script=str(folder / "infer.py")), SILENT)
    assert_same(conversion)
    for name in [name for name in sys.modules if name.startswith("yolo_parts")]:
        del sys.modules[name]


def test_a_whole_model_of_a_file_that_imports_the_vendors_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the script that registers the functions has the classes of the model too."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    text = (
        "import torch\n{}\nclass Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.conv = torch.nn.Conv2d(3, 4, 3)\n"
        "    def forward(self, x):\n        return self.conv(x).relu()\n"
    )
    script, file = tmp_path / "vendors_net.py", tmp_path / "net.pt"
    script.write_text(text.format(""))
    make = f"import torch; from vendors_net import Net; torch.save(Net(), {str(file)!r})"
    subprocess.run([sys.executable, "-c", make], cwd=tmp_path, check=True)
    script.write_text(
        text.format("from onnx_quantize_tool.common.register import pytorch_model\nimport infer_auto")
    )
    source = Source(str(file), input_shapes=((1, 3, 8, 8),), allow_pickle=True, script=str(script))
    assert_same(convert(source, SILENT))
    del sys.modules["vendors_net"]


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
