"""The options of one quantization, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knight.recipe import Rule


@dataclass(frozen=True)
class QuantConfig:
    """What a user chooses beside the model, the data and the target.

    methods: calibration methods; each gives one quantized model. iterations: numbers of forward calls,
    likewise.
    batch_size: samples per call, handed to the infer function.
    ir_batch: batch size of the quantized model (None: 1 where the target needs static shapes, else as in the
        source).
    percent: fraction of the values that `percentile` keeps.
    bits: width of activations and weights.
    disable_names, disable_types: operators that stay float, by name (or that of a value that they make) and
        by kind; ``*`` and ``?`` are wildcards.
    keep_first, keep_last: how many of the first and last operators with weights stay float.
    rules: choices for single operators (see `knight.recipe`).
    mix_config: file with more of them (see `knight.mix_config`); later ones win, exclusion over all.
    recalibrate: find new scales for a model that is quantized already, instead of keeping its own.
    threads: CPUs to use.
    output_names: crop the graph at these.
    mean, std: normalization to put after the first input.
    strict: refuse operators that the target does not have.
    input_dtypes: types of the quantized model's inputs (float32 int8 uint8 int16; None keeps float32), one
        for all float inputs or one per input.
    output_dequant: real numbers as outputs, also on chips whose outputs are fixed-point.
    reduce_range: weights of one bit less, whose products do not saturate in 16 bits.
    format: of what is written, a name of `knight.exporters`.
    extras: values of the options that other distributions add, for the code that they bring.
    """

    methods: tuple[str, ...] = ("kl",)
    iterations: tuple[int, ...] = (1,)
    batch_size: int = 1
    ir_batch: int | None = None
    percent: float = 0.99999
    bits: int = 8
    disable_names: tuple[str, ...] = ()
    disable_types: tuple[str, ...] = ()
    keep_first: int = 0
    keep_last: int = 0
    rules: tuple[Rule, ...] = ()
    optimizers: tuple[str, ...] = ()
    mix_config: str | None = None
    recalibrate: bool = False
    threads: int = 5
    output_names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    strict: bool = False
    input_dtypes: tuple[str | None, ...] = ()
    output_dequant: bool = False
    reduce_range: bool = False
    format: str = "qdq"
    extras: Mapping[str, Any] = field(default_factory=dict)
