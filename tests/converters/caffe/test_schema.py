"""The messages of Caffe in a pool of their own."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pool

from knight.converters.caffe._schema import PARAMETERS, message_class
from knight.converters.caffe.layers import layer, translations


def test_defaults_are_those_of_caffe() -> None:
    message = message_class("LayerParameter")()
    assert message.pooling_param.stride == 1
    assert message.pooling_param.pool == 0
    assert message.convolution_param.bias_term is True
    assert message.eltwise_param.operation == 1
    assert message.lrn_param.beta == 0.75
    assert message.batch_norm_param.eps == pytest.approx(1e-5)
    assert message.reshape_param.num_axes == -1
    assert message.prior_box_param.offset == 0.5


def test_a_known_file_is_read() -> None:
    """Bytes as Caffe writes them: layer 100, its name 1, type 2, blobs 7; a blob's data 5 and shape 7."""
    blob = b"\x2a\x08" + bytes.fromhex("0000803f00000040") + b"\x3a\x03\x0a\x01\x02"
    layer_bytes = b"\x0a\x02fc\x12\x0cInnerProduct\x3a" + bytes([len(blob)]) + blob
    net = message_class("NetParameter").FromString(b"\xa2\x06" + bytes([len(layer_bytes)]) + layer_bytes)
    (read,) = net.layer
    assert (read.name, read.type) == ("fc", "InnerProduct")
    assert list(read.blobs[0].data) == [1, 2]
    assert list(read.blobs[0].shape.dim) == [2]


def test_nothing_is_added_to_the_common_pool() -> None:
    message_class("NetParameter")
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("caffe.NetParameter")


def test_every_parameter_is_a_field_and_every_translation_that_reads_one_has_one() -> None:
    fields = message_class("LayerParameter").DESCRIPTOR.fields_by_name
    assert set(PARAMETERS.values()) <= set(fields)
    sources = {"Input", "DummyData"}
    assert set(PARAMETERS) - sources <= set(translations())


def test_a_second_translation_of_a_type_is_an_error() -> None:
    translations()
    with pytest.raises(ValueError, match="two translations of the Caffe layer ReLU"):
        layer("ReLU")(lambda builder, layer, inputs: inputs)
