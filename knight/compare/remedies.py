"""What to do: the remedies of single layers put together, and mixed precision tried out on a few samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from knight.compare.comparison import Layer, Remedy
from knight.compare.pairing import Pairing
from knight.compare.weights import Constants
from knight.edit import Editor
from knight.evaluation import Agreement
from knight.model import name_of
from knight.qdq.graph import DEQUANTIZE, QUANTIZE, Graph
from knight.runner import Session

_SHARE = 0.1  # of the layers may stay in float
_MOST = 16
_WORTH_DB = 0.5
_NEARLY = 0.7  # fewer layers do when they win this share of what more would


@dataclass(frozen=True)
class Suggestion:
    """remedies, most rewarding first; mixed_precision: entries of a file for -mc, empty where no help."""

    remedies: Sequence[Remedy] = ()
    mixed_precision: Sequence[Mapping[str, Any]] = ()


def suggest(
    layers: Sequence[Layer],
    facts: Mapping[str, Constants],
    pairing: Pairing,
    tried: Sequence[Mapping[str, np.ndarray]],
    threads: int,
) -> Suggestion:
    """`facts`: the layers' weights, by output. `tried`: a few samples, by input name; without any, nothing is
    tried out.
    """
    remedies = sorted(_by_layer(layers), key=lambda remedy: -(remedy.gain_db or 0.0))
    chosen = _candidates(layers)
    if not tried or not chosen:
        return Suggestion(remedies)
    trial = _Trial(pairing, facts, tried, threads)
    now = trial.sqnr([])
    few = chosen[: max(1, len(chosen) // 4)]
    if now is None:
        return Suggestion(remedies)
    gains = {len(some): (trial.sqnr(some) or now) - now for some in (few, chosen)}
    some = few if gains[len(few)] >= _NEARLY * gains[len(chosen)] else chosen
    gain = gains[len(some)]
    if gain < _WORTH_DB:
        return Suggestion(remedies)
    names = [layer.name for layer in some]
    word = "this layer" if len(some) == 1 else f"these {len(some)} layers"
    remedy = Remedy(
        f"float for {word} (--disable-names, or -mc with the file that --save-dir gets): the outputs' SQNR "
        f"rises from {now:.1f} to {now + gain:.1f} dB on {len(tried)} samples",
        tuple(layer.output for layer in some),
        gain,
        measured=True,
    )
    others = [other for other in remedies if other.gain_db or not set(other.layers) <= set(remedy.layers)]
    return Suggestion([remedy, *others], [{"op_names": names, "bitwidth": "float"}])


def _by_layer(layers: Sequence[Layer]) -> list[Remedy]:
    """One remedy for all layers that need the same."""
    groups: dict[str, list[Layer]] = {}
    for layer in layers:
        if layer.cause is not None and layer.cause.remedy:
            groups.setdefault(layer.cause.remedy, []).append(layer)
    found = []
    for text, members in groups.items():
        gains = [layer.cause.gain_db for layer in members if layer.cause and layer.cause.gain_db is not None]
        outputs = tuple(layer.output for layer in members)
        found.append(Remedy(text, outputs, max(gains) if gains else None))
    return found


def _candidates(layers: Sequence[Layer]) -> list[Layer]:
    """The layers whose own error is largest, of those that compute something."""
    able = [
        layer
        for layer in layers
        if layer.own_sqnr is not None
        and layer.name
        and (layer.rounding is not None or layer.weights is not None)
    ]
    able.sort(key=lambda layer: layer.own_sqnr or 0.0)
    return able[: max(1, min(_MOST, round(_SHARE * len(able))))]


class _Trial:
    """The quantized model with some layers left in float, run on a few samples."""

    def __init__(
        self,
        pairing: Pairing,
        facts: Mapping[str, Constants],
        tried: Sequence[Mapping[str, np.ndarray]],
        threads: int,
    ) -> None:
        self.pairing = pairing
        self.facts = facts
        self.tried = tried
        self.threads = threads
        self.names = [name_of(value) for value in pairing.result.graph.outputs]
        self.roots = {name_of(twin): name_of(root) for root, twin in pairing.pairs.items()}
        self.wanted = self._wanted()

    def _wanted(self) -> list[list[np.ndarray]] | None:
        """The float model's outputs that stand for the quantized model's; None where some are not paired."""
        twins = {
            name: twin
            for root, twin in self.pairing.pairs.items()
            for name in self.pairing.result.names(root)
        }
        if any(name not in twins for name in self.names):
            return None
        reference = self.pairing.reference
        outputs = [name_of(twins[name]) for name in self.names]
        inputs = {name_of(root): twin for root, twin in self.pairing.pairs.items() if twin.is_graph_input()}
        session = Session(reference.model, taps=outputs, threads=self.threads)
        found = []
        for feeds in self.tried:
            fed = {
                name_of(twin): feeds[name].astype(twin.dtype.numpy() if twin.dtype else None, copy=False)
                for name, twin in inputs.items()
            }
            found.append(session.run(fed, outputs))
        return found

    def sqnr(self, layers: Sequence[Layer]) -> float | None:
        """dB of the outputs with `layers` in float."""
        if self.wanted is None:
            return None
        model = self.pairing.result.model.clone()
        graph, edit = Graph(model), Editor(model.graph)
        for layer in layers:
            self._leave_in_float(graph, edit, layer)
        outputs = self._real_outputs(graph, edit, {self.roots[layer.output] for layer in layers})
        session = Session(model, taps=outputs, threads=self.threads, level="none")
        agreement = Agreement(outputs)
        for feeds, wanted in zip(self.tried, self.wanted, strict=True):
            agreement.update(wanted, session.run(feeds, outputs))
        return agreement.sqnr_db()

    def _leave_in_float(self, graph: Graph, edit: Editor, layer: Layer) -> None:
        root = graph.values[self.roots[layer.output]]
        fact = self.facts.get(layer.output)
        unit = graph.unit(
            root, {value for value in graph.values.values() if value.name in self.roots.values()}
        )
        main = unit.main
        if fact is not None and main is not None:
            for index, value in enumerate(main.inputs):
                if value is not None and value.name == fact.name:
                    main.replace_input_with(index, edit.constant(f"{fact.name}_float", fact.reference))
        quantizer = graph.quantizers.get(root)
        if quantizer is None:
            return
        for node, _ in list(quantizer.quantize.outputs[0].uses()):
            if node.op_type == DEQUANTIZE:
                real = node.outputs[0]
                for reader, index in list(real.uses()):
                    reader.replace_input_with(index, root)
                for index, output in enumerate(graph.graph.outputs):
                    if output is real:
                        graph.graph.outputs[index] = root

    def _real_outputs(self, graph: Graph, edit: Editor, wide: set[str]) -> list[str]:
        """Names of the real values of the model's outputs, in order.

        Where integers leave the model, these are the integers turned back; of roots in `wide`, what they are.
        """
        found = []
        for value in graph.graph.outputs:
            quantize = _quantizer_of(value)
            if quantize is None:
                found.append(name_of(value))
            elif (root := name_of(graph.root(quantize.inputs[0]))) in wide:
                found.append(root)
            else:
                inputs = [quantize.outputs[0], *quantize.inputs[1:]]
                back = ir.Node(quantize.domain, DEQUANTIZE, inputs, num_outputs=1)
                back.outputs[0].name = edit.names.fresh(f"{value.name}_real")
                graph.graph.append(back)
                found.append(back.outputs[0].name)
        return found


def _quantizer_of(output: ir.Value) -> ir.Node | None:
    """The QuantizeLinear whose integers leave the model, maybe through a Cast."""
    node = output.producer()
    if node is not None and node.op_type == "Cast" and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node if node is not None and node.op_type == QUANTIZE else None
