"""TensorFlow's functions and Keras's layers, each against TensorFlow itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.converters.checks import assert_same
from tests.converters.tensorflow.nets import convert_function, convert_keras

PICTURE = (None, 8, 10, 4)
FIXED = (2, 8, 10, 4)
LINE = (None, 6, 5)


def weights(*shape: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).standard_normal(shape).astype(np.float32) / 2)


FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[tuple[int | None, ...], ...]]] = {
    "conv2d same": (lambda x: tf.nn.conv2d(x, weights(3, 3, 4, 6), 2, "SAME"), (PICTURE,)),
    "conv2d valid": (lambda x: tf.nn.conv2d(x, weights(3, 2, 4, 6), 1, "VALID"), (PICTURE,)),
    "conv2d dilated": (lambda x: tf.nn.conv2d(x, weights(3, 3, 4, 6), 1, "SAME", dilations=2), (FIXED,)),
    "conv2d explicit": (
        lambda x: tf.nn.conv2d(x, weights(3, 3, 4, 6), 1, [[0, 0], [1, 2], [0, 1], [0, 0]]),
        (PICTURE,),
    ),
    "depthwise": (lambda x: tf.nn.depthwise_conv2d(x, weights(3, 3, 4, 2), [1, 1, 1, 1], "SAME"), (PICTURE,)),
    "separable": (
        lambda x: tf.nn.separable_conv2d(x, weights(3, 3, 4, 1), weights(1, 1, 4, 5), [1, 1, 1, 1], "SAME"),
        (PICTURE,),
    ),
    "conv2d_transpose": (
        lambda x: tf.nn.conv2d_transpose(x, weights(3, 3, 5, 4), [2, 16, 20, 5], 2, "SAME"),
        (FIXED,),
    ),
    "conv1d": (lambda x: tf.nn.conv1d(x, weights(3, 5, 4), 1, "SAME"), (LINE,)),
    "conv3d": (lambda x: tf.nn.conv3d(x, weights(2, 2, 2, 3, 4), [1] * 5, "SAME"), ((None, 4, 5, 6, 3),)),
    "max_pool": (lambda x: tf.nn.max_pool2d(x, 3, 2, "SAME"), (PICTURE,)),
    "avg_pool": (lambda x: tf.nn.avg_pool2d(x, 3, 2, "SAME"), (PICTURE,)),
    "avg_pool valid": (lambda x: tf.nn.avg_pool2d(x, 2, 2, "VALID"), (PICTURE,)),
    "bias_add": (lambda x: tf.nn.bias_add(x, weights(4)), (PICTURE,)),
    "lrn": (lambda x: tf.nn.local_response_normalization(x, 2, 1.0, 0.1, 0.5), (PICTURE,)),
    "fused_batch_norm": (
        lambda x: tf.compat.v1.nn.fused_batch_norm(
            x, tf.ones(4), tf.zeros(4), tf.ones(4) * 0.5, tf.ones(4) * 2, is_training=False
        )[0],
        (PICTURE,),
    ),
    "relu": (tf.nn.relu, (LINE,)),
    "relu6": (tf.nn.relu6, (LINE,)),
    "leaky_relu": (lambda x: tf.nn.leaky_relu(x, 0.3), (LINE,)),
    "elu": (tf.nn.elu, (LINE,)),
    "selu": (tf.nn.selu, (LINE,)),
    "gelu": (tf.nn.gelu, (LINE,)),
    "gelu tanh": (lambda x: tf.nn.gelu(x, approximate=True), (LINE,)),
    "swish": (tf.nn.silu, (LINE,)),
    "softplus": (tf.nn.softplus, (LINE,)),
    "softsign": (tf.nn.softsign, (LINE,)),
    "softmax": (tf.nn.softmax, (LINE,)),
    "log_softmax": (tf.nn.log_softmax, (LINE,)),
    "sigmoid": (tf.sigmoid, (LINE,)),
    "tanh": (tf.tanh, (LINE,)),
    "hard sigmoid": (lambda x: tf.clip_by_value(x * 0.2 + 0.5, 0, 1), (LINE,)),
    "matmul": (lambda x, y: tf.matmul(x, y, transpose_b=True), (LINE, (None, 7, 5))),
    "einsum": (lambda x: tf.einsum("bij,jk->bik", x, weights(5, 3)), (LINE,)),
    "arithmetic": (lambda x, y: (x + y) * x - y / (tf.abs(x) + 1), (LINE, LINE)),
    "floor ceil round": (lambda x: tf.floor(x) + tf.math.ceil(x) + tf.round(x * 3), (LINE,)),
    "exp log sqrt": (lambda x: tf.math.log(tf.exp(x) + 1) + tf.sqrt(tf.abs(x) + 1), (LINE,)),
    "rsqrt square": (lambda x: tf.math.rsqrt(tf.square(x) + 1), (LINE,)),
    "pow": (lambda x: tf.pow(tf.abs(x) + 1, 1.5), (LINE,)),
    "squared_difference": (lambda x, y: tf.math.squared_difference(x, y), (LINE, LINE)),
    "maximum minimum": (lambda x, y: tf.maximum(x, y) + tf.minimum(x, 0.5), (LINE, LINE)),
    "floormod": (lambda x: tf.math.floormod(x, 0.7), (LINE,)),
    "sin cos": (lambda x: tf.sin(x) + tf.cos(x), (LINE,)),
    "erf": (tf.math.erf, (LINE,)),
    "comparison": (lambda x, y: tf.where(tf.logical_and(x > y, x < 1.0), x, y), (LINE, LINE)),
    "not equal": (lambda x: tf.cast(tf.not_equal(tf.round(x), 0.0), tf.float32), (LINE,)),
    "reduce_mean": (lambda x: tf.reduce_mean(x, [1, 2]), (PICTURE,)),
    "reduce_sum": (lambda x: tf.reduce_sum(x, -1, keepdims=True), (PICTURE,)),
    "reduce_max": (lambda x: tf.reduce_max(x, 1) + tf.reduce_min(x, 1), (LINE,)),
    "reduce_prod": (lambda x: tf.reduce_prod(x, 1), (LINE,)),
    "reduce_all": (lambda x: tf.reduce_any(x > 1, 1), (LINE,)),
    "argmax": (lambda x: tf.argmax(x, -1), (LINE,)),
    "top_k": (lambda x: list(tf.math.top_k(x, 3)), (LINE,)),
    "cumsum": (lambda x: tf.cumsum(x, 1), (LINE,)),
    "concat": (lambda x, y: tf.concat([x, y], -1), (LINE, LINE)),
    "stack": (lambda x, y: tf.stack([x, y], 1), (LINE, LINE)),
    "split": (lambda x: tf.split(x, [2, 1, 3], 1), (LINE,)),
    "unstack": (lambda x: tf.unstack(x, axis=1)[2], (LINE,)),
    "slice": (lambda x: tf.slice(x, [0, 1, 2], [-1, 3, 2]), (LINE,)),
    "strided_slice": (lambda x: x[:, 1:-1:2, ::-1], (LINE,)),
    "strided_slice axes": (lambda x: x[:, 0, tf.newaxis, 2:], (LINE,)),
    "gather": (lambda x: tf.gather(x, [2, 0], axis=1), (LINE,)),
    "gather_nd": (lambda x: tf.gather_nd(x, [[0, 1], [1, 2]]), ((2, 6, 5),)),
    "reshape": (lambda x: tf.reshape(x, [-1, 30]), (LINE,)),
    "reshape by shape": (lambda x: tf.reshape(x, tf.stack([tf.shape(x)[0], 5, 6])), (LINE,)),
    "transpose": (lambda x: tf.transpose(x, [0, 2, 1]), (LINE,)),
    "squeeze expand": (lambda x: tf.squeeze(tf.expand_dims(x, 2), [2]), (LINE,)),
    "pad": (lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1]], constant_values=0.5), (LINE,)),
    "pad reflect": (lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1]], "REFLECT"), (LINE,)),
    "pad symmetric": (lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1]], "SYMMETRIC"), (LINE,)),
    "tile": (lambda x: tf.tile(x, [1, 2, 3]), (LINE,)),
    "reverse": (lambda x: tf.reverse(x, [1]), (LINE,)),
    "one_hot": (lambda x: tf.one_hot(tf.cast(tf.abs(x), tf.int32), 5), (LINE,)),
    "cast": (lambda x: tf.cast(tf.cast(x * 5, tf.int32), tf.float32), (LINE,)),
    "clip": (lambda x: tf.clip_by_value(x, -0.5, 0.7), (LINE,)),
    "zeros_like": (lambda x: tf.zeros_like(x) + tf.ones_like(x) * x, (LINE,)),
    "resize nearest": (
        lambda x: tf.compat.v1.image.resize_nearest_neighbor(x, [16, 20], half_pixel_centers=True),
        (PICTURE,),
    ),
    "resize bilinear": (
        lambda x: tf.compat.v1.image.resize_bilinear(x, [16, 20], half_pixel_centers=True),
        (PICTURE,),
    ),
    "resize corners": (
        lambda x: tf.compat.v1.image.resize_bilinear(x, [15, 19], align_corners=True),
        (PICTURE,),
    ),
    "depth_to_space": (lambda x: tf.nn.depth_to_space(x, 2), (PICTURE,)),
    "space_to_depth": (lambda x: tf.nn.space_to_depth(x, 2), (PICTURE,)),
    "l2_normalize": (lambda x: tf.math.l2_normalize(x, -1), (LINE,)),
    "embedding": (lambda x: tf.nn.embedding_lookup(weights(9, 3), tf.cast(tf.abs(x), tf.int32)), (LINE,)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str, tmp_path: Path) -> None:
    function, shapes = FUNCTIONS[name]
    assert_same(convert_function(tmp_path, function, *shapes))


LAYERS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "Conv2D": (lambda: layers.Conv2D(6, 3, strides=2, padding="same", activation="relu"), (8, 10, 4)),
    "Conv2DTranspose": (lambda: layers.Conv2DTranspose(5, 3, strides=2, padding="same"), (8, 10, 4)),
    "SeparableConv2D": (lambda: layers.SeparableConv2D(5, 3), (8, 10, 4)),
    "DepthwiseConv2D": (lambda: layers.DepthwiseConv2D(3, strides=2, padding="same"), (8, 10, 4)),
    "Dense": (lambda: layers.Dense(7, activation="sigmoid"), (6, 5)),
    "BatchNormalization": (lambda: layers.BatchNormalization(), (8, 10, 4)),
    "LayerNormalization": (lambda: layers.LayerNormalization(), (6, 5)),
    "GroupNormalization": (lambda: layers.GroupNormalization(2), (8, 10, 4)),
    "UnitNormalization": (lambda: layers.UnitNormalization(), (6, 5)),
    "PReLU": (lambda: layers.PReLU(shared_axes=[1]), (6, 5)),
    "LeakyReLU": (lambda: layers.LeakyReLU(0.2), (6, 5)),
    "hard_swish": (lambda: layers.Activation("hard_silu"), (6, 5)),
    "mish": (lambda: layers.Activation("mish"), (6, 5)),
    "MaxPooling2D": (lambda: layers.MaxPooling2D(2), (8, 10, 4)),
    "AveragePooling2D": (lambda: layers.AveragePooling2D(3, 2, "same"), (8, 10, 4)),
    "GlobalMaxPooling2D": (lambda: layers.GlobalMaxPooling2D(), (8, 10, 4)),
    "GlobalAveragePooling1D": (lambda: layers.GlobalAveragePooling1D(), (6, 5)),
    "UpSampling2D": (lambda: layers.UpSampling2D(2), (8, 10, 4)),
    "UpSampling2D bilinear": (lambda: layers.UpSampling2D(2, interpolation="bilinear"), (8, 10, 4)),
    "ZeroPadding2D": (lambda: layers.ZeroPadding2D(((1, 0), (2, 1))), (8, 10, 4)),
    "Cropping2D": (lambda: layers.Cropping2D(((1, 0), (2, 1))), (8, 10, 4)),
    "Permute": (lambda: layers.Permute((2, 1)), (6, 5)),
    "Reshape": (lambda: layers.Reshape((5, 6)), (6, 5)),
    "Flatten": (lambda: layers.Flatten(), (6, 5)),
    "RepeatVector": (lambda: layers.RepeatVector(3), (5,)),
    "LSTM": (lambda: layers.LSTM(4, return_sequences=True), (6, 5)),
    "LSTM last": (lambda: layers.LSTM(4), (6, 5)),
    "GRU": (lambda: layers.GRU(4, return_sequences=True), (6, 5)),
    "SimpleRNN": (lambda: layers.SimpleRNN(4), (6, 5)),
    "Bidirectional": (lambda: layers.Bidirectional(layers.LSTM(4, return_sequences=True)), (6, 5)),
    "TimeDistributed": (lambda: layers.TimeDistributed(layers.Dense(3)), (6, 5)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    make, shape = LAYERS[name]
    model = keras.Sequential([layers.Input(shape), make()])
    model.set_weights([np.abs(array) + 0.1 if "Norm" in name else array for array in model.get_weights()])
    assert_same(convert_keras(tmp_path, model), batches=(1, 3))


def test_attention(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    given = keras.Input((6, 8), name="tokens")
    mixed = layers.MultiHeadAttention(2, 4)(given, given)
    model = keras.Model(given, layers.LayerNormalization()(mixed + given))
    assert_same(convert_keras(tmp_path, model))


def test_embedding_and_several_inputs(tmp_path: Path) -> None:
    words, numbers = keras.Input((6,), dtype="int32", name="words"), keras.Input((6, 3), name="numbers")
    joined = layers.Concatenate()([layers.Embedding(9, 4)(words), numbers])
    model = keras.Model(
        [words, numbers], [layers.Dense(2, name="first")(joined), layers.Dense(3, name="second")(joined)]
    )
    conversion = convert_keras(tmp_path, model)
    assert [value.name for value in conversion.model.graph.inputs] == ["words", "numbers"]
    assert_same(conversion)
