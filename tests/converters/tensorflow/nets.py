"""Builds small models in every file form, and judges their conversion against TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

from knight.converters import Conversion, Source
from knight.converters.tensorflow import convert
from knight.listener import SILENT, Listener

tf.config.threading.set_intra_op_parallelism_threads(1)


def frozen_pb(
    folder: Path, function: Callable[..., Any], *shapes: Sequence[int | None], dtype: Any = tf.float32
) -> Path:
    """`function` of placeholders data_input, data_input_1, ... to output, output_1, ..., as .pb."""
    graph = tf.Graph()
    with graph.as_default():
        inputs = [
            tf.compat.v1.placeholder(dtype, shape, name=f"data_input_{i}" if i else "data_input")
            for i, shape in enumerate(shapes)
        ]
        found = function(*inputs)
        for i, value in enumerate(found if isinstance(found, (list, tuple)) else [found]):
            tf.identity(value, name=f"output_{i}" if i else "output")
    path = folder / "net.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def outputs_of(path: Path) -> list[str]:
    """Names of the results that `frozen_pb` wrote."""
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(path.read_bytes())
    return [node.name for node in definition.node if node.name.startswith("output")]


def convert_function(
    folder: Path,
    function: Callable[..., Any],
    *shapes: Sequence[int | None],
    nchw: bool = False,
    dtype: Any = tf.float32,
) -> Conversion:
    """`function` through a frozen graph."""
    path = frozen_pb(folder, function, *shapes, dtype=dtype)
    starts = tuple(f"data_input_{i}" if i else "data_input" for i in range(len(shapes)))
    source = Source(str(path), start_nodes=starts, end_nodes=tuple(outputs_of(path)), nchw=nchw)
    return convert(source, SILENT)


def convert_keras(
    folder: Path, model: keras.Model, form: str = "keras", *, nchw: bool = False, listener: Listener = SILENT
) -> Conversion:
    """`model` through a file of the wanted form: keras, h5, saved_model or tflite."""
    path = folder / f"net.{form}"
    if form == "saved_model":
        model.export(path, verbose=False)
    elif form == "tflite":
        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    else:
        model.save(path)
    return convert(Source(str(path), nchw=nchw), listener)


def net() -> keras.Model:
    """A small net of pictures with named layers."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((16, 16, 3), name="picture"),
            layers.Conv2D(4, 3, padding="same", strides=2, name="stem", use_bias=False),
            layers.BatchNormalization(name="stem_norm"),
            layers.ReLU(name="stem_relu"),
            layers.DepthwiseConv2D(3, padding="same", name="deep"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(5, activation="softmax", name="head"),
        ]
    )
