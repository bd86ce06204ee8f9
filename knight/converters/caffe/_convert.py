"""From a Caffe net to ONNX: every layer is handed to its translation, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from knight.converters import Conversion, Source
from knight.converters._builder import Builder
from knight.converters._shapes import OPEN
from knight.converters.caffe import _reference
from knight.converters.caffe._batch import batch_of, open_batch
from knight.converters.caffe._layers import Layer
from knight.converters.caffe._net import Net, read_net
from knight.converters.caffe.layers import translations
from knight.errors import ModelError
from knight.listener import Listener

_TRAINING = ("Accuracy", "Loss", "DetectionEvaluate")


def convert_files(source: Source, listener: Listener) -> Conversion:
    """The net of ``source.model`` with the weights of ``source.weights``."""
    net = read_net(Path(source.model), source.weights, source.input_shapes, listener)
    _check_types(net, source.model)
    model, places = _translate(net)
    if all(shape[:1] == (OPEN,) for shape in source.input_shapes):
        _leave_batch_open(model, net, listener)
    return _reference.with_reference(model, net, places, source)


def _leave_batch_open(model: ir.Model, net: Net, listener: Listener) -> None:
    """Unless the graph depends on the batch of the prototxt, or the net takes no other."""
    batch = batch_of(net.inputs.values())
    if batch is None:
        return
    larger = {name: (batch + 1, *shape[1:]) for name, shape in net.inputs.items()}
    try:
        grown, _ = _translate(replace(net, inputs=larger))
    except ModelError as error:
        listener.detail(f"the batch of {batch} stays fixed, as in the prototxt: with another, {error}")
        return
    if open_batch(model, grown):
        listener.detail(f"the batch of {batch} in the prototxt is left open")
    else:
        listener.detail(f"the batch of {batch} stays fixed, as in the prototxt: the graph depends on it")


def _check_types(net: Net, path: str) -> None:
    """Refuses a net with layers that have no translation; names all of them."""
    known = translations()
    unknown: dict[str, list[str]] = {}
    for layer in net.layers:
        if layer.type not in known:
            unknown.setdefault(layer.type, []).append(layer.name)
    if not unknown:
        return
    listed = "; ".join(f"{kind} ({', '.join(names)})" for kind, names in unknown.items())
    advice = "replace or remove them"
    if any(part in kind for kind in unknown for part in _TRAINING):
        advice = "use the deploy.prototxt, without the layers that only training needs"
    raise ModelError(f"model {path}: layers of types that cannot be converted: {listed}; {advice}")


def _translate(net: Net) -> tuple[ir.Model, dict[str, tuple[str, int]]]:
    """The model, and which layer and which of its tops each value is."""
    builder = Builder(net.name)
    blobs = {name: builder.input(name, np.float32, shape) for name, shape in net.inputs.items()}
    written: list[tuple[ir.Value, str, int]] = []
    places: dict[str, tuple[str, int]] = {}
    for layer in net.layers:
        values = _one_layer(builder, layer, blobs)
        for index, (blob, value) in enumerate(zip(layer.tops, values, strict=True)):
            if blob in blobs and blob not in layer.bottoms:
                raise layer.error(f"writes the blob {blob!r}, which another layer has written")
            blobs[blob] = value
            written.append((value, layer.name, index))
            places[blob] = layer.name, index
    outputs = _unread(net)
    if not outputs:
        raise ModelError(f"net {net.name!r}: every blob is read by some layer, so the net has no output")
    _name_values(builder, blobs)
    for blob in outputs:
        builder.output(blobs[blob], blob)
    places |= {str(value.name): (name, index) for value, name, index in written}
    return builder.model(), places


def _one_layer(builder: Builder, layer: Layer, blobs: dict[str, ir.Value]) -> list[ir.Value]:
    missing = [blob for blob in layer.bottoms if blob not in blobs]
    if missing:
        raise layer.error(f"reads the blob {missing[0]!r}, which no layer before it writes")
    with builder.layer(layer.name):
        values = translations()[layer.type](builder, layer, [blobs[blob] for blob in layer.bottoms])
    if len(values) != len(layer.tops):
        raise layer.error(f"has {len(layer.tops)} tops, but {len(values)} results")
    return values


def _name_values(builder: Builder, blobs: dict[str, ir.Value]) -> None:
    """Every blob's last value bears its name; what a layer overwrites in place keeps the name of its node."""
    named: set[ir.Value] = set()
    for blob, value in blobs.items():
        if value not in named:
            builder.rename(value, blob)
            named.add(value)


def _unread(net: Net) -> Sequence[str]:
    """The blobs that no layer reads after they were written."""
    unread: dict[str, None] = {}
    for layer in net.layers:
        for blob in layer.bottoms:
            unread.pop(blob, None)
        unread.update(dict.fromkeys(layer.tops))
    return list(unread)
