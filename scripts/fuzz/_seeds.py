"""Seeds of pictures, labels, samples, dumps, configuration and the files of the stages."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

Make = Callable[[], bytes]


def text(text: str) -> Make:
    return text.encode


def _json(document: Any) -> Make:
    return lambda: json.dumps(document).encode()


def _picture(kind: str, mode: str, size: tuple[int, int] = (9, 7), **options: Any) -> bytes:
    from PIL import Image

    depth = np.uint16 if mode == "I;16" else np.uint8
    shape = (size[1], size[0], len(mode)) if mode in ("RGB", "RGBA", "LA", "CMYK") else (size[1], size[0])
    numbers = np.random.default_rng(0).integers(0, 4, shape).astype(depth)
    image = Image.fromarray(numbers)
    image = image.convert(mode) if mode == "P" else image
    if options.pop("turned", False):
        exif = Image.Exif()
        exif[0x0112] = 6
        options["exif"] = exif
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _array(dtype: str, shape: Sequence[int], order: Any = "C") -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.arange(np.prod(shape)).astype(dtype).reshape(shape).copy(order))
    return stream.getvalue()


def _dump(index: bool = True) -> bytes:
    stream = io.BytesIO()
    names = ("0001:Input_x", "0002:Conv_y")
    entry = [
        {"op_type": name[5:].split("_")[0], "op_name": name[-1], "op_output_name": name[-1]} for name in names
    ]
    entry = [one | {"folder": name, "batches": 2} for one, name in zip(entry, names, strict=True)]
    with zipfile.ZipFile(stream, "w") as archive:
        if index:
            archive.writestr(zipfile.ZipInfo("dump.json"), json.dumps(entry))
        for half in ("float", "quant"):
            for name in names:
                for call in range(2):
                    content = _array("f4", (1, 2, 3))
                    archive.writestr(zipfile.ZipInfo(f"{half}/{name}/batch_{call}.npy"), content)
    return stream.getvalue()


def _of_stages(what: str) -> bytes:
    """A plan, parameters, statistics or a recipe of the first ONNX seed."""
    from knight import scales
    from knight.recipe import Choice, Recipe, Rule
    from knight.statistics import Statistics
    from scripts.fuzz.targets.scales import prepared

    model, plan = prepared()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        if what == "recipe":
            scales.save_recipe(Recipe(Choice(), (Rule("float", names=("conv",)),)), path)
        elif what == "plan":
            scales.save_plan(plan, path, model)
        elif what == "parameters":
            scales.save_parameters(_parameters(model, plan), path, model, plan)
        else:  # without histograms, which have 64 KB each
            statistics = Statistics.empty({"x": frozenset({"channel_extremes", "channel_mean"})})
            statistics.update("x", np.linspace(-1, 2, 108, dtype=np.float32).reshape(1, 3, 6, 6))
            scales.save_statistics(statistics, path, model)
        return path.read_bytes()


def _parameters(model: Any, plan: Any) -> Any:
    from knight.executor import RunSettings
    from knight.feeding import feed
    from knight.observing import observe
    from knight.preparing import Prepared
    from knight.realizing import realize

    prepared = Prepared(model)
    infer = feed([np.ones((1, 3, 6, 6), np.float32)])
    with observe(prepared, [plan], infer, RunSettings(iteration=1), snapshots=(1,), threads=1) as seen:
        return realize(prepared, plan, seen.after(1), threads=1).parameters


_RUN = {
    "chip": "TX5368AV200",
    "convert": {
        "framework": "pytorch",
        "model": "m.pt",
        "input-shapes": [[1, 3, 224, 224]],
        "output": "m.onnx",
    },
    "quant": {
        "framework": "onnx",
        "model": "m.onnx",
        "quant-mode": "min_max,kl",
        "iteration": "5 10",
        "batch-size": 2,
        "input-configs": [{"preset": "imagenet-torch", "data_dir": "pictures"}],
        "mean": [1, 2, 3],
        "std": "1 1 1",
    },
    "infer": {"model": "q.onnx", "infer-func": "infer_auto", "iteration": 3},
    "compare": {"sort": "cos", "index-range": "0-7", "op-type": ["Conv"]},
    "build": {"disable-compare": True},
}
_INPUTS = [
    {
        "data_dir": "pictures",
        "label_dir": "labels",
        "is_yolo": True,
        "anchors": [[10, 13, 16, 30], [30, 61]],
        "names": {"0": "cat", "1": "dog"},
        "mean": "0 0 0",
        "std": [255, 255, 255],
        "color_space": "RGB",
        "conf_thres": 0.25,
    }
]
_NEWER = [
    {
        "input_name": "x",
        "quant_data_format": "Numpy",
        "data_dir": "arrays",
        "quantize_input_dtype": "uint8",
        "mean": [1],
        "std": [2],
    }
]
_AUDIO = [
    {"data_dir": "a", "vocabulary": ["a", "b"], "blank": -1, "zeros": ["h"], "constants": {"rate": 16000}}
]
_COCO = {
    "images": [
        {"id": 1, "file_name": "a.png", "height": 12, "width": 16},
        {"id": 2, "file_name": "x/b b.jpg"},
        {"id": 3, "file_name": "c.png"},
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 5, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 5, "bbox": [1, 2, 3.5, 4], "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 1, "bbox": [0, 0, 30, 30]},
    ],
}
_CHIP = """extends = "generic"
description = "a chip"
chips = ["X1", "X2"]
schemes = ["w8a8", "w16a16"]
[model]
opset = 17
static_shapes = true
[weight]
symmetric = true
per_channel = true
[scheme.w16a16.activation]
symmetric = true
[widths]
Softmax = ["w8a8"]
[requantization]
multiplier_bits = 16
shift_range = [0, 31]
"""
_MIX = [
    {"op_names": ["conv1", "stage2*"], "bitwidth": 16, "mode": "mse"},
    {"op_types": ["Softmax"], "bitwidth": "float"},
]

SEEDS: Mapping[str, tuple[str, Make]] = {
    "run_config/all.json": ("", _json(_RUN)),
    "mix_config/mix.json": ("", _json(_MIX)),
    "input_configs/older.json": ("", _json(_INPUTS)),
    "input_configs/newer.json": ("", _json(_NEWER)),
    "input_configs/audio.json": ("", _json(_AUDIO)),
    "chip/chip.toml": ("", text(_CHIP)),
    "labels/classes.txt": ("", text("a.png 1\nb b.jpg,2\nc.png;3 more\n")),
    "labels/boxes.txt": ("", text("0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.2 0.2 0.9\n")),
    "labels/texts.txt": ("", text("a.png\tone two\nb b.jpg\tthree\nc.png\t\n")),
    "labels/symbols.txt": ("", text("<blank>\na\nb\n|\n")),
    "coco/coco.json": ("", _json(_COCO)),
    "coco/symbols.json": ("", _json({"a": 0, "b": 1, "|": 2})),
    "pictures/rgb.png": ("PIL", partial(_picture, "PNG", "RGB")),
    "pictures/alpha.png": ("PIL", partial(_picture, "PNG", "RGBA")),
    "pictures/grey16.png": ("PIL", partial(_picture, "PNG", "I;16")),
    "pictures/palette.png": ("PIL", partial(_picture, "PNG", "P")),
    "pictures/turned.jpg": ("PIL", partial(_picture, "JPEG", "RGB", turned=True)),
    "pictures/long.png": ("PIL", partial(_picture, "PNG", "L", (3000, 1))),
    "pictures/small.bmp": ("PIL", partial(_picture, "BMP", "RGB")),
    "pictures/small.gif": ("PIL", partial(_picture, "GIF", "P")),
    "samples/x.npy": ("", partial(_array, "<f4", (3, 4))),
    "samples/fortran.npy": ("", partial(_array, "<f8", (2, 3, 4), "F")),
    "samples/ids.npy": ("", partial(_array, "<i4", (1, 5))),
    "dump/dump.zip": ("", _dump),
    "dump/bare.zip": ("", partial(_dump, index=False)),
    "scales/plan.json": ("", partial(_of_stages, "plan")),
    "scales/parameters.json": ("", partial(_of_stages, "parameters")),
    "scales/recipe.json": ("", partial(_of_stages, "recipe")),
    "statistics/statistics.npz": ("", partial(_of_stages, "statistics")),
}
"""Path below ``seeds/`` -> package that making it needs, and what makes it."""
