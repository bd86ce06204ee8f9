"""Caffe's messages, as far as inference needs them, as data; and their classes.

The numbers, types and defaults are facts of ``caffe.proto`` (BVLC) and of the usual forks: SSD (PriorBox,
DetectionOutput, Permute, Normalize), Fast R-CNN (ROIPooling), PSPNet (Interp), and others. The classes live
in a descriptor pool of their own, so that they never clash with another package's ``caffe_pb2``.

What only training needs (fillers, learning rates, engines) is left out: `QUIET`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from knight.converters.caffe._fields import MESSAGES

_TRAINING = """
    accuracy_param annotated_data_param ap_version bias_filler blob_share_mode blobs_lr data_filler
    data_param debug_info decay_mult detection_evaluate_param engine eval_type filler force_backward
    force_nd_im2col hdf5_data_param hdf5_output_param image_data_param infogain_loss_param loss_param
    loss_weight lr_mult multibox_loss_param param prefetch propagate_down save_file save_output_param
    scale_filler share_mode solver_mode transform_param visualize visualize_threshold weight_decay
    weight_filler window_data_param
"""
QUIET = frozenset(_TRAINING.split())
"""Names of fields that change nothing at inference: they are ignored without a word."""

PARAMETERS = {
    "ArgMax": "argmax_param",
    "Axpy": "axpy_param",
    "BatchNorm": "batch_norm_param",
    "Bias": "bias_param",
    "Clip": "clip_param",
    "Concat": "concat_param",
    "Convolution": "convolution_param",
    "ConvolutionDepthwise": "convolution_param",
    "Crop": "crop_param",
    "Deconvolution": "convolution_param",
    "DepthwiseConvolution": "convolution_param",
    "DetectionOutput": "detection_output_param",
    "Dropout": "dropout_param",
    "DummyData": "dummy_data_param",
    "ELU": "elu_param",
    "Eltwise": "eltwise_param",
    "Embed": "embed_param",
    "Exp": "exp_param",
    "Flatten": "flatten_param",
    "InnerProduct": "inner_product_param",
    "Input": "input_param",
    "Interp": "interp_param",
    "LRN": "lrn_param",
    "LSTM": "recurrent_param",
    "Log": "log_param",
    "MVN": "mvn_param",
    "Normalize": "norm_param",
    "PReLU": "prelu_param",
    "Permute": "permute_param",
    "Pooling": "pooling_param",
    "Power": "power_param",
    "PriorBox": "prior_box_param",
    "RNN": "recurrent_param",
    "ROIPooling": "roi_pooling_param",
    "ReLU": "relu_param",
    "ReLU6": "relu6_param",
    "Reduction": "reduction_param",
    "Reorg": "reorg_param",
    "Reshape": "reshape_param",
    "SPP": "spp_param",
    "Scale": "scale_param",
    "ShuffleChannel": "shuffle_channel_param",
    "Slice": "slice_param",
    "Softmax": "softmax_param",
    "Swish": "swish_param",
    "Threshold": "threshold_param",
    "Tile": "tile_param",
    "Upsample": "upsample_param",
}
"""The field of LayerParameter that holds the parameters of a layer type."""

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "float": _Field.TYPE_FLOAT,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "uint32": _Field.TYPE_UINT32,
}


@cache
def message_class(name: str) -> Any:
    """The class of the message called `name`, as in ``message_class("NetParameter")``."""
    pool = _pool()
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}"))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    message: descriptor_pb2.DescriptorProto | None = None
    for line in MESSAGES.splitlines():
        words = line.split()
        if not words:
            continue
        if not line.startswith(" "):
            message = file.message_type.add(name=words[0])
        elif message is not None and words[0] == "enum":
            _add_enum(message, words[1], words[2:])
        elif message is not None:
            _add_field(message, words)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _add_enum(message: descriptor_pb2.DescriptorProto, name: str, members: list[str]) -> None:
    enum = message.enum_type.add(name=name)
    for member in members:
        key, _, number = member.partition("=")
        enum.value.add(name=key, number=int(number))


def _add_field(message: descriptor_pb2.DescriptorProto, words: list[str]) -> None:
    """`words`: name, number, type (with a star where repeated), and a default where there is one."""
    name, number, kind, *default = words
    repeated = kind.endswith("*")
    kind = kind.rstrip("*")
    field = message.field.add(name=name, number=int(number))
    field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        inner = any(enum.name == kind for enum in message.enum_type)
        field.type = _Field.TYPE_ENUM if inner else _Field.TYPE_MESSAGE
        field.type_name = f".caffe.{message.name}.{kind}" if inner else f".caffe.{kind}"
    if repeated and field.type in (_Field.TYPE_FLOAT, _Field.TYPE_DOUBLE, _Field.TYPE_INT64):
        field.options.packed = True
    if default:
        field.default_value = default[0]
