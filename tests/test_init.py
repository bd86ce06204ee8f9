"""The public names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import knight

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", knight.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(knight, name) is not None
    assert name in dir(knight)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'quantise'"):
        knight.quantise  # noqa: B018


def test_import_is_light() -> None:
    code = "import sys, knight; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"numpy", "onnx", "onnxruntime", "click"} & set(done.stdout.split())


def test_version_is_that_of_the_distribution() -> None:
    assert f'version = "{knight.__version__}"' in (ROOT / "pyproject.toml").read_text("utf-8")
