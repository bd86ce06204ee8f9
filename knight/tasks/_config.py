"""What a user says of one model input in a configuration file: where its data are and how they are prepared.

Two forms are known, by the vendor's keys. The older one names a task (`is_yolo`) and what to do with its
outputs; the newer one names an input and the format of its data. A preset supplies defaults from a file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Annotated, Any, Literal

from msgspec import Meta

from knight import schema
from knight.errors import ConfigError, did_you_mean, wrong_value
from knight.schema import wants
from knight.tasks import _values
from knight.tasks._values import Colour, Count, Fraction, Interpolation, Numbers, Pixel

OLDER = (
    *("label_dir", "is_yolo", "augment", "calculate_acc", "draw_box", "max_det"),
    *("anchors", "nc", "conf_thres", "iou_thres", "names"),
)
"""Keys of the older form alone."""

NEWER = ("input_name", "quant_data_format", "quantize_input_dtype", "padding_constant_value")
"""Keys of the newer form alone."""


@dataclass(frozen=True)
class Preparation:
    """From a picture to the numbers that the model reads: ``(x - mean) / std`` of pixels from 0 to 255.

    resize: squash to the input's size; crop its middle after the shorter side was brought to `shorter`; or
    letterbox, filled with `fill`. enlarge: small pictures grow in a letterbox. centre: the picture lies
    in its middle, else in the upper left corner.
    """

    color_space: str = "BGR"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resize: str = "squash"
    shorter: int | None = None
    interpolation: str = "bilinear"
    fill: int = 114
    enlarge: bool = True
    centre: bool = True


@dataclass(frozen=True)
class Detection:
    """What is done with a detector's outputs. anchors: pixels, one row per output map."""

    decoder: str | None = None
    classes: int | None = None
    anchors: tuple[tuple[float, ...], ...] | None = None
    confidence: float = 0.001
    overlap: float = 0.6
    max_det: int = 300
    names: tuple[str, ...] = ()
    draw: bool = False


@dataclass(frozen=True)
class InputConfig:
    """One entry of input-configs, checked. newer: it is of the newer form. format: Image, Numpy or Bin.

    input_dtype: float32 or uint8, what the entry says of the quantized model's input.
    """

    data_dir: str
    newer: bool = False
    input_name: str | None = None
    format: str = "Image"
    input_dtype: str | None = None
    label_dir: str | None = None
    measure: bool = False
    preparation: Preparation = field(default_factory=Preparation)
    detection: Detection | None = None


class Source(schema.Table, frozen=True):
    """Keys of every task: where the data and the labels are, and whether there is a metric."""

    data_dir: Annotated[
        str,
        wants("a text, the folder of the data"),
        Meta(description="folder of the data; relative to the current folder"),
    ]
    label_dir: Annotated[
        str, Meta(description="labels.txt, YOLO or COCO labels; the model's answers where empty")
    ] = ""
    calculate_acc: bool = True

    @property
    def preparation(self) -> Preparation:
        """How samples are prepared."""
        return Preparation()

    @property
    def source(self) -> InputConfig:
        """Where data and labels are, as the other parts take it."""
        return InputConfig(
            data_dir=self.data_dir,
            label_dir=self.label_dir or None,
            measure=self.calculate_acc,
            preparation=self.preparation,
        )


class Normalized(Source, frozen=True):
    """Keys of the tasks that turn a picture's pixels into numbers."""

    color_space: Colour = "BGR"
    mean: Numbers = ()
    std: Numbers = ()

    def __post_init__(self) -> None:
        if bool(self.mean) != bool(self.std):
            one, other = ("mean", "std") if self.mean else ("std", "mean")
            raise ValueError(f"{one} is given without {other}; give both or none")
        if 0.0 in self.std:
            raise ValueError("std holds 0; pixels are divided by it")
        channels = 1 if self.color_space == "GRAY" else 3
        for key, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (0, 1, channels):
                wanted = f"{self.color_space} wants {channels}, one per channel"
                raise ValueError(f"{key} holds {len(numbers)} numbers; {wanted}")

    @property
    def preparation(self) -> Preparation:
        """How pictures are prepared."""
        return Preparation(self.color_space, self.mean, self.std)


class Pictures(Normalized, frozen=True):
    """Keys of the tasks that bring pictures to the model's size."""

    interpolation: Interpolation = "bilinear"
    fill: Pixel = Preparation.fill

    @property
    def preparation(self) -> Preparation:
        """How pictures are prepared."""
        return replace(super().preparation, interpolation=self.interpolation, fill=self.fill)


