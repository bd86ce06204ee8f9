"""Decoders on trained nets and pictures: boxes lie where the things are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from knight.runner import Session
from knight.tasks._boxes import Boxes, iou, nms
from knight.tasks._decoders import Detector, decoders, find_decoder
from knight.tasks._decoders.ssd import priors


def picture(path: Path, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """BGR, squashed to `size`, normalized, [1, 3, H, W]."""
    image = pytest.importorskip("PIL.Image")
    pixels = np.asarray(image.open(path).convert("RGB").resize(size[::-1], image.Resampling.BOX), np.float64)
    return (((pixels[..., ::-1] - mean) / std).transpose(2, 0, 1)[None]).astype(np.float32)


def run(model: Path, fed: np.ndarray) -> list[np.ndarray]:
    session = Session(model)
    return session.run({session.inputs[0].name: fed})


def decode(name: str, outputs: Sequence[np.ndarray], detector: Detector) -> Boxes:
    """What the decoder finds in one picture that the shapes lead to; it must be the one called `name`."""
    decoder = find_decoder([output.shape for output in outputs], detector)
    assert decoder is decoders.get(name)
    return decoder.decode(outputs, detector)[0]


def test_nanodet_of_a_mirrored_picture_finds_mirrored_boxes(kit: Path) -> None:
    """A point in a cell's corner instead of its middle would shift the two by half a cell each, apart."""
    size, width = (416, 416), 416
    fed = picture(
        kit / "images/coco20/000000215245.jpg", size, (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
    )
    found = []
    for pixels in (fed, np.ascontiguousarray(fed[..., ::-1])):
        outputs = run(kit / "onnx/nanodet_m_416.onnx", pixels)
        about = Detector(size, 80, None, 0.5)
        found.append(nms(decode("nanodet", outputs, about), 0.5, 0.5, 100))
    straight, mirrored = found
    back = width - mirrored.xyxy[:, [2, 1, 0, 3]] * [1, -1, 1, -1] - [0, width, 0, width]
    alike = iou(straight.xyxy, back)
    zebra = 22
    assert len(straight) >= 4 and set(straight.classes) == {zebra}
    assert (alike.max(axis=1) > 0.6).sum() >= 4
    pairs = np.flatnonzero(alike.max(axis=1) > 0.6)
    shift = (straight.xyxy[pairs] - back[alike.argmax(axis=1)[pairs]])[:, [0, 2]].mean()
    assert abs(shift) < 4, "half a cell twice would be 8 to 32 pixels"


def ultra_light_priors_of(model: onnx.ModelProto) -> np.ndarray:
    """The two constants that the graph's own decoding adds and multiplies: centres and sides [4420, 2]."""
    tensors = [
        onnx.numpy_helper.to_array(node.attribute[0].t)
        for node in model.graph.node
        if node.op_type == "Constant"
    ]
    inside = [tensor[0] for tensor in tensors if tensor.shape == (1, 4420, 2)]
    return np.concatenate([inside[1], inside[0]], axis=1)


def test_the_priors_are_those_in_the_published_face_net(kit: Path) -> None:
    model = onnx.load(kit / "onnx/version-RFB-320.onnx")
    found = priors(Detector((240, 320), 1))
    np.testing.assert_allclose(found, ultra_light_priors_of(model), atol=1e-6)


def test_faces_have_the_shape_of_faces(kit: Path) -> None:
    size = (240, 320)
    fed = picture(kit / "images/faces/face_13.jpg", size, (127, 127, 127), (128, 128, 128))[:, ::-1]
    outputs = run(kit / "onnx/version-RFB-320.onnx", np.ascontiguousarray(fed))
    faces = nms(decode("ssd", outputs, Detector(size, 1, None, 0.7)), 0.7, 0.5, 10)
    assert len(faces) == 2 and set(faces.classes) == {0}
    np.testing.assert_array_equal(faces.clipped(*size).xyxy, faces.xyxy)


def test_fruits_are_where_their_labels_say(kit: Path) -> None:
    size = (512, 512)
    for name in ("grape_101", "pear_101", "mongo_141"):
        fed = picture(kit / f"images/fruits/{name}.jpg", size, (0, 0, 0), (255, 255, 255))
        outputs = run(kit / "onnx/fastestdet_fruits_512.onnx", fed)
        found = nms(decode("fastestdet", outputs, Detector(size, 5, None, 0.4)), 0.4, 0.35, 10)
        labels = np.loadtxt(kit / f"images/fruits/{name}.txt", ndmin=2)
        half = labels[:, 3:] / 2
        truth = np.concatenate([labels[:, 1:3] - half, labels[:, 1:3] + half], axis=1) * 512
        alike = iou(truth, found.xyxy) * (labels[:, :1] == found.classes)
        assert len(found) == len(labels) and (alike.max(axis=1) > 0.7).all()
