"""From a frozen graph to ONNX by tf2onnx, with the source's names and, on demand, in NCHW."""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters import Conversion, Feeds, Source
from knight.converters._shapes import OPEN, tell_fixed
from knight.converters.tensorflow._graph import Graph
from knight.converters.tensorflow._layout import (
    TO_NCHW,
    TO_NHWC,
    is_picture,
    leave_outputs_in_nchw,
    tell_transposed,
)
from knight.converters.tensorflow._names import dimension_names, without_wrappers
from knight.converters.tensorflow._probe import laid_out
from knight.converters.tensorflow._rewrites import rewritten
from knight.errors import ConfigError, ModelError
from knight.executor import described
from knight.listener import Listener

OPSET = 18
"""The newest that tf2onnx writes."""

_UNSUPPORTED = re.compile(r"Tensorflow op \[(.+?): (.+?)\] is not supported")


def convert_graph(graph: Graph, source: Source, listener: Listener) -> Conversion:
    """Raises ModelError that lists every operator which tf2onnx does not know."""
    pictures = [name for name in graph.inputs if source.nchw and is_picture(graph.shape(name))]
    if source.nchw and not pictures:
        raise ConfigError("-c2chw: the model has no input of four dimensions; leave the flag out")
    model = _exported(graph, pictures, _shapes(graph, source, listener))
    turned = leave_outputs_in_nchw(model) if source.nchw else frozenset()
    if source.nchw:
        tell_transposed(model, [graph.name_of(name) for name in pictures], listener)
    former = without_wrappers(model, graph.scopes)
    dimension_names(model)
    turned_in = {graph.name_of(name) for name in pictures}

    def arrays(feeds: Feeds) -> list[np.ndarray]:
        given = ((graph.name_of(name), feeds[graph.name_of(name)]) for name in graph.inputs)
        return [array.transpose(TO_NHWC) if name in turned_in else array for name, array in given]

    def reference(feeds: Feeds) -> list[np.ndarray]:
        found = graph.run(arrays(feeds), graph.outputs)
        shown = map(graph.name_of, graph.outputs)
        return [a.transpose(TO_NCHW) if name in turned else a for name, a in zip(shown, found, strict=True)]

    def probe(feeds: Feeds, names: Sequence[str]) -> Mapping[str, np.ndarray]:
        known = graph.tensors()
        sources = {graph.name_of(tensor): tensor for tensor in graph.outputs}
        tensors = {name: sources.get(name) or former.get(name, name) for name in names}
        tensors = {name: tensor for name, tensor in tensors.items() if tensor in known}
        return laid_out(model, feeds, tensors, lambda wanted: graph.run(arrays(feeds), wanted))

    return Conversion(model, reference, probe=probe)


def _shapes(graph: Graph, source: Source, listener: Listener) -> dict[str, list[int | None]]:
    """What -is says, by tensor; it fills open dimensions, but for -1, and changes no fixed one."""
    if not source.input_shapes:
        return {}
    if len(source.input_shapes) != len(graph.inputs):
        raise ConfigError(
            f"-is: {len(source.input_shapes)} shapes for {len(graph.inputs)} inputs; give one for each"
        )
    shapes: dict[str, list[int | None]] = {}
    for name, wanted in zip(graph.inputs, source.input_shapes, strict=True):
        known = graph.shape(name)
        if known is not None and (
            len(known) != len(wanted)
            or any(b != OPEN and a not in (None, b) for a, b in zip(known, wanted, strict=True))
        ):
            shown = ["?" if dim is None else dim for dim in known]
            raise ConfigError(f"-is {list(wanted)}: input {name} has shape {shown}; only ? can be filled")
        if known is not None:
            tell_fixed(name, wanted, known, listener)
            wanted = tuple(b if a is None else a for a, b in zip(known, wanted, strict=True))
        shapes[name] = [None if size == OPEN else size for size in wanted]
    return shapes


def _exported(graph: Graph, pictures: Sequence[str], shapes: Mapping[str, list[int | None]]) -> ir.Model:
    import tf2onnx

    with listening() as unsupported:
        try:
            proto, _ = tf2onnx.convert.from_graph_def(
                rewritten(graph.definition),
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                opset=OPSET,
                inputs_as_nchw=list(pictures) or None,
                shape_override=dict(shapes) or None,
                tensors_to_rename=dict(graph.shown),
            )
        except Exception as error:  # tf2onnx raises what its handlers raise
            if not unsupported:
                raise ModelError(f"tf2onnx cannot convert the graph: {described(error)[:300]}") from error
    return checked(proto, unsupported)


def checked(proto: Any, unsupported: Mapping[str, Sequence[str]]) -> ir.Model:
    """What tf2onnx wrote. Raises ModelError that lists all operators which it had no translation for."""
    if unsupported:
        listed = ", ".join(f"{op} ({', '.join(names)})" for op, names in sorted(unsupported.items()))
        raise ModelError(f"operators that have no ONNX form: {listed}")
    model: ir.Model = ir.from_proto(proto)
    _check_standard(model)
    return model


def _check_standard(model: ir.Model) -> None:
    used = {node.domain for node in model.graph.all_nodes()}
    strange = [
        f"{n.domain}::{n.op_type} ({n.name})"
        for n in model.graph.all_nodes()
        if n.domain not in ("", "ai.onnx")
    ]
    if strange:
        raise ModelError(f"operators that are no standard ONNX: {', '.join(sorted(strange))}")
    for domain in [domain for domain in model.opset_imports if domain and domain not in used]:
        del model.opset_imports[domain]


@contextlib.contextmanager
def listening() -> Iterator[dict[str, list[str]]]:
    """Collects the operators that tf2onnx complains of in its log, by type; the terminal sees nothing."""
    unsupported: dict[str, list[str]] = {}

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found = _UNSUPPORTED.search(record.getMessage())
            if found:
                unsupported.setdefault(found[2], []).append(found[1])

    logger, collector = logging.getLogger("tf2onnx"), Collector()
    before, logger.propagate = logger.propagate, False
    logger.addHandler(collector)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield unsupported
    finally:
        logger.removeHandler(collector)
        logger.propagate = before
