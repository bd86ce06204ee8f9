"""What a chip or a runtime can do, as data: one TOML file per family, no code.

A family file may name another with ``extends`` and states only what differs. The keys are the
fields of `Target`; an unknown key, a wrong type or a value out of range is an error naming file and
key. Users pass their own file with ``--chip ./my_chip.toml``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import resources
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from knight.errors import ConfigError, did_you_mean
from knight.types import QuantSpec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_CHIP = "TX5368AV200"


@dataclass(frozen=True)
class Target:
    """One chip family or runtime.

    name, description, source: family name, one line for people, where the facts are published.
    chips: the names by which users ask for it (the family name always works).
    bits: supported widths. runtime: "onnxruntime" where ONNX Runtime itself executes the result,
        so integer coverage is counted after its own optimisation; "" where the chip does.
    opset: opset that the quantized model has at least.
    static_shapes: the result must have a fixed batch and picture size.
    fixed_point_outputs: outputs leave the model as integers held in float.

    activation_*, weight_*: how activations and weights are quantized; percentages of nothing:
        signed, symmetric, narrow (weights), per_channel (weights).

    anchors: operators that are worth running as integers by themselves.
    followers: operators that run as integers where their inputs are integers anyway and an
        anchor needs their result; elsewhere they stay float.
    keep_scale: operators that only move or select values: output and input share one scale.
    float_result: integer operators that can hand a float result to a float reader.
    software: operators that the vendor runs on the CPU: supported, in float.
    recognise: composite operators worth recognising from their decomposed form.

    multiplier_bits, shift_range: requantization by ``(acc * multiplier) >> shift``; 0 bits where the
        runtime multiplies in float and nothing needs checking.
    unify_concat: Concat inputs must share one scale.
    """

    name: str
    description: str = ""
    source: str = ""
    chips: tuple[str, ...] = ()
    bits: tuple[int, ...] = (8,)
    runtime: str = ""
    opset: int = 17
    static_shapes: bool = False
    fixed_point_outputs: bool = False

    activation_signed: bool = True
    activation_symmetric: bool = True
    weight_symmetric: bool = True
    weight_narrow: bool = False
    weight_per_channel: bool = True

    anchors: frozenset[str] = frozenset()
    followers: frozenset[str] = frozenset()
    keep_scale: frozenset[str] = frozenset()
    float_result: frozenset[str] = frozenset()
    software: frozenset[str] = frozenset()
    recognise: frozenset[str] = frozenset()

    multiplier_bits: int = 0
    shift_range: tuple[int, int] = (0, 31)
    unify_concat: bool = False

    def activation_spec(self, bits: int) -> QuantSpec:
        """How an activation is quantized at this width."""
        return QuantSpec(bits, self.activation_signed, self.activation_symmetric)

    def weight_spec(self, bits: int, axis: int | None) -> QuantSpec:
        """How a weight is quantized at this width, with `axis` its output channels."""
        axis = axis if self.weight_per_channel else None
        return QuantSpec(bits, True, self.weight_symmetric, axis, self.weight_narrow)

    @property
    def integer_operators(self) -> frozenset[str]:
        """Every operator that can run as integers on this target."""
        return self.anchors | self.followers | self.keep_scale
