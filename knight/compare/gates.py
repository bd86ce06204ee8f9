"""Thresholds that a comparison has to keep, for scripts that stop a build."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from knight.compare.comparison import Comparison, Layer
from knight.errors import ConfigError

COS, SQNR, LOSS = "fail-under-cos", "fail-under-sqnr", "fail-over-loss"
"""Names of the gates: the options that set them."""


@dataclass(frozen=True)
class Gates:
    """Limits; None is no gate.

    cos: lowest value of any layer, in the documented form of 0 to 1; above 1 it is taken as percent. loss:
    largest loss of the metric, in percent. sqnr: lowest SQNR of the outputs, in dB. Raises ConfigError for a
    limit that no comparison could be held against.
    """

    cos: float | None = None
    loss: float | None = None
    sqnr: float | None = None

    def __post_init__(self) -> None:
        _demand(COS, self.cos, 0.0, 100.0, "a fraction (0.99) or a percentage (99)")
        _demand(LOSS, self.loss, 0.0, math.inf, "a percentage of at least 0")
        _demand(SQNR, self.sqnr, -math.inf, math.inf, "a number of dB")

    @property
    def lowest_cos(self) -> float | None:
        """The limit of cos as a fraction."""
        return self.cos / 100.0 if self.cos is not None and self.cos > 1.0 else self.cos


def _demand(name: str, value: float | None, low: float, high: float, what: str) -> None:
    if value is not None and not (math.isfinite(value) and low <= value <= high):
        raise ConfigError(f"--{name} is {value}; it has to be {what}")


@dataclass(frozen=True)
class Gate:
    """What came of one threshold. value: None where it is not known, which does not pass. limit: cos as a
    fraction, loss in percent, SQNR in dB. text: one sentence that names the worst layer."""

    name: str
    passed: bool
    value: float | None
    limit: float
    text: str


def check(comparison: Comparison, gates: Gates) -> list[Gate]:
    """Every threshold that is set, in the order cos, SQNR, loss."""
    return [*_cos(comparison, gates), *_sqnr(comparison, gates), *_loss(comparison, gates)]


def cos_failure(layer: Layer, limit: float) -> str | None:
    """Why a layer does not keep the limit of cos; None where it does, or has no number to be judged by."""
    value = _known(layer.figures.get("cos"))
    if value is not None:
        return None if value >= limit else f"cos {_percent(value)} is under {_percent(limit)}"
    if layer.broken:
        return f"cos is not known: {layer.broken} elements are finite in one of the two models only"
    if any(figure is not None for figure in layer.figures.values()):
        return "cos is not known: the numbers are too large for it"
    return None  # empty, or the same infinities on both sides


def _cos(comparison: Comparison, gates: Gates) -> Iterator[Gate]:
    limit = gates.lowest_cos
    if limit is None:
        return
    for layer in comparison.layers:
        if _known(layer.figures.get("cos")) is None and (why := cos_failure(layer, limit)):
            yield Gate(COS, False, None, limit, f"{_name(layer)}: {why}")
            return
    known = [
        (cos, layer) for layer in comparison.layers if (cos := _known(layer.figures.get("cos"))) is not None
    ]
    if not known:
        yield Gate(COS, False, None, limit, "the lowest cos is not known: no layer with numbers was compared")
        return
    value, worst = min(known, key=lambda pair: pair[0])
    passed = value >= limit
    text = f"lowest cos {_percent(value)} at {_name(worst)}, {_verdict(passed)} {_percent(limit)}"
    yield Gate(COS, passed, value, limit, text)


def _sqnr(comparison: Comparison, gates: Gates) -> Iterator[Gate]:
    limit = gates.sqnr
    if limit is None:
        return
    value, where = _known(comparison.output_sqnr), "SQNR of the outputs"
    if value is None and comparison.layers:
        last = comparison.layers[-1]
        value, where = _known(last.sqnr), f"SQNR of the last layer, {_name(last)},"
    if value is None:
        yield Gate(SQNR, False, None, limit, "the SQNR of the outputs is not known: they were not compared")
        return
    passed = value >= limit
    text = f"{where} {value:.2f} dB, {_verdict(passed)} {limit:g} dB{_guilty(comparison)}"
    yield Gate(SQNR, passed, value, limit, text)


def _loss(comparison: Comparison, gates: Gates) -> Iterator[Gate]:
    limit = gates.loss
    if limit is None:
        return
    value = _known(comparison.loss)
    if value is None:
        yield Gate(LOSS, False, None, limit, f"the loss is not known: {_no_loss(comparison)}")
        return
    passed = value <= limit
    said = "within" if passed else "over"
    text = f"loss of the metric {value:.4g} %, {said} {limit:g} %{_guilty(comparison)}"
    yield Gate(LOSS, passed, value, limit, text)


def _no_loss(comparison: Comparison) -> str:
    sides = {"float": comparison.metric_reference, "quantized": comparison.metric_result}
    missing = [side for side, metric in sides.items() if _known(metric) is None]
    if missing:
        return f"the infer function returned no number for the {' and the '.join(missing)} model"
    return "the float model's metric is 0, to which no loss is relative"


def _guilty(comparison: Comparison) -> str:
    guilty = comparison.guilty()
    if not guilty:
        return ""
    return (
        f"; the worst layer by itself is {_name(guilty[0])} with an own SQNR of {guilty[0].own_sqnr:.2f} dB"
    )


def _name(layer: Layer) -> str:
    return f"{layer.op_type} {layer.output!r}"


def _verdict(passed: bool) -> str:
    return "not under" if passed else "under"


def _percent(value: float) -> str:
    return f"{value * 100.0:.8g} %"


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
