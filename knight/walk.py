"""A model run once over samples, from one operator to the next, so that its numbers may change between.

Whoever mends one layer after the other needs what the layers before, mended already, hand to it. Running the
model from its start for every layer would cost the square of its depth. Here what is still to be read is kept
on disk at each stop; integers are kept rather than the real numbers that a DequantizeLinear makes of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx_ir as ir

from knight.files import output_errors
from knight.kept_samples import Feeds
from knight.runner import Session

_PLAIN = frozenset("biuf")


class Walk:
    """Goes through `model` once.

    model: its graph stays as it is while the walk is on; numbers from the last stop on may change. samples:
    gone through once, in their order.
    """

    def __init__(self, model: ir.Model, samples: Iterable[Feeds], *, threads: int = 1) -> None:
        self._model = model
        self._samples = samples
        self._threads = threads
        self._nodes = list(model.graph)
        self._place = {node: place for place, node in enumerate(self._nodes)}
        self._reads = {node: _read_by(node, model.graph) for node in self._nodes}

    def stops(self, names: Collection[str]) -> Iterator[tuple[ir.Node, Iterator[np.ndarray]]]:
        """(node, its first output for one sample after the other) of the nodes called so, in graph order.

        Each node's outputs are those of the model as it stands when they are read; what is behind them
        continues from there. Raises DataError as `Session.run` does, and OutputError for a full disk.
        """
        stops = [node for node in self._nodes if node.name in names]
        last = max((self._place[node] for node in stops), default=0)
        known: list[ir.Value] = [value for value in self._model.graph.inputs if not value.is_initializer()]
        before: BinaryIO | None = None
        try:
            for node in stops:
                kept = self._kept(self._place[node], last)
                after = tempfile.TemporaryFile(prefix="knight-")  # noqa: SIM115  # closed at the next stop
                outputs = self._outputs(node, known, before, kept, after)
                yield node, outputs
                for _ in outputs:  # what nobody asked for has to be run as well
                    pass
                if before is not None:
                    before.close()
                before, known = after, kept
        finally:
            if before is not None:
                before.close()

    def _outputs(
        self,
        node: ir.Node,
        known: Sequence[ir.Value],
        before: BinaryIO | None,
        kept: Sequence[ir.Value],
        after: BinaryIO,
    ) -> Iterator[np.ndarray]:
        """Runs from what is `known` to `node`, writes what is `kept` and gives the node's output."""
        target, carried = node.outputs[0], set(known)
        made = [value for value in kept if value not in carried]
        session = Session(self._piece(known, [target, *made]), threads=self._threads)
        read, wanted = [info.name for info in session.inputs], [value.name or "" for value in (target, *made)]
        for arrays in self._stored(known, before):
            results = session.run({name: arrays[name] for name in read}, wanted)
            arrays.update(zip(wanted[1:], results[1:], strict=True))
            _write(after, [arrays[value.name or ""] for value in kept])
            yield results[0]
        after.seek(0)

    def _piece(self, known: Sequence[ir.Value], wanted: Sequence[ir.Value]) -> ir.Model:
        graph = ir.convenience.extract(self._model.graph, known, wanted)
        for value in list(graph.inputs):
            if not value.uses() and not value.is_graph_output():
                graph.inputs.remove(value)
        functions = self._model.functions.values()
        return ir.Model(
            graph, ir_version=self._model.ir_version, functions=[one.clone() for one in functions]
        )

    def _stored(self, known: Sequence[ir.Value], before: BinaryIO | None) -> Iterator[Feeds]:
        if before is None:
            yield from (dict(feeds) for feeds in self._samples)
            return
        size = before.seek(0, 2)
        before.seek(0)
        while before.tell() < size or not known:
            yield {value.name or "": np.load(before, allow_pickle=False) for value in known}

    def _kept(self, place: int, last: int) -> list[ir.Value]:
        """What is made before `place`, or fed, and read from there up to `last`."""
        kept: dict[ir.Value, None] = {}
        for node in self._nodes[place : last + 1]:
            for value in self._reads[node]:
                producer = value.producer()
                if producer is None or self._place[producer] < place:
                    kept.update(dict.fromkeys(self._storable(value)))
        return list(kept)

    def _storable(self, value: ir.Value) -> Iterator[ir.Value]:
        """`value`, or what it is made of again where that is better kept."""
        producer = value.producer()
        if producer is None:
            if not value.is_initializer():
                yield value
        elif producer.op_type == "DequantizeLinear" or not _is_plain(value):
            for source in self._reads[producer]:
                yield from self._storable(source)
        else:
            yield value


def _read_by(node: ir.Node, graph: ir.Graph) -> list[ir.Value]:
    """What a node of `graph` reads of it, in its bodies too."""
    found = [value for value in node.inputs if value is not None]
    for attribute in node.attributes.values():
        bodies = (
            [attribute.as_graph()]
            if attribute.type == ir.AttributeType.GRAPH
            else attribute.as_graphs()
            if attribute.type == ir.AttributeType.GRAPHS
            else []
        )
        for body in bodies:
            inner = [value for one in body.all_nodes() for value in one.inputs]
            found += [
                value for value in (*inner, *body.outputs) if value is not None and value.graph is graph
            ]
    return list(dict.fromkeys(found))


def _is_plain(value: ir.Value) -> bool:
    """Whether NumPy stores it as it is: a tensor of a known type that it has."""
    if value.dtype is None or not isinstance(value.type, ir.TensorType):
        return False
    try:
        return value.dtype.numpy().kind in _PLAIN and value.dtype.numpy().isbuiltin == 1
    except TypeError:
        return False


def _write(file: BinaryIO, arrays: Sequence[np.ndarray]) -> None:
    with output_errors(Path(tempfile.gettempdir())):
        for array in arrays:
            np.save(file, array, allow_pickle=False)
