"""Entries of input-configs: the published defaults, and a line that names the key for what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from knight.errors import ConfigError
from knight.tasks._config import Detection, Preparation, keys, preset, presets, read_configs
from knight.tasks._decoders import decoders

HERE = {"data_dir": "pictures"}
NEW = {**HERE, "input_name": "x", "quant_data_format": "Image"}


def read(**values: Any) -> Any:
    (config,) = read_configs([{**HERE, **values}])
    return config


def test_the_published_defaults_of_the_older_form() -> None:
    config = read()
    assert not config.newer and config.label_dir is None and not config.measure and config.detection is None
    assert config.preparation == Preparation("BGR", (), (), "squash", None, "bilinear", 114, False)
    detector = read(is_yolo=True)
    assert detector.preparation.resize == "letterbox" and not detector.preparation.enlarge
    how = detector.detection
    assert (how.confidence, how.overlap, how.max_det) == (0.001, 0.6, 300)
    assert (how.classes, how.anchors, how.names, how.draw, how.decoder) == (None, None, (), False, None)


def test_the_published_defaults_of_the_newer_form() -> None:
    (config,) = read_configs([NEW])
    assert (config.newer, config.input_name, config.format, config.input_dtype) == (True, "x", "Image", None)
    assert config.preparation == Preparation("BGR", (), (), "letterbox", None, "bicubic", 114, True)
    (config,) = read_configs([{**NEW, "padding_constant_value": 0}])
    assert config.preparation.fill == 0


def test_values_come_in_the_types_that_files_have() -> None:
    config = read(
        is_yolo="true",
        augment="True",
        calculate_acc=True,
        draw_box="false",
        max_det="20",
        nc=2.0,
        conf_thres="0.5",
        iou_thres=1,
        mean="123.675 116.28 103.53",
        std=[58, "57", 57.5],
        names={"1": "cat", "0": "dog"},
        anchors=[[10, 13, 16, 30], [[33, 23], [61, 45]]],
        color_space="rgb",
    )
    assert config.measure and config.preparation.enlarge
    assert config.preparation.mean == (123.675, 116.28, 103.53) and config.preparation.std == (58, 57, 57.5)
    assert config.preparation.color_space == "RGB"
    assert config.detection == Detection(
        "yolov5", 2, ((10, 13, 16, 30), (33, 23, 61, 45)), 0.5, 1.0, 20, ("dog", "cat"), False
    )


def test_null_is_a_key_left_out() -> None:
    assert read(mean=None, std=None, label_dir=None, nc=None) == read()
    assert read(label_dir="") == read()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data_dri": "x"}, r"\[0\]\.data_dri: unknown key: did you mean 'data_dir'"),
        ({"preset": "imagenet-torhc"}, r"\[0\]\.preset: unknown preset .* did you mean 'imagenet-torch'"),
        ({"is_yolo": 1}, r"\[0\]\.is_yolo: is 1; it has to be true or false"),
        ({"mean": [1, 2, 3]}, r"\[0\]\.mean is given without std"),
        ({"std": [1, 2, 3]}, r"\[0\]\.std is given without mean"),
        ({"mean": [1, 2], "std": [1, 2, 3]}, r"\[0\]\.mean holds 2 numbers; BGR wants 3"),
        ({"mean": [1, 2, 3], "std": [1, 2]}, r"\[0\]\.std holds 2 numbers; BGR wants 3"),
        ({"mean": [1] * 3, "std": [1] * 3, "color_space": "GRAY"}, "mean holds 3 numbers; GRAY wants 1"),
        ({"mean": [1, 2, 3], "std": [1, 0, 3]}, r"\[0\]\.std holds 0"),
        ({"mean": ["a", 2, 3], "std": [1, 2, 3]}, r'\[0\]\.mean\[0\]: is "a"; it has to be a number'),
        (
            {"mean": [float("nan"), 2, 3], "std": [1, 2, 3]},
            r"\[0\]\.mean\[0\]: is NaN; it has to be a number",
        ),
        (
            {"mean": {"r": 1}, "std": [1]},
            r'\[0\]\.mean: is {"r": 1}; it has to be a number or a list of numbers',
        ),
        ({"color_space": "HSV"}, r"\[0\]\.color_space: is \"HSV\": known: BGR, GRAY, RGB"),
        ({"color_space": 3}, r"\[0\]\.color_space: is 3"),
        ({"max_det": 0}, r"\[0\]\.max_det: is 0; .* at least 1"),
        ({"max_det": float("inf")}, r"\[0\]\.max_det: is Infinity"),
        ({"nc": 2.5}, r"\[0\]\.nc: is 2\.5; it has to be a whole number"),
        ({"nc": True}, r"\[0\]\.nc: is true"),
        ({"conf_thres": 1.5}, r"\[0\]\.conf_thres: is 1\.5; it has to be a number from 0 to 1"),
        ({"anchors": [10, 13]}, r"\[0\]\.anchors: has to be a list of rows"),
        ({"anchors": [[10, 13, 5]]}, r"\[0\]\.anchors: a row holds widths and heights"),
        ({"names": "cat"}, r"\[0\]\.names: has to be a list"),
        ({"names": {"cat": 0}}, r"\[0\]\.names: an object of names has the classes' numbers for keys"),
        ({"draw_box": True}, r"\[0\]\.draw_box: only detectors have boxes"),
        ({"data_dir": 5}, r"\[0\]\.data_dir: is 5; it has to be a text"),
        ({"data_dir": None}, r"\[0\]\.data_dir is missing"),
        ({"input_name": "x"}, r"\[0\]\.quant_data_format is missing"),
        ({"quant_data_format": "Image"}, r"\[0\]\.input_name is missing"),
        ({**NEW, "is_yolo": True}, "input_name is of the newer form, is_yolo of the older"),
        ({**NEW, "quant_data_format": "Picture"}, r"quant_data_format: is \"Picture\": known: Bin, Image"),
        ({**NEW, "padding_constant_value": 256}, r"padding_constant_value: is 256; .* from 0 to 255"),
        ({**NEW, "quantize_input_dtype": "int8"}, r"quantize_input_dtype: is \"int8\""),
        ({**NEW, "quantize_input_dtype": "uint8"}, "uint8 needs mean and std"),
        (
            {**NEW, "quant_data_format": "Bin", "mean": 0, "std": 255},
            r"\[0\]\.mean: Bin data are fed as they",
        ),
    ],
)
def test_what_is_wrong_is_named_by_its_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(**values)
    assert "\n" not in str(caught.value)


def test_the_entry_is_named_by_its_number() -> None:
    with pytest.raises(ConfigError, match=r"input-configs\[1\]\.nc"):
        read_configs([HERE, {**HERE, "nc": "many"}])
    with pytest.raises(ConfigError, match=r"input-configs\[0\]: is \"x\"; it has to be an object"):
        read_configs(["x"])  # type: ignore[list-item]  # what a file may hold


def test_no_entries_and_both_forms_are_refused() -> None:
    with pytest.raises(ConfigError, match="no input-configs"):
        read_configs([])
    with pytest.raises(ConfigError, match="entries of the older and of the newer form"):
        read_configs([NEW, HERE])


def test_a_preset_supplies_what_the_entry_leaves_out() -> None:
    config = read(preset="imagenet-caffe", std=[2, 2, 2])
    assert (config.preparation.mean, config.preparation.std) == ((104, 117, 123), (2, 2, 2))
    assert (config.preparation.resize, config.preparation.shorter, config.measure) == ("crop", 256, True)
    assert config.preparation.color_space == "BGR"
    (config,) = read_configs([{**NEW, "preset": "yolov5"}])  # its task is of no use there
    assert config.newer and config.preparation.std == (255, 255, 255) and config.detection is None


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_a_configuration_that_works(name: str) -> None:
    assert set(preset(name)) <= set(keys())
    config = read(preset=name)
    assert config.measure
    if config.detection is not None:
        assert config.detection.decoder in decoders.names()


def test_no_key_of_the_seed_is_missing() -> None:
    older = (
        "data_dir label_dir is_yolo color_space augment mean std calculate_acc draw_box max_det anchors nc"
    )
    newer = "input_name quant_data_format quantize_input_dtype padding_constant_value"
    assert {*older.split(), "conf_thres", "iou_thres", "names", *newer.split()} <= set(keys())


def test_messages_hold_values_as_json_has_them() -> None:
    with pytest.raises(ConfigError) as caught:
        read(is_yolo="maybe")
    assert json.dumps("maybe") in str(caught.value)
