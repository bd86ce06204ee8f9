"""Seeds of model files of other frameworks, made by hand or by the framework itself."""

from __future__ import annotations

import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from scripts.fuzz._seeds import Make, text

_NET = """name: "net"
input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 1 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" batch_norm_param { use_global_stats: true } }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" relu_param { negative_slope: 0.1 } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "sum" type: "Eltwise" bottom: "pool" bottom: "pool" top: "sum"
  eltwise_param { operation: SUM coeff: 1 coeff: -1 } }
layer { name: "cat" type: "Concat" bottom: "sum" bottom: "pool" top: "cat" concat_param { axis: 1 } }
layer { name: "slice" type: "Slice" bottom: "cat" top: "s1" top: "s2" slice_param { axis: 1 slice_point: 2 } }
layer { name: "lrn" type: "LRN" bottom: "s2" top: "lrn" lrn_param { local_size: 5 alpha: 0.1 beta: 0.75 } }
layer { name: "drop" type: "Dropout" bottom: "lrn" top: "lrn" include { phase: TRAIN } }
layer { name: "fc" type: "InnerProduct" bottom: "lrn" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" softmax_param { axis: 1 } }
layer { name: "power" type: "Power" bottom: "s1" top: "power" power_param { power: 2 scale: 0.5 shift: 1 } }
layer { name: "shape" type: "Reshape" bottom: "power" top: "shape"
  reshape_param { shape { dim: 0 dim: -1 } } }
"""
_DETECTOR = """name: "ssd"
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 6 dim: 6 } } }
layer { name: "perm" type: "Permute" bottom: "data" top: "perm"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "loc" type: "Flatten" bottom: "perm" top: "loc" flatten_param { axis: 1 } }
layer { name: "norm" type: "Normalize" bottom: "data" top: "norm"
  norm_param { across_spatial: false channel_shared: false scale_filler { value: 20 } } }
layer { name: "prior" type: "PriorBox" bottom: "norm" bottom: "data" top: "prior"
  prior_box_param { min_size: 3 max_size: 5 aspect_ratio: 2 flip: true clip: false
    variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 step: 8 } }
layer { name: "up" type: "Interp" bottom: "data" top: "up" interp_param { height: 12 width: 12 } }
layer { name: "crop" type: "Crop" bottom: "up" bottom: "data" top: "crop" crop_param { axis: 2 offset: 1 } }
layer { name: "prelu" type: "PReLU" bottom: "crop" top: "prelu" }
layer { name: "max" type: "ArgMax" bottom: "prelu" top: "max" argmax_param { axis: 1 } }
layer { name: "deconv" type: "Deconvolution" bottom: "data" top: "deconv"
  convolution_param { num_output: 4 group: 4 kernel_size: 4 stride: 2 pad: 1 bias_term: false } }
layer { name: "sigmoid" type: "Sigmoid" bottom: "deconv" top: "deconv" }
layer { name: "tile" type: "Tile" bottom: "deconv" top: "tile" tile_param { axis: 1 tiles: 2 } }
layer { name: "reduce" type: "Reduction" bottom: "tile" top: "reduce"
  reduction_param { operation: MEAN axis: 2 } }
layer { name: "shuffle" type: "ShuffleChannel" bottom: "tile" top: "shuffle"
  shuffle_channel_param { group: 2 } }
"""
_OLD_NET = """name: "old" input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1
  convolution_param { num_output: 4 kernel_h: 3 kernel_w: 3 pad: 1 } }
layers { name: "pool" type: POOLING bottom: "conv" top: "pool"
  pooling_param { pool: AVE global_pooling: true } }
"""
_BLOBS = {
    "conv": [(4, 3, 3, 3), (4,)],
    "bn": [(4,), (4,), (1,)],
    "scale": [(4,), (4,)],
    "fc": [(5, 96), (5,)],
    "norm": [(4,)],
    "prelu": [(4,)],
    "deconv": [(4, 1, 4, 4)],
}


def _caffemodel(old: bool = False) -> bytes:
    from knight.converters.caffe._schema import message_class

    net = message_class("NetParameter")(name="net")
    for name, shapes in _BLOBS.items():
        layer = (net.layers if old else net.layer).add(name=name)
        for shape in shapes:
            blob = layer.blobs.add()
            blob.data.extend(np.linspace(0.5, 1, int(np.prod(shape))).tolist())
            if old:
                sizes = [1] * (4 - len(shape)) + list(shape)
                blob.num, blob.channels, blob.height, blob.width = sizes
            else:
                blob.shape.dim.extend(shape)
    return bytes(net.SerializeToString())


def _value(number: int, shape: Sequence[int]) -> dict[str, Any]:
    return {"%": number, "TT": {"#": "0.t_dtensor", "D": [{"#": "0.t_f32"}, list(shape), "NCHW", [], 0]}}


def _attributes(**values: Any) -> list[dict[str, Any]]:
    kinds = {str: "0.a_str", int: "0.a_i32", float: "0.a_f64", bool: "0.a_bool"}
    return [{"N": key, "AT": {"#": kinds[type(value)], "D": value}} for key, value in values.items()]


