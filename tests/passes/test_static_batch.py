"""A dynamic batch becomes a number wherever the model means the batch, and nowhere else."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from knight import model as models
from knight.errors import ConfigError, ModelError
from knight.passes import PassOptions, infer_shapes
from knight.passes.static_batch import run
from tests.passes.zoo import Case, numbers


def model_of(inputs: str, nodes: str = "y = Relu(x)", output: str = "float[K,M] y") -> ir.Model:
    return ir.from_proto(Case(f"g ({inputs}) => ({output}) {{ {nodes} }}", ()).proto())


def shapes(model: ir.Model) -> list[list[object]]:
    return [
        [dim if isinstance(dim, int) else dim.value for dim in value.shape] for value in model.graph.inputs
    ]


@pytest.mark.parametrize(
    ("inputs", "fixed"),
    [
        ("float[N,3] x", [[4, 3]]),
        ("float[N,L] x", [[4, "L"]]),
        ("float[N,3] x, float[2,N,5] state, int64 rate", [[4, 3], [2, 4, 5], []]),
        ("float[N,3] x, float[M,5] other", [[4, 3], ["M", 5]]),
        ("float[unk__1,3] x, float[unk__2,unk__3] other", [[4, 3], [4, "unk__3"]]),
        ("float[N,3] x, float[?,5] other", [[4, 3], [4, 5]]),
        ("float[5] weights, float[N,3] x", [[5], [4, 3]]),
    ],
)
def test_which_dimensions_are_the_batch(inputs: str, fixed: list[list[object]]) -> None:
    model = model_of(inputs)
    assert run(model, PassOptions(batch_size=4)) == sum(4 in dims for dims in fixed)
    assert shapes(model) == fixed
    if "M" not in str(fixed):  # which a second run would take for the batch
        assert run(model, PassOptions(batch_size=4)) == 0


def test_shapes_inside_and_of_the_outputs_follow() -> None:
    model = model_of("float[N,3] x", "a = Exp(x) y = Relu(a)", "float[N,3] y")
    infer_shapes.infer(model)
    run(model, PassOptions(batch_size=4))
    assert all(value.shape == ir.Shape([4, 3]) for value in models.values(model.graph))
    onnx.checker.check_model(models.to_bytes(model), full_check=True)
    x = numbers(4, 3)
    session = ort.InferenceSession(models.to_bytes(model), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], np.exp(x), rtol=1e-6)


def test_wrong_shapes_inside_are_worked_out_again() -> None:
    """An exporter that traced with one picture may leave its batch in the middle of the graph."""
    proto = Case("g (float[N,3] x) => (float[N,3] y) { a = Exp(x) y = Relu(a) }", ()).proto()
    proto.graph.value_info.append(onnx.helper.make_tensor_value_info("a", 1, [1, 3]))
    model = ir.from_proto(proto)
    run(model, PassOptions(batch_size=4))
    assert model.graph[0].outputs[0].shape == ir.Shape([4, 3])


def test_a_static_model() -> None:
    model = model_of("float[2,3] x")
    before = models.to_bytes(model)
    assert run(model, PassOptions(batch_size=2)) == 0
    assert run(model, PassOptions(static_shapes=True)) == 0
    assert models.to_bytes(model) == before
    with pytest.raises(ConfigError, match="-ib 4: the model's batch is already fixed at 2; leave -ib out"):
        run(model, PassOptions(batch_size=4))


def test_no_batch_at_all() -> None:
    model = ir.from_proto(Case("g (float x) => (float y) { y = Relu(x) }", ()).proto())
    with pytest.raises(ConfigError, match="-ib 4: the model has no input with a batch dimension"):
        run(model, PassOptions(batch_size=4))


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (None, r"input 'x': dimension 0 \(N\) may vary.*give -ib, or export the model with a fixed size"),
        (4, r"input 'x': dimension 2 \(H\) may vary, and the chip takes fixed shapes only; export the model"),
    ],
)
def test_static_shapes(batch: int | None, message: str) -> None:
    model = model_of("float[N,3,H] x")
    with pytest.raises(ModelError, match=message):
        run(model, PassOptions(batch_size=batch, static_shapes=True))
