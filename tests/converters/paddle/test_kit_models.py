"""The kit's Paddle models, and what is in them beside the numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from knight import model as models
from knight.converters import Source
from knight.converters.paddle import converter
from knight.listener import SILENT
from knight.runner import Session
from tests.converters.checks import assert_same, random_feeds

NETS = ("resnet20_cifar10", "mobilenet_v1_0.25_224")


@pytest.mark.parametrize("net", NETS)
def test_kit_model_computes_what_paddle_computes(kit: Path, net: str) -> None:
    conversion = converter.convert(Source(str(kit / "paddle" / net / "inference.pdmodel")), SILENT)
    assert_same(conversion, batches=(1, 3))


@pytest.mark.parametrize("net", NETS)
def test_kit_model_computes_what_its_twin_computes(kit: Path, net: str) -> None:
    conversion = converter.convert(Source(str(kit / "paddle" / net / "inference.pdmodel")), SILENT)
    session = Session(conversion.model)
    twin = Session(models.load(kit / "onnx" / f"{net}.onnx"))
    (array,) = random_feeds(session, 1).values()  # a twin's batch may be fixed
    (found,) = session.run({session.inputs[0].name: array})
    (wanted,) = twin.run({twin.inputs[0].name: array})
    if net.startswith("mobilenet"):  # its twin gives logits
        wanted = np.exp(wanted - wanted.max(1, keepdims=True))
        wanted /= wanted.sum(1, keepdims=True)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.ptp(wanted))


def test_names_are_those_of_the_source(kit: Path) -> None:
    source = Source(str(kit / "paddle" / "resnet20_cifar10" / "inference.pdmodel"))
    model = converter.convert(source, SILENT).model
    assert [value.name for value in model.graph.outputs] == ["save_infer_model/scale_0.tmp_0"]
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert str(model.graph.inputs[0].shape[0]) == "batch_size"
    nodes = {node.name: node for node in model.graph}
    convolution = nodes["conv2d_3"]
    assert convolution.op_type == "Conv"
    assert convolution.inputs[1].name == "conv2d_3.w_0"
    assert nodes["linear_0"].op_type == "MatMul"
    assert nodes["linear_0/Add"].op_type == "Add"
    assert nodes["relu_0"].outputs[0].name == "relu_0.tmp_0"


def test_probe_gives_values_inside(kit: Path) -> None:
    source = Source(str(kit / "paddle" / "resnet20_cifar10" / "inference.pdmodel"))
    conversion = converter.convert(source, SILENT)
    assert conversion.probe is not None
    names = [
        value.name for node in conversion.model.graph for value in node.outputs if node.op_type != "Constant"
    ]
    feeds = random_feeds(Session(conversion.model), 2)
    known = conversion.probe(feeds, names)
    assert len(known) > 60
    session = Session(conversion.model, taps=list(known), level="none")
    for info, array in zip(session.outputs, session.run(feeds), strict=True):
        if info.name in known:
            np.testing.assert_allclose(
                array, known[info.name], atol=1e-4 * max(np.ptp(array), 1), err_msg=info.name
            )
