"""What a run tells while it goes on, and keeps for its report: stages with their times, and warnings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from knight import operators
from knight.config import QuantConfig
from knight.listener import Listener
from knight.planning import Planned, Variant
from knight.preparing import Prepared
from knight.targets import Target

STAGES = (
    "Do Graph Optimize.",
    "Run Float Model And Calculate Quantization Scales.",
    "Run Model Quantization.",
    "Quantitative Parameter Fixed-point.",
    "Quantitation Postprocess.",
)
"""Titles of the vendor's log."""


@dataclass(frozen=True)
class Account:
    """times: seconds by stage. warnings: all that were told to `listener`."""

    listener: Listener
    times: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        """Tells it, and keeps it."""
        self.warnings.append(text)
        self.listener.warn(text)

    @contextmanager
    def stage(self, number: int) -> Iterator[None]:
        """Inside is the stage of this number, from 1."""
        self.listener.stage(number, STAGES[number - 1])
        start = time.perf_counter()
        yield
        self.times[f"stage{number}"] = time.perf_counter() - start

    def branch(self) -> Account:
        """One for a combination, which begins with what all have in common."""
        return Account(self.listener, dict(self.times), list(self.warnings))


def tell_plan(account: Account, planned: Planned, target: Target, config: QuantConfig) -> None:
    """What the source is, types of inputs, what stays float and why, outputs that stay as they are."""
    prepared, plan = planned.prepared, planned.plans[0]
    for text in about_source(planned, recalibrate=config.recalibrate):
        account.warn(text)
    for name, dtype in prepared.border.types.items():
        account.listener.detail(f"input {name} takes {dtype}")
    if config.output_dequant:
        _tell_outputs(account.listener, prepared, target)
    open_ = prepared.border.normalization if isinstance(planned.whole[0], Variant) else frozenset()
    for name, reason in plan.float_nodes.items():
        if name not in open_:  # samples decide
            account.listener.detail(f"{name} stays float: {reason}")
    if not plan.tensors:
        account.warn(
            f"nothing in this model can be quantized for {target.name}; the result is the float model"
        )
    kinds = [node.op_type for node in prepared.model.graph if operators.has_subgraph(node)]
    if kinds:
        account.warn(f"the bodies of {len(kinds)} {'/'.join(sorted(set(kinds)))} operators stay float")


def about_source(planned: Planned, *, recalibrate: bool = False) -> Iterator[str]:
    """That a model is quantized already, and what becomes of its scales; nothing for a float model."""
    source = planned.source
    if not str(source):
        if recalibrate:
            yield "no effect on a model that is not quantized: --recalibrate"
        return
    kept = f"; {planned.kept[0]}" if planned.kept[0].patch else ""
    yield f"{source}{kept}"
    for name, reason in source.absorbed.left.items() if source.absorbed is not None else ():
        yield f"{name} stays as it is: {reason}"


def _tell_outputs(listener: Listener, prepared: Prepared, target: Target) -> None:
    """Which outputs -od does nothing to: there is no fixed-point number to dequantize."""
    for output in prepared.model.graph.outputs:
        maker = output.producer()
        op_type = maker.op_type if maker is not None else ""
        if op_type == "ArgMax":
            listener.detail(f"output {output.name} stays as it is: ArgMax makes indices")
        elif op_type in target.software:
            listener.detail(f"output {output.name} stays as it is: {op_type} is a software layer")
