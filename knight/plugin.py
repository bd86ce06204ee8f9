"""The names that plug-ins are written with; docs/extending.md shows how they are used.

Each is imported when it is first used, so that a plug-in which adds a flag does not load a runtime. These
names stay where they are when the modules behind them move.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "Bench": "knight.optimizers",
    "Boxes": "knight.tasks._boxes",
    "Column": "knight.compare.metrics",
    "ConfigError": "knight.errors",
    "Conversion": "knight.converters",
    "Converter": "knight.converters",
    "DataError": "knight.errors",
    "Decoder": "knight.tasks._decoders",
    "Detector": "knight.tasks._decoders",
    "Engine": "knight.engines",
    "Executor": "knight.executor",
    "Exported": "knight.exporters",
    "Flag": "knight.cli._flags",
    "Histogram": "knight.observer",
    "Job": "knight.engines",
    "JobResult": "knight.engines",
    "KnightError": "knight.errors",
    "Listener": "knight.listener",
    "Method": "knight.calibration",
    "Metric": "knight.compare.metrics",
    "ModelError": "knight.errors",
    "Optimizer": "knight.optimizers",
    "PassOptions": "knight.passes",
    "Patch": "knight.types",
    "QuantSpec": "knight.types",
    "Source": "knight.converters",
    "Tally": "knight.compare.tally",
    "Writing": "knight.forms",
    "carry_out": "knight.engines",
    "distinct": "knight.engines",
    "find_decoder": "knight.tasks._decoders",
}

if TYPE_CHECKING:
    from knight.calibration import Method
    from knight.cli._flags import Flag
    from knight.compare.metrics import Column, Metric
    from knight.compare.tally import Tally
    from knight.converters import Conversion, Converter, Source
    from knight.engines import Engine, Job, JobResult, carry_out, distinct
    from knight.errors import ConfigError, DataError, KnightError, ModelError
    from knight.executor import Executor
    from knight.exporters import Exported
    from knight.forms import Writing
    from knight.listener import Listener
    from knight.observer import Histogram
    from knight.optimizers import Bench, Optimizer
    from knight.passes import PassOptions
    from knight.tasks._boxes import Boxes
    from knight.tasks._decoders import Decoder, Detector, find_decoder
    from knight.types import Patch, QuantSpec

__all__ = [
    "Bench",
    "Boxes",
    "Column",
    "ConfigError",
    "Conversion",
    "Converter",
    "DataError",
    "Decoder",
    "Detector",
    "Engine",
    "Executor",
    "Exported",
    "Flag",
    "Histogram",
    "Job",
    "JobResult",
    "KnightError",
    "Listener",
    "Method",
    "Metric",
    "ModelError",
    "Optimizer",
    "PassOptions",
    "Patch",
    "QuantSpec",
    "Source",
    "Tally",
    "Writing",
    "carry_out",
    "distinct",
    "find_decoder",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'knight.plugin' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
