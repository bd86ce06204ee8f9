"""Preparation as a whole: real models keep their function and lose what they do not need."""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from knight import model as models
from knight.passes import PassOptions, order, prepare
from knight.runner import Session
from tests.passes.zoo import Case

GB = 1 << 30
# The operators that matter of every model; "=" stands for all of them.
REAL: dict[str, tuple[str, dict[str, int]]] = {
    "resnet20_cifar10": (
        "=",
        {"Conv": 19, "Relu": 19, "Add": 9, "Slice": 2, "Pad": 2, "AveragePool": 1, "Flatten": 1, "Gemm": 1},
    ),
    "squeezenet_v1.1": (
        "=",
        {"Conv": 26, "Relu": 26, "MaxPool": 3, "Concat": 8, "GlobalAveragePool": 1, "Flatten": 1},
    ),
    "mobilenet_v1_0.25_224": (
        "=",
        {"Conv": 27, "Clip": 27, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1},
    ),
    "mnist-8_onnxruntime_example": ("=", {"Conv": 2, "Relu": 2, "MaxPool": 2, "Flatten": 1, "Gemm": 1}),
    "vit_cifar10": (
        "",
        {
            "Conv": 2,
            "LayerNormalization": 11,
            "Softmax": 5,
            "Shape": 0,
            "Slice": 0,
            "Concat": 0,
            "Constant": 0,
        },
    ),
    "version-RFB-320": (
        "",
        {
            "Conv": 52,
            "Relu": 37,
            "Softmax": 1,
            "BatchNormalization": 0,
            "Shape": 0,
            "Gather": 0,
            "Unsqueeze": 0,
            "Flatten": 0,
            "Constant": 0,
        },
    ),
    "fastestdet_352": ("", {"Conv": 70, "Relu": 48, "Pad": 0, "Constant": 0}),
    "fastestdet_fruits_512": ("", {"Conv": 70, "Relu": 48, "Pad": 0, "Constant": 0}),
    "nanodet_m_416": ("", {"Conv": 73, "LeakyRelu": 48, "Resize": 4, "Constant": 0}),
    "silero_vad_16k_op15": ("", {"Conv": 6, "Constant": 0}),
}


def sample(session: Session, batch: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    feeds: dict[str, np.ndarray] = {}
    for info in session.inputs:
        shape = [batch if dim is None else dim for dim in info.shape]
        if info.name == "input" and len(shape) == 2:  # sound: at least one window
            shape[1] = 576
        feeds[info.name] = (
            rng.standard_normal(shape).astype(np.float32) if info.dtype == np.float32 else np.array(16000)
        )
    return feeds


@pytest.mark.parametrize("name", REAL)
def test_real_models(kit: Path, name: str) -> None:
    source = models.load(kit / "onnx" / f"{name}.onnx")
    shapes = (value.shape for value in source.graph.inputs)
    fixed = next(shape[0] for shape in shapes if shape)
    static = PassOptions(batch_size=1, static_shapes=name != "silero_vad_16k_op15")
    before = Session(source)
    for options in (PassOptions(), static):
        prepared = prepare(source, options)
        onnx.checker.check_model(models.to_bytes(prepared), full_check=True)
        counts = Counter(node.op_type for node in prepared.graph)
        exact, wanted = REAL[name]
        assert {op: counts[op] for op in (counts if exact else wanted)} == wanted
        after = Session(prepared)
        for seed, batch in enumerate((1,) if isinstance(fixed, int) or options.batch_size else (1, 3)):
            feeds = sample(before, batch, seed)
            for left, right in zip(before.run(feeds), after.run(feeds), strict=True):
                assert left.shape == right.shape
                np.testing.assert_allclose(right, left, rtol=0, atol=1e-4 * float(np.ptp(left)))


def test_the_source_is_left_alone_and_passes_are_heard() -> None:
    source = ir.from_proto(Case("g (float[2] x) => (float[2] y) { a = Identity(x) y = Relu(a) }", ()).proto())
    before = models.to_bytes(source)
    heard: list[tuple[str, int]] = []
    prepare(source, PassOptions(), lambda name, count: heard.append((name, count)))
    assert models.to_bytes(source) == before
    assert [name for name, _ in heard] == list(order())
    assert ("eliminate_identity", 1) in heard


def test_nodes_in_any_order() -> None:
    proto = Case("g (float[2] x) => (float[2] y) { y = Exp(a) a = Relu(x) }", ()).proto()
    prepared = prepare(ir.from_proto(proto), PassOptions())
    assert [node.op_type for node in prepared.graph] == ["Relu", "Exp"]


def test_cropping_is_by_the_names_of_the_source() -> None:
    text = "g (float[2] x) => (float[2] y) { a = Identity(x) b = Relu(a) c = Identity(b) y = Exp(c) }"
    prepared = prepare(ir.from_proto(Case(text, ()).proto()), PassOptions(output_names=("c",)))
    assert [value.name for value in prepared.graph.outputs] == ["c"]
    assert [node.op_type for node in prepared.graph] == ["Relu"]


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    """A model whose one weight has 600 million elements, 2.4 GB of zeros that take no room on the disk."""
    proto = Case(
        "g (float[N,20000] x) => (float[N,30000] y) { m = MatMul(i, w) y = Relu(m) i = Identity(x) }", ()
    ).proto()
    proto.graph.node.sort(key=lambda node: node.output[0] != "i")
    tensor = proto.graph.initializer.add(name="w", data_type=1, dims=[20000, 30000])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="huge.data")
    path = tmp_path / "huge.onnx"
    onnx.save(proto, path)
    with open(tmp_path / "huge.data", "wb") as data:
        data.truncate(20000 * 30000 * 4)
    return path


def test_above_two_gigabytes(huge: Path, limited_memory: Callable[[], int]) -> None:
    source = models.load(huge)
    for options in (PassOptions(), PassOptions(opset=21, batch_size=2, static_shapes=True)):
        prepared = prepare(source, options)
        assert models.opset(prepared) == options.opset
        assert [node.op_type for node in prepared.graph] == ["MatMul", "Relu"]
        weight = prepared.graph.initializers["w"]
        assert weight.const_value is source.graph.initializers["w"].const_value, "the weight was copied"
        assert list(prepared.graph.outputs[0].shape)[1] == 30000
    assert limited_memory() < 1 * GB


@pytest.fixture
def limited_memory() -> Callable[[], int]:
    """How much the process's peak memory grew since the start of the test, in bytes."""
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1024 if os.uname().sysname == "Linux" else 1
    return lambda: (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) * unit
