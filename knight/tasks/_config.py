"""What a user says of one model input in a configuration file: where its data are and how they are prepared.

Two forms are known, by the vendor's keys. The older one names a task (`is_yolo`) and what to do with its
outputs; the newer one names an input and the format of its data. A preset supplies defaults from a file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from knight.errors import ConfigError, did_you_mean
from knight.tasks import _values

COLOURS = ("RGB", "BGR", "GRAY")
RESIZES = ("squash", "crop", "letterbox")
INTERPOLATIONS = ("bilinear", "bicubic", "area")
FORMATS = ("Image", "Numpy", "Bin")

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
        raise ConfigError(f"{where}: is {json.dumps(entry)}; it has to be an object of keys and values")
    name = entry.get("preset")
    values = {**(preset(str(name), f"{where}.preset") if name is not None else {}), **entry}
    values.pop("preset", None)
    unknown = sorted(set(values) - set(_KEYS))
    if unknown:
        raise ConfigError(f"{where}.{unknown[0]}: unknown key: {did_you_mean(unknown[0], _KEYS)}")
    newer = [key for key in NEWER if key in entry]
    older = [key for key in OLDER if key in entry]
    if newer and older:
        raise ConfigError(
            f"{where}: {newer[0]} is of the newer form, {older[0]} of the older; use one of them"
        )
    checked = {key: _KEYS[key](value, f"{where}.{key}") for key, value in values.items() if value is not None}
    if "data_dir" not in checked:
        raise ConfigError(f"{where}.data_dir is missing: name the folder of the data")
    return _newer(checked, where) if newer else _older(checked, where)


def _older(values: Mapping[str, Any], where: str) -> InputConfig:
    yolo = values.get("is_yolo", False)
    detection = None
    if yolo:
        detection = Detection(
            # The older form has anchors and no name of a decoder: it was made for YOLOv5 and v7.
            decoder=values.get("decoder", "yolov5" if "anchors" in values else None),
            classes=values.get("nc"),
            anchors=values.get("anchors"),
            confidence=values.get("conf_thres", Detection.confidence),
            overlap=values.get("iou_thres", Detection.overlap),
            max_det=values.get("max_det", Detection.max_det),
            names=values.get("names", ()),
            draw=values.get("draw_box", False),
        )
    elif values.get("draw_box"):
        raise ConfigError(
            f"{where}.draw_box: only detectors have boxes; set is_yolo to true, or leave it out"
        )
    return InputConfig(
        data_dir=values["data_dir"],
        label_dir=values.get("label_dir") or None,
        measure=values.get("calculate_acc", False),
        preparation=preparation(
            values, where, "letterbox" if yolo else "squash", values.get("augment", False)
        ),
        detection=detection,
    )


def _newer(values: Mapping[str, Any], where: str) -> InputConfig:
    missing = [key for key in ("input_name", "quant_data_format") if key not in values]
    if missing:
        raise ConfigError(f"{where}.{missing[0]} is missing; the newer form needs it")
    dtype = values.get("quantize_input_dtype")
    if dtype == "uint8" and not values.get("mean"):
        raise ConfigError(f"{where}.quantize_input_dtype: uint8 needs mean and std, which go into the model")
    if dtype != "uint8" and values.get("mean") and values["quant_data_format"] != "Image":
        raise ConfigError(
            f"{where}.mean: {values['quant_data_format']} data are fed as they are: normalize them before, "
            f"or set quantize_input_dtype to uint8"
        )
    return InputConfig(
        data_dir=values["data_dir"],
        newer=True,
        input_name=values["input_name"],
        format=values["quant_data_format"],
        input_dtype=dtype,
        preparation=preparation({"interpolation": "bicubic", **values}, where, "letterbox", True),
    )


def preparation(values: Mapping[str, Any], where: str, resize: str, enlarge: bool = True) -> Preparation:
    """How pictures become numbers, of checked values. Raises ConfigError for mean and std that do not fit."""
    mean, std = values.get("mean", ()), values.get("std", ())
    if bool(mean) != bool(std):
        one, other = ("mean", "std") if mean else ("std", "mean")
        raise ConfigError(f"{where}.{one} is given without {other}; give both or none")
    if 0.0 in std:
        raise ConfigError(f"{where}.std holds 0; pixels are divided by it")
    color_space = values.get("color_space", Preparation.color_space)
    channels = 1 if color_space == "GRAY" else 3
    for key, numbers in (("mean", mean), ("std", std)):
        if len(numbers) not in (0, 1, channels):
            raise ConfigError(
                f"{where}.{key} holds {len(numbers)} numbers; {color_space} wants {channels}, one per channel"
            )
    return Preparation(
        color_space=color_space,
        mean=mean,
        std=std,
        resize=values.get("resize", resize),
        shorter=values.get("shorter"),
        interpolation=values.get("interpolation", Preparation.interpolation),
        fill=values.get("padding_constant_value", values.get("fill", Preparation.fill)),
        enlarge=enlarge,
        centre=values.get("centre", True),
    )


_KEYS: dict[str, _values.Check] = {
    "data_dir": _values.text,
    "label_dir": _values.text,
    "is_yolo": _values.switch,
    "color_space": _values.one_of(COLOURS),
    "augment": _values.switch,
    "mean": _values.numbers,
    "std": _values.numbers,
    "calculate_acc": _values.switch,
    "draw_box": _values.switch,
    "max_det": _values.count,
    "anchors": _values.anchors,
    "nc": _values.count,
    "conf_thres": _values.fraction,
    "iou_thres": _values.fraction,
    "names": _values.class_names,
    "input_name": _values.text,
    "quant_data_format": _values.one_of(FORMATS),
    "quantize_input_dtype": _values.one_of(("float32", "uint8")),
    "padding_constant_value": _values.pixel,
    "decoder": _values.text,
    "resize": _values.one_of(RESIZES),
    "shorter": _values.count,
    "interpolation": _values.one_of(INTERPOLATIONS),
    "fill": _values.pixel,
    "centre": _values.switch,
}
"""Key -> what checks its value."""


def keys() -> tuple[str, ...]:
    """Every key of an entry, `preset` included."""
    return ("preset", *_KEYS)
