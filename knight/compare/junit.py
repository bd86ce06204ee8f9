"""A comparison as JUnit XML, in the part of the format that Jenkins and GitLab both read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

from knight.compare.comparison import Comparison, Layer
from knight.compare.gates import COS, Gate, cos_failure

_SUITE = "knight compare"
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2 Char


def junit(comparison: Comparison, gates: Sequence[Gate]) -> str:
    """One test suite with a case per gate and per layer, to be written as UTF-8.

    gates: what came of the thresholds (see `gates.check`). A layer fails where its cos is under the limit of
    the cos gate, and always passes without one. The figures are properties, as plain fractions and dB.
    """
    limit = next((gate.limit for gate in gates if gate.name == COS), None)
    suite = ET.Element("testsuite")
    _properties(suite, _facts(comparison))
    failures = sum(_gate_case(suite, gate) for gate in gates)
    failures += sum(_layer_case(suite, layer, limit) for layer in comparison.layers)
    counts = {
        "tests": len(gates) + len(comparison.layers),
        "failures": failures,
        "errors": 0,
        "skipped": 0,
        "time": f"{comparison.seconds:.3f}",
    }
    root = ET.Element("testsuites")
    root.append(suite)
    for element in (root, suite):
        element.set("name", _SUITE)
        for key, value in counts.items():
            element.set(key, str(value))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _facts(comparison: Comparison) -> dict[str, object]:
    return {
        "reference": comparison.reference,
        "result": comparison.result,
        "samples": comparison.samples,
        "layers": len(comparison.layers),
        "unpaired": len(comparison.unpaired),
        "output_sqnr": comparison.output_sqnr,
        "metric_float": comparison.metric_reference,
        "metric_quantized": comparison.metric_result,
        "loss": comparison.loss,
    }


def _gate_case(suite: ET.Element, gate: Gate) -> bool:
    """Adds a gate; True where it failed."""
    case = _case(suite, "gate", gate.name)
    _properties(case, {"value": gate.value, "limit": gate.limit})
    if not gate.passed:
        _fail(case, gate.text)
    return not gate.passed


def _layer_case(suite: ET.Element, layer: Layer, limit: float | None) -> bool:
    """Adds a layer; True where it failed."""
    case = _case(suite, layer.op_type, layer.output)
    _properties(case, {"index": layer.index, **layer.figures, "own_sqnr": layer.own_sqnr})
    why = None if limit is None else cos_failure(layer, limit)
    if why is not None:
        _fail(case, why, layer.cause.text if layer.cause else "")
    return why is not None


def _case(suite: ET.Element, classname: str, name: str) -> ET.Element:
    return ET.SubElement(
        suite, "testcase", {"classname": _legal(classname), "name": _legal(name), "time": "0.000"}
    )


def _fail(case: ET.Element, message: str, more: str = "") -> None:
    failure = ET.SubElement(case, "failure", {"message": _legal(message), "type": "comparison"})
    failure.text = _legal(f"{message}\n{more}".rstrip())


def _properties(element: ET.Element, figures: Mapping[str, object]) -> None:
    """Adds what is known; a figure that is None, NaN or infinite is left out."""
    known = {key: value for key, value in figures.items() if _is_known(value)}
    properties = ET.SubElement(element, "properties")
    for key, value in known.items():
        ET.SubElement(properties, "property", {"name": key, "value": _legal(str(value))})


def _is_known(value: object) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _legal(text: str) -> str:
    """The text without the characters that XML 1.0 forbids, even when escaped."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