class Entry(Pictures, frozen=True):
    """Keys of infer_default, of both forms."""

    calculate_acc: bool = False
    is_yolo: Annotated[bool, Meta(description="detection, else classification")] = False
    augment: Annotated[bool, Meta(description="small pictures grow in a letterbox")] = False
    draw_box: Annotated[bool, Meta(description="infer: pictures with the boxes, in label_imgs")] = False
    max_det: Count = Detection.max_det
    anchors: Any = None
    nc: Annotated[Count, Meta(description="number of classes")] | None = None
    conf_thres: Fraction = Detection.confidence
    iou_thres: Fraction = Detection.overlap
    names: Any = None
    input_name: str | None = None
    quant_data_format: Literal["Image", "Numpy", "Bin"] | None = None
    quantize_input_dtype: Literal["float32", "uint8"] | None = None
    padding_constant_value: Pixel | None = None
    decoder: (
        Annotated[str, Meta(description="how boxes are read from the outputs, where shapes do not tell")]
        | None
    ) = None
    resize: Literal["squash", "crop", "letterbox"] | None = None
    shorter: Annotated[Count, Meta(description="resize crop: the shorter side before the crop")] | None = None
    centre: Annotated[bool, Meta(description="a letterbox's picture in its middle, else in the corner")] = (
        True
    )

    def prepared(self, resize: str, enlarge: bool) -> Preparation:
        """How pictures are prepared, with the form's way of resizing where none is said."""
        fill = self.fill if self.padding_constant_value is None else self.padding_constant_value
        return replace(
            self.preparation,
            resize=self.resize or resize,
            shorter=self.shorter,
            fill=fill,
            enlarge=enlarge,
            centre=self.centre,
        )


def presets() -> tuple[str, ...]:
    """Names of the presets."""
    folder = resources.files(__package__) / "presets"
    return tuple(
        sorted(file.name.removesuffix(".json") for file in folder.iterdir() if file.name.endswith(".json"))
    )


def preset(name: str, where: str = "preset") -> dict[str, Any]:
    """The keys that a preset sets. Raises ConfigError with near misses for an unknown one."""
    if name not in presets():
        raise ConfigError(f"{where}: unknown preset {name!r}: {did_you_mean(name, presets())}")
    text = (resources.files(__package__) / "presets" / f"{name}.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return {key: value for key, value in found.items() if not key.startswith("_")}


def read_configs(entries: Sequence[Mapping[str, Any]]) -> list[InputConfig]:
    """Every entry, checked. Raises ConfigError naming the entry and the key."""
    if not entries:
        raise ConfigError(
            "infer_default has no input-configs: name the pictures in the run-config, "
            '{"quant": {"input-configs": [{"preset": "imagenet-torch", "data_dir": "pictures"}]}}'
        )
    found = [_read(entry, f"input-configs[{number}]") for number, entry in enumerate(entries)]
    if len({config.newer for config in found}) > 1:
        raise ConfigError("input-configs: entries of the older and of the newer form; use one of them")
    return found


def _read(entry: Mapping[str, Any], where: str) -> InputConfig:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}: {wrong_value(entry, 'an object of keys and values')}")
    name = entry.get("preset")
    values = {**(preset(str(name), f"{where}.preset") if name is not None else {}), **entry}
    given = {key: value for key, value in values.items() if key != "preset" and value is not None}
    newer = [key for key in NEWER if key in entry]
    older = [key for key in OLDER if key in entry]
    if newer and older:
        raise ConfigError(
            f"{where}: {newer[0]} is of the newer form, {older[0]} of the older; use one of them"
        )
    if newer:
        return _newer(schema.read(_BICUBIC | given, Entry, path=where, lenient=True), where)
    return _older(schema.read(given, Entry, path=where, lenient=True), where)


_BICUBIC = {"interpolation": "bicubic"}
"""What the newer form does where nothing is said."""


def _older(entry: Entry, where: str) -> InputConfig:
    anchors = None if entry.anchors is None else _values.anchors(entry.anchors, f"{where}.anchors")
    names = () if entry.names is None else _values.class_names(entry.names, f"{where}.names")
    if entry.draw_box and not entry.is_yolo:
        raise ConfigError(
            f"{where}.draw_box: only detectors have boxes; set is_yolo to true, or leave it out"
        )
    detection = Detection(
        # The older form has anchors and no name of a decoder: it was made for YOLOv5 and v7.
        decoder="yolov5" if anchors and entry.decoder is None else entry.decoder,
        classes=entry.nc,
        anchors=anchors,
        confidence=entry.conf_thres,
        overlap=entry.iou_thres,
        max_det=entry.max_det,
        names=names,
        draw=entry.draw_box,
    )
    return replace(
        entry.source,
        preparation=entry.prepared("letterbox" if entry.is_yolo else "squash", entry.augment),
        detection=detection if entry.is_yolo else None,
    )


def _newer(entry: Entry, where: str) -> InputConfig:
    if entry.input_name is None or entry.quant_data_format is None:
        missing = "input_name" if entry.input_name is None else "quant_data_format"
        raise ConfigError(f"{where}.{missing} is missing; the newer form needs it")
    uint8 = entry.quantize_input_dtype == "uint8"
    if uint8 and not entry.mean:
        raise ConfigError(f"{where}.quantize_input_dtype: uint8 needs mean and std, which go into the model")
    if not uint8 and entry.mean and entry.quant_data_format != "Image":
        raise ConfigError(
            f"{where}.mean: {entry.quant_data_format} data are fed as they are: normalize them before, "
            f"or set quantize_input_dtype to uint8"
        )
    return InputConfig(
        data_dir=entry.data_dir,
        newer=True,
        input_name=entry.input_name,
        format=entry.quant_data_format,
        input_dtype=entry.quantize_input_dtype,
        preparation=entry.prepared("letterbox", True),
    )


def keys() -> tuple[str, ...]:
    """Every key of an entry, `preset` included."""
    return ("preset", *Entry.__struct_fields__)
