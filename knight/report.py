"""What came of one quantization, as plain JSON data (see report_schema.json)."""

from __future__ import annotations

import platform
import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np

from knight import evaluation
from knight.absorbing import Source
from knight.candidates import Candidate
from knight.config import QuantConfig
from knight.executor import RunSettings
from knight.host import HostFigures, cpu_name
from knight.measuring import Figures
from knight.normalizing import Form
from knight.observing import Seen
from knight.outputs import output_scales
from knight.realizing import Quantized
from knight.runner import saturates
from knight.targets import Target
from knight.telling import Account

Report = dict[str, Any]


def report(
    quantized: Quantized,
    figures: Figures,
    seen: Seen,
    source: Source,
    *,
    name: str,
    target: Target,
    candidate: Candidate,
    config: QuantConfig,
    settings: RunSettings,
    account: Account,
    normalization: Form | None = None,
) -> Report:
    """The report on one quantized model. normalization: how it runs behind an integer input, where that was a
    question.
    """
    plan, parameters = quantized.plan, quantized.parameters
    return {
        **_headline(seen.metric, figures),
        "model": name,
        "chip": target.chip or target.name,
        "method": candidate.method,
        "iteration": candidate.iteration,
        "samples": seen.samples,
        "quantized_source": _source(source),
        "arguments": plain({**asdict(config), **asdict(settings)}),
        "versions": _versions(),
        "times": {stage: round(seconds, 4) for stage, seconds in account.times.items()},
        "peak_memory_mb": peak_memory_mb(),
        "inputs": [
            {"name": value.name, "dtype": value.dtype.numpy().name if value.dtype is not None else None}
            for value in quantized.model.graph.inputs
        ],
        "outputs": _outputs(quantized, figures),
        "values": {key: _value(key, quantized) for key in plan.tensors},
        "weights": {
            name: {"bits": q.spec.bits, "axis": q.spec.axis, "scale": plain(q.scale)}
            for name, q in parameters.weights.items()
        },
        "requantization": {
            node: {"multiplier": plain(r.multiplier), "shift": plain(r.shift)}
            for node, r in quantized.requantizations.items()
        },
        "normalization": None if normalization is None else asdict(normalization),
        "optimizers": [{**asdict(verdict), "accepted": verdict.accepted} for verdict in quantized.verdicts],
        "kept_in_float": dict(plan.float_nodes),
        "conversions_left": figures.coverage.conversions,
        "warnings": list(account.warnings),
        "host": _host(plan.runtime, figures.host),
    }


def _source(source: Source) -> Report | None:
    """None for a float model."""
    if source.found is None:
        return None
    return {
        "tool": source.found.tool,
        "kind": source.found.kind,
        "operators_with_weights": source.found.compute,
        "integer_operators": source.found.integer,
    }


def _headline(metric_float: object, figures: Figures) -> Report:
    found = figures.coverage
    return {
        "metric_float": evaluation.as_number(metric_float),
        "metric_quantized": evaluation.as_number(figures.metric),
        "loss": evaluation.quantization_loss(metric_float, figures.metric),
        "sqnr_db": figures.agreement.sqnr_db(),
        "cosine": figures.agreement.cosine(),
        "integer_operators": found.integer,
        "float_operators": len(found.float_operators),
        "float_operator_names": list(found.float_operators),
    }


def _outputs(quantized: Quantized, figures: Figures) -> list[Report]:
    scales = output_scales(quantized.model)
    return [
        {
            "name": name,
            "scale": scales[name]["scale"] if name in scales else None,
            "zero_point": scales[name]["zero_point"] if name in scales else None,
            "sqnr_db": figures.agreement.output_sqnr_db(name),
        }
        for name in figures.agreement.names
    ]


def _value(key: str, quantized: Quantized) -> Report:
    group = quantized.plan.tensors[key].group
    q = quantized.parameters.activations[group]
    seen = quantized.statistics.extremes(quantized.plan.groups[group].sources)
    return {
        "scale": float(q.scale),
        "zero_point": int(q.zero_point),
        "bits": q.spec.bits,
        "signed": q.spec.signed,
        "min": seen.minimum,
        "max": seen.maximum,
        "low": float(q.low),
        "high": float(q.high),
        "shares": group if group != key else None,
    }


def _host(runtime: str, host: HostFigures | None) -> Report | None:
    """None for a chip that does not run ONNX Runtime."""
    if runtime != "onnxruntime":
        return None
    return {
        "cpu": cpu_name(),
        "saturates": saturates(),
        "replay": None if host is None else plain(asdict(host)),
    }


def plain(value: Any) -> Any:
    """`value` as JSON can hold it."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def _versions() -> dict[str, str]:
    packages = ("onnx", "onnx-ir", "onnxruntime", "numpy")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 if sys.platform != "darwin" else 1024**2), 1)
