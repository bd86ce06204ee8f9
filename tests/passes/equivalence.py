"""Small graphs in ONNX's text form, and the judge of every pass: ONNX Runtime gives the same as before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import onnxruntime as ort

from knight.passes import PassOptions

Run = Callable[[ir.Model, PassOptions], int]
EVERYTHING = frozenset(
    (
        "LayerNormalization",
        "Gelu",
        "HardSwish",
        "HardSigmoid",
        "Silu",
        "Mish",
        "LpNormalization",
        "InstanceNormalization",
        "RMSNormalization",
    )
)


def build(
    nodes: str,
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    inputs: Mapping[str, Sequence[int | str]] | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
    dtype: str = "float",
    infer: bool = True,
) -> ir.Model:
    """A model of the operators `nodes` with initializers `constants` (default: one input x, one output y)."""
    given = inputs or {"x": (2, 4, 9, 9)}
    arguments = ", ".join(f"{dtype}[{','.join(map(str, dims))}] {name}" for name, dims in given.items())
    results = ", ".join(f"{dtype}[unknown] {name}" for name in outputs)
    graph = onnx.parser.parse_graph(f"g ({arguments}) => ({results}) {{ {nodes} }}")
    graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()
    )
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
    for number, node in enumerate(proto.graph.node):
        node.name = f"node{number}"
    if infer:
        proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    return ir.from_proto(proto)


def random(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Uniform float32 numbers, the same for the same arguments."""
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape).astype(np.float32)


def feeds_of(model: ir.Model, seed: int = 0) -> dict[str, np.ndarray]:
    """Random numbers for every float input; unknown dimensions become 2."""
    feeds = {}
    for value in model.graph.inputs:
        assert value.shape is not None and value.dtype is not None and value.name is not None
        dims = [dim if isinstance(dim, int) else 2 for dim in value.shape]
        feeds[value.name] = random(*dims, seed=seed, low=-4, high=4).astype(value.dtype.numpy())
    return feeds


def outputs_of(model: ir.Model, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What ONNX Runtime, its own optimisations off, makes of `feeds` (of double, the reference evaluator)."""
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    if any(array.dtype == np.float64 for array in feeds.values()):  # for which the runtime has few kernels
        return list(onnx.reference.ReferenceEvaluator(proto).run(None, dict(feeds)))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))


def operators(model: ir.Model) -> dict[str, int]:
    """How often each operator occurs, Constants aside."""
    return dict(Counter(node.op_type for node in model.graph if node.op_type != "Constant"))


def check_fused(
    model: ir.Model,
    run: Run,
    expected: str,
    *,
    options: PassOptions | None = None,
    feeds: Mapping[str, np.ndarray] | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> ir.Model:
    """Runs the pass on a copy; checks operators ("Conv Relu Relu"), numbers, output names, dead constants."""
    fused = model.clone()
    feeds = feeds or feeds_of(model)
    wanted = outputs_of(model, feeds)
    assert run(fused, options or PassOptions(recognise=EVERYTHING)) > 0, "nothing was changed"
    assert operators(fused) == dict(Counter(expected.split()))
    assert [output.name for output in fused.graph.outputs] == [output.name for output in model.graph.outputs]
    for value in fused.graph.initializers.values():
        assert value.uses() or value.is_graph_output(), f"constant {value.name} is left behind"
    for got, want in zip(outputs_of(fused, feeds), wanted, strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(
            got, want, rtol=rtol, atol=atol * max(1.0, float(np.abs(want).max(initial=0)))
        )
    again = fused.clone()
    assert run(again, options or PassOptions(recognise=EVERYTHING)) == 0, "a second run finds more to do"
    return fused


def check_untouched(model: ir.Model, run: Run, *, options: PassOptions | None = None) -> None:
    """Checks that the pass refuses, and leaves every byte as it was."""
    outputs_of(model, feeds_of(model))  # the case itself must be a valid model
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    assert run(model, options or PassOptions(recognise=EVERYTHING)) == 0
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
