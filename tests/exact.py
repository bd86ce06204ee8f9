"""ONNX Runtime by itself, with the sums that a file states: its own switch against saturating int8 kernels.

Beside Knight's sessions, which get there another way (`knight.exact`).
"""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort


def session(model: str | bytes | Path) -> ort.InferenceSession:
    """The model as it is, on the CPU; uint8 x int8 is added up without saturation on any."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1")
    source = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
