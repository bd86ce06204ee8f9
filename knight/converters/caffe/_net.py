"""A Caffe net as it is at inference: its inputs, and its layers of phase TEST with their weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knight.converters._shapes import OPEN
from knight.converters.caffe._layers import Layer
from knight.converters.caffe._prototxt import read_prototxt
from knight.converters.caffe._schema import message_class
from knight.converters.caffe._weights import Weights, read_caffemodel
from knight.errors import ConfigError, ModelError
from knight.listener import Listener

Shape = tuple[int, ...]

_V1_NAMES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "IM2COL": "Im2col",
    "LRN": "LRN",
    "MVN": "MVN",
    "PRELU": "PReLU",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
"""Types of V1 layers whose name of today is not the words of the old one in capitals."""

_SOURCES = "AnnotatedData Data DummyData HDF5Data ImageData Input MemoryData VideoData WindowData"
_DATA = frozenset(_SOURCES.split())


@dataclass(frozen=True)
class Net:
    """inputs: shapes by blob. layers: those that compute. Both in the order of the file.

    prototxt: the file again, where OpenCV needs another: without the layers of other phases, and with a
    number for each axis where a window slides along more than two.
    """

    name: str
    inputs: dict[str, Shape]
    layers: list[Layer]
    prototxt: str | None = None


def read_net(model: Path, weights: str | None, input_shapes: Sequence[Shape], listener: Listener) -> Net:
    """Raises ModelError for the files, ConfigError for the options -w and -is."""
    message = read_prototxt(model, listener)
    if weights is None:
        raise ConfigError(f"model {model}: its weights are missing; name the .caffemodel file with -w")
    stored = read_caffemodel(Path(weights))
    every = _upgraded(message, model)
    messages = [layer for layer in every if _is_kept(layer, message.state)]
    spelled_out = [_spell_out(layer, stored) for layer in messages]
    differs = any(spelled_out) or len(messages) < len(every)
    prototxt = _written(message, messages) if differs else None
    sources = [layer for layer in messages if layer.type in _DATA]
    shapes = _declared_shapes(message, sources, model)
    layers = [_layer(layer, stored) for layer in messages if layer.type not in _DATA]
    _check_weights(layers, stored, weights)
    read = {blob for layer in layers for blob in layer.bottoms}
    shapes = {blob: shape for blob, shape in shapes.items() if shape or blob in read}
    inputs = _input_shapes(shapes, input_shapes, model, listener)
    return Net(message.name or model.stem, inputs, layers, prototxt)


def _written(net: Any, layers: Sequence[Any]) -> str:
    """A prototxt of `net` with only `layers`, which follow no more rules."""
    kept = message_class("NetParameter")(
        name=net.name, input=net.input, input_dim=net.input_dim, layer=layers
    )
    kept.input_shape.extend(net.input_shape)
    for layer in kept.layer:
        del layer.include[:], layer.exclude[:]
    return str(kept)


def _spell_out(layer: Any, stored: Weights) -> bool:
    """Writes a window's one number for all axes once for each, where those are more than two.

    Both mean the same to Caffe. OpenCV (4.14) takes the others from memory that nothing was written to, and
    crashes in most processes. Whether there was anything to write.
    """
    blobs = stored.get(layer.name)
    rank = blobs[0].ndim - 2 if blobs and layer.type in ("Convolution", "Deconvolution") else 0
    window = [getattr(layer.convolution_param, name) for name in ("kernel_size", "stride", "pad", "dilation")]
    short = [numbers for numbers in window if len(numbers) == 1] if rank > 2 else []
    for numbers in short:
        numbers.extend(list(numbers) * (rank - 1))
    return bool(short)


def _layer(message: Any, stored: Weights) -> Layer:
    return Layer(
        name=message.name,
        type=message.type,
        bottoms=tuple(message.bottom),
        tops=tuple(message.top),
        message=message,
        blobs=stored.get(message.name, []),
    )


def _check_weights(layers: Sequence[Layer], stored: Weights, weights: str) -> None:
    """Refuses a caffemodel that shares no layer with the net, by the names of both."""
    filled = [name for name, blobs in stored.items() if blobs]
    if filled and not any(layer.blobs for layer in layers):
        raise ModelError(
            f"weights {weights}: are of another net: they have {filled[0]!r} and {len(filled) - 1} more "
            f"layers, none of which the prototxt has"
        )


def _upgraded(net: Any, path: Path) -> list[Any]:
    """The layers as LayerParameter; those of the V1 form are rewritten."""
    if net.layer:
        return list(net.layer)
    if any(layer.HasField("layer") for layer in net.layers):
        raise ModelError(
            f"model {path}: is of the oldest form of Caffe (V0, before 2014), which is not read; "
            f"rewrite it with Caffe's upgrade_net_proto_text, and the weights with upgrade_net_proto_binary"
        )
    return [_from_v1(layer) for layer in net.layers]


def _from_v1(old: Any) -> Any:
    new = message_class("LayerParameter")(name=old.name, bottom=old.bottom, top=old.top)
    kind = old.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[old.type].name
    new.type = _V1_NAMES.get(kind) or kind.title().replace("_", "")
    new.include.extend(old.include)
    new.exclude.extend(old.exclude)
    for field, value in old.ListFields():
        if field.name.endswith("_param"):
            getattr(new, field.name).CopyFrom(value)
    return new


def _is_kept(layer: Any, state: Any) -> bool:
    if layer.include:
        return any(_meets(rule, state) for rule in layer.include)
    return not any(_meets(rule, state) for rule in layer.exclude)


def _meets(rule: Any, state: Any) -> bool:
    """Whether the net, at inference, is in the state that `rule` describes."""
    if rule.HasField("phase") and rule.phase != 1:  # of a Phase, 1 is TEST
        return False
    if rule.HasField("min_level") and state.level < rule.min_level:
        return False
    if rule.HasField("max_level") and state.level > rule.max_level:
        return False
    return set(rule.stage) <= set(state.stage) and not set(rule.not_stage) & set(state.stage)


def _declared_shapes(net: Any, sources: Sequence[Any], path: Path) -> dict[str, Shape]:
    """The shape that the file gives each input; () where it gives none."""
    shapes: dict[str, Shape] = {}
    for index, blob in enumerate(net.input):
        if index < len(net.input_shape):
            shapes[blob] = tuple(net.input_shape[index].dim)
        else:
            shapes[blob] = tuple(net.input_dim[4 * index : 4 * index + 4])
    if net.input_dim and len(net.input_dim) != 4 * len(net.input):
        raise ModelError(
            f"model {path}: {len(net.input_dim)} input_dim for {len(net.input)} input; each input takes four"
        )
    for layer in sources:
        given = list(_shapes_of_source(layer))
        if len(given) == 1:
            given *= len(layer.top)
        shapes.update(zip(layer.top, given + [()] * len(layer.top), strict=False))
    return shapes


def _shapes_of_source(layer: Any) -> Iterator[Shape]:
    if layer.type == "Input":
        yield from (tuple(shape.dim) for shape in layer.input_param.shape)
    elif layer.type == "DummyData":
        dummy = layer.dummy_data_param
        yield from (tuple(shape.dim) for shape in dummy.shape)
        yield from zip(dummy.num, dummy.channels, dummy.height, dummy.width, strict=False)
    elif layer.type == "MemoryData" and layer.HasField("memory_data_param"):
        memory = layer.memory_data_param
        yield (memory.batch_size, memory.channels, memory.height, memory.width)
        yield (memory.batch_size,)


def _input_shapes(
    shapes: dict[str, Shape], wanted: Sequence[Shape], path: Path, listener: Listener
) -> dict[str, Shape]:
    """The shapes to convert with: of -is where that is given, else of the file, whose sizes replace a -1."""
    if wanted and len(wanted) != len(shapes):
        raise ConfigError(
            f"-is gives {len(wanted)} shapes, but the net has {len(shapes)} inputs: {', '.join(shapes)}"
        )
    chosen = dict(zip(shapes, wanted, strict=True)) if wanted else shapes
    chosen = {blob: _sized(shape, shapes[blob]) for blob, shape in chosen.items()}
    for blob, shape in chosen.items():
        if not shape or any(dim <= 0 for dim in shape):
            said = f"the shape {shape}" if shape else "no shape"
            raise ModelError(
                f"model {path}: input {blob!r} has {said}; give one with -is, or replace the layer that "
                f"reads data by one of type Input"
            )
        if shapes[blob] and shape != shapes[blob]:
            listener.detail(f"input {blob}: {shape} of -is instead of {shapes[blob]} of the prototxt")
    return chosen


def _sized(shape: Shape, known: Shape) -> Shape:
    """`shape` with the file's sizes in place of -1, and one sample where the file has none."""
    sizes = (*known, *([OPEN] * len(shape)))
    sized = tuple(sizes[axis] if size == OPEN else size for axis, size in enumerate(shape))
    return (1, *sized[1:]) if sized[:1] == (OPEN,) else sized
