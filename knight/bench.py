"""What an optimizer is handed: a model, its plan and numbers, and samples to look at the values in them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from knight import model as models
from knight.errors import ModelError
from knight.kept_samples import Samples
from knight.listener import SILENT, Listener
from knight.preparing import Prepared
from knight.rewriter import rewrite
from knight.runner import Session
from knight.solver import Numbers, Parameters
from knight.statistics import Statistics
from knight.types import QuantPlan
from knight.walk import Walk


@dataclass(frozen=True)
class Bench:
    """All of it is to be read, nothing to be changed.

    prepared: the float model. plan: how it is quantized. parameters: with these numbers, those of the
    optimizers before among them. statistics: of the pass over all data. samples: to learn from, in the order
    of their hashes; those that are held back for the judgement are not among them.
    """

    prepared: Prepared
    plan: QuantPlan
    parameters: Parameters
    statistics: Statistics
    samples: Samples
    threads: int = 1
    listener: Listener = SILENT

    @property
    def graph(self) -> ir.Graph:
        """Of the float model."""
        return self.prepared.model.graph

    @property
    def numbers(self) -> Numbers:
        """The float numbers that are rounded as things stand."""
        return Numbers(self.prepared.model, self.plan, self.parameters.patch)

    def quantized(self) -> ir.Model:
        """The quantized model as things stand, its outputs real numbers: a copy of one's own."""
        return rewrite(self.prepared.model, self.plan, self.parameters, fixed_point=False)

    def capture(self, names: Sequence[str], *, quantized: bool = False) -> Iterator[dict[str, np.ndarray]]:
        """Name -> array of these values, for one sample after the other.

        quantized: of the quantized model, by exact arithmetic; under the name of a value there is what its
        operator makes, before that is rounded, and of a graph output what leaves the model. Raises ModelError
        for a name that the graph does not have.
        """
        model = self.quantized() if quantized else self.prepared.model
        fed = {value.name or "" for value in model.graph.inputs}
        made = {value.name for node in model.graph for value in node.outputs}
        for name in names:
            if name not in fed and name not in made:
                raise ModelError(f"the model has no value {name!r} to capture")
        run = [name for name in names if name not in fed]
        session = Session(model, taps=run, threads=self.threads)
        for feeds in self.samples:
            results = dict(zip(run, session.run(feeds, run), strict=True)) if run else {}
            yield {name: feeds[name] if name in fed else results[name] for name in names}

    def walk(self, names: Collection[str]) -> Iterator[tuple[ir.Node, Iterator[np.ndarray]]]:
        """(node of the quantized model, its output before that is rounded, for one sample after the other) of
        the nodes called so, in graph order and at the cost of about two passes in all.

        What `set_constant` changes in the node before the next is asked for is what the next is handed.
        """
        return Walk(self.quantized(), self.samples, threads=self.threads).stops(names)


def set_constant(value: ir.Value | None, array: np.ndarray) -> None:
    """Gives a constant of a quantized model other integers: those that become `value`. Raises ModelError
    where there are none.
    """
    producer = value.producer() if value is not None else None
    stored = producer.inputs[0] if producer is not None and producer.op_type == "DequantizeLinear" else None
    if stored is None or not models.is_constant(stored):
        raise ModelError(f"{value.name if value is not None else None!r} is no quantized constant")
    stored.const_value = ir.tensor(array, name=stored.name)