def _paddle_program() -> bytes:
    shape = {"N": "shape", "AT": {"#": "1.a_intarray", "D": [-1, 4]}}
    ops = [
        {"#": "p", "A": [0, 0, 1, "w"], "OA": [1, 0, 0], "O": _value(1, (3, 4)), "QA": []},
        {"#": "1.data", "A": [*_attributes(name="x"), shape], "I": [], "O": [_value(2, (-1, 4))], "OA": []},
        {
            "#": "1.matmul",
            "A": _attributes(transpose_x=False, transpose_y=True),
            "I": [{"%": 2}, {"%": 1}],
            "O": [_value(3, (-1, 3))],
            "OA": [],
        },
        {
            "#": "1.scale",
            "A": _attributes(bias=0.5),
            "I": [{"%": 3}, {"%": 0}],
            "O": [_value(4, (-1, 3))],
            "OA": [],
        },
        {
            "#": "1.fetch",
            "A": _attributes(name="y", col=0),
            "I": [{"%": 4}],
            "O": [_value(5, (-1, 3))],
            "OA": [],
        },
    ]
    block = {"#": "block_0", "args": [], "ops": ops}
    document = {"base_code": {"magic": "pir", "trainable": False, "version": 1}}
    return json.dumps(document | {"program": {"regions": [{"#": "region_0", "blocks": [block]}]}}).encode()


def _paddle_weights() -> bytes:
    found = b""
    for shape in ((3,), (3, 4)):
        description = b"\x08\x05" + b"".join(b"\x10" + bytes([size]) for size in shape)
        numbers = np.ones(shape, np.float32).tobytes()
        found += struct.pack("<IQIi", 0, 0, 0, len(description)) + description + numbers
    return found


def _pdmodel() -> bytes:
    from paddle.base.proto import framework_pb2

    program = framework_pb2.ProgramDesc()  # type: ignore[attr-defined]
    block = program.blocks.add(idx=0, parent_idx=-1)
    for name, shape, kept in (("w", (4, 3), True), ("x", (-1, 4), False), ("y", (-1, 3), False)):
        variable = block.vars.add(name=name, persistable=kept)
        variable.type.type = 7
        kind = variable.type
        tensor = (kind.dense_tensor if hasattr(kind, "dense_tensor") else kind.lod_tensor).tensor
        tensor.data_type = 5
        tensor.dims.extend(shape)
    for kind, reads, writes in (("feed", "feed", "x"), ("matmul_v2", "x", "y"), ("fetch", "y", "fetch")):
        op = block.ops.add(type=kind)
        op.inputs.add(parameter="X", arguments=[reads])
        op.outputs.add(parameter="Out", arguments=[writes])
    return bytes(program.SerializeToString())


def _graph() -> bytes:
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        weights = tf.constant(np.ones((4, 3), np.float32), name="w")
        y = tf.nn.relu(tf.matmul(x, weights, name="product"), name="y")
        tf.cond(tf.reduce_sum(y) > 0, lambda: y, lambda: -y, name="branch")
    return bytes(graph.as_graph_def().SerializeToString())


def _saved_model() -> bytes:
    import tensorflow as tf

    spec = tf.TensorSpec([None, 4], tf.float32, name="x")

    class Net(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = tf.Variable(tf.ones((4, 3)), name="w")

        @tf.function(input_signature=[spec])  # type: ignore[untyped-decorator]
        def serve(self, x: Any) -> Any:
            return {"y": tf.nn.relu(tf.matmul(x, self.w))}

    with tempfile.TemporaryDirectory() as folder:
        net = Net()
        tf.saved_model.save(net, folder, signatures=net.serve)
        return Path(folder, "saved_model.pb").read_bytes()


def _tflite() -> bytes:
    import tensorflow as tf

    spec = tf.TensorSpec([1, 4], tf.float32, name="x")

    @tf.function(input_signature=[spec])  # type: ignore[untyped-decorator]
    def net(x: Any) -> Any:
        return tf.nn.relu(tf.matmul(x, tf.ones((4, 3))))

    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([net.get_concrete_function()]).convert())


def _torch(kind: str) -> bytes:
    import torch
    from torch import nn

    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()
    stream = io.BytesIO()
    if kind == "weights":
        torch.save(net.state_dict(), stream)
    elif kind == "script":
        torch.jit.save(torch.jit.script(net), stream)  # type: ignore[no-untyped-call]
    else:
        batch = torch.export.Dim("batch", min=1, max=64)
        program = torch.export.export(net, (torch.randn(2, 4),), dynamic_shapes=({0: batch},))
        torch.export.save(program, stream)
    return _deflated(stream.getvalue())


def _deflated(data: bytes) -> bytes:
    """The archive again, compressed: torch stores its members aligned, mostly padding."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), old.read(name), zipfile.ZIP_DEFLATED)
    return stream.getvalue()


SEEDS: Mapping[str, tuple[str, Make]] = {
    "prototxt/net.prototxt": ("", text(_NET)),
    "prototxt/detector.prototxt": ("", text(_DETECTOR)),
    "prototxt/old.prototxt": ("", text(_OLD_NET)),
    "caffemodel/net.caffemodel": ("", _caffemodel),
    "caffemodel/old.caffemodel": ("", partial(_caffemodel, old=True)),
    "paddle_json/model.json": ("", _paddle_program),
    "paddle_weights/model.pdiparams": ("", _paddle_weights),
    "pdmodel/model.pdmodel": ("paddle", _pdmodel),
    "tf_frozen/graph.pb": ("tensorflow", _graph),
    "saved_model/saved_model.pb": ("tensorflow", _saved_model),
    "tflite/model.tflite": ("tensorflow", _tflite),
    **{f"pt2/{kind}.pt": ("torch", partial(_torch, kind)) for kind in ("weights", "script", "program")},
}
"""Path below ``seeds/`` -> package that making it needs, and what makes it."""
