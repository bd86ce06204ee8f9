"""``knight convert``."""

from __future__ import annotations

from knight.cli._later import unavailable

command = unavailable("convert", "Convert a model of another framework to ONNX.")
