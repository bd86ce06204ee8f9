"""The real Caffe nets of the kit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from knight.converters import Source
from knight.converters.caffe import converter
from knight.listener import SILENT
from knight.runner import Session
from tests.converters.caffe.nets import run
from tests.converters.checks import assert_same


def source(kit: Path, name: str, prototxt: str = "") -> Source:
    folder = kit / "caffe"
    weights = str(folder / f"{name}.caffemodel")
    return Source(str(folder / (prototxt or f"{name}.prototxt")), weights=weights)


def test_face_detector(kit: Path) -> None:
    conversion = converter.convert(source(kit, "slim-320"), SILENT)
    assert [value.name for value in conversion.model.graph.outputs] == ["boxes", "scores"]
    assert_same(conversion)


def test_classifier_and_its_twin(kit: Path) -> None:
    conversion = converter.convert(source(kit, "squeezenet_v1.1", "squeezenet_v1.1_deploy.prototxt"), SILENT)
    assert str(conversion.model.graph.inputs[0].shape) == "[batch,3,227,227]"
    assert_same(conversion, batches=(1, 2))
    data = np.random.default_rng(1).normal(0, 50, (1, 3, 227, 227)).astype(np.float32)
    (probabilities,) = run(conversion, {"data": data}).values()
    twin = Session(kit / "onnx" / "squeezenet_v1.1.onnx")
    (logits,) = twin.run({twin.inputs[0].name: data})
    odds = np.exp(logits - logits.max())
    np.testing.assert_allclose(probabilities.reshape(1, -1), odds / odds.sum(), atol=1e-5)


def test_probe_gives_the_blobs_by_name(kit: Path) -> None:
    conversion = converter.convert(source(kit, "slim-320"), SILENT)
    assert conversion.probe is not None
    feeds = {"input": np.random.default_rng(2).standard_normal((1, 3, 240, 320)).astype(np.float32)}
    names = [value.name for node in conversion.model.graph for value in node.outputs]
    wanted = [str(name) for name in names[3:60:12]]
    probed = conversion.probe(feeds, [*wanted, "no such value"])
    assert list(probed) == wanted
    model = conversion.model
    values = {value.name: value for node in model.graph for value in node.outputs}
    model.graph.outputs.extend(values[name] for name in wanted if values[name] not in model.graph.outputs)
    got = run(conversion, feeds)
    for name, want in probed.items():
        np.testing.assert_allclose(got[name], want, atol=1e-4 * float(np.ptp(want)), err_msg=name)
