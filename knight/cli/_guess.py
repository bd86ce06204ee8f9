"""What a model seems to be for, from its static shapes: what feeds it, and how its pictures are prepared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from knight.errors import ConfigError

if TYPE_CHECKING:
    import onnx_ir as ir

_SMALL = 64  # of pictures that no one crops, such as CIFAR's
_COARSE = 8  # a detector's map is at least this much coarser than its picture; a mask is not

Shape = tuple[int, ...]


def graph_of(path: Path) -> ir.Graph:
    """The model's graph."""
    from knight import model as models

    return models.load(path).graph


def fed(graph: ir.Graph) -> list[ir.Value]:
    """The inputs that have to be fed."""
    return [value for value in graph.inputs if not value.is_initializer()]


def task(graph: ir.Graph) -> tuple[str, dict[str, Any]] | None:
    """The infer function and an entry of input-configs without its folder; None if no pictures are taken."""
    inputs = fed(graph)
    picture = _static(inputs[0]) if len(inputs) == 1 else None
    if picture is None or len(picture) != 4 or picture[1] not in (1, 3) or min(picture) < 1:
        return None
    if str(inputs[0].dtype) not in ("FLOAT", "UINT8"):
        return None
    size, colour = (picture[2], picture[3]), {"color_space": "GRAY" if picture[1] == 1 else "RGB"}
    shapes = [shape for shape in map(_static, graph.outputs) if shape is not None]
    if len(shapes) == len(graph.outputs) == 1:
        (shape,) = shapes
        if _is_classifier(shape):
            preset = "cifar10" if max(size) <= _SMALL else "imagenet-torch"
            return "infer_default", {"preset": preset if picture[1] == 3 else "mnist", "calculate_acc": True}
        if len(shape) == 4 and shape[1] == picture[1] and shape[2] >= 2 * size[0]:
            return "infer_super_resolution", colour
        if len(shape) == 4 and shape[1] > 1 and size[0] < shape[2] * _COARSE <= size[0] * _COARSE:
            return "infer_segmentation", colour
    found = _detector(shapes, size) if len(shapes) == len(graph.outputs) else None
    if found is not None:
        return "infer_default", {**found, **(colour if picture[1] == 1 else {})}
    return "infer_default", {**colour, "calculate_acc": False}


def _static(value: ir.Value) -> Shape | None:
    """The shape for one sample; None where more than the batch is open."""
    if value.shape is None:
        return None
    dims = [1 if index == 0 and not isinstance(dim, int) else dim for index, dim in enumerate(value.shape)]
    known = tuple(dim for dim in dims if isinstance(dim, int))
    return known if len(known) == len(dims) else None


def _is_classifier(shape: Shape) -> bool:
    """A number per class."""
    return len(shape) in (2, 4) and shape[1] > 1 and set(shape[2:]) <= {1}


def _detector(shapes: list[Shape], size: tuple[int, int]) -> dict[str, Any] | None:
    """The preset of the decoder that fits these outputs, else its key; None where none is sure."""
    from knight.tasks._config import preset, presets
    from knight.tasks._decoders import Detector, decoders, find_decoder

    if any(len(shape) == 4 and shape[2] * _COARSE > size[0] for shape in shapes):
        return None  # finer maps are masks
    try:
        found = find_decoder(shapes, Detector(size))
    except ConfigError:  # none, or more than one
        return None
    keys = [key for key in decoders.names() if decoders.get(key) is found]
    suited = [name for name in presets() if preset(name).get("decoder") in keys]
    suited = [name for name in suited if preset(name).get("nc") in (None, *_classes(shapes, keys))]
    if suited:
        return {"preset": suited[0], "is_yolo": True}
    return {"is_yolo": True, "decoder": keys[0], "color_space": "RGB", "calculate_acc": True}


def _classes(shapes: list[Shape], keys: list[str]) -> set[int]:
    """Numbers of classes that outputs of scores and a background may have, where `keys` are of such."""
    return {shape[-1] - 1 for shape in shapes} if "ssd" in keys else set()
