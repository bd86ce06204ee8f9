"""What every graph pass owes its callers, over a zoo of awkward models.

The model stays valid, computes the same, keeps the names and order of its inputs and outputs; a second run
finds nothing more to do; the same model always gives the same bytes; the source of a copy is left alone.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from knight import model as models
from knight.passes import PassOptions, order, passes, prepare
from tests.passes.zoo import ZOO, Case, Sample

OPTIONS = PassOptions(recognise=frozenset(("LayerNormalization", "Gelu", "HardSwish", "Silu")))


def run_all(proto: onnx.ModelProto, samples: tuple[Sample, ...]) -> list[list[np.ndarray]]:
    proto = onnx.load_from_string(proto.SerializeToString())
    for node in proto.graph.node:
        node.name = ""  # ONNX Runtime refuses repeated node names, which ONNX allows
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [session.run(None, sample) for sample in samples]


def assert_same_outputs(got: onnx.ModelProto, wanted: onnx.ModelProto, samples: tuple[Sample, ...]) -> None:
    for mine, theirs in zip(run_all(got, samples), run_all(wanted, samples), strict=True):
        for left, right in zip(mine, theirs, strict=True):
            assert left.dtype == right.dtype
            assert left.shape == right.shape
            if left.dtype.kind in "fiub":
                np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)
            else:
                np.testing.assert_array_equal(left, right)


def tidy(case: Case) -> ir.Model:
    """The model as most passes get it: constants as initializers, everything named, shapes known."""
    model = ir.from_proto(case.proto())
    for name in ("clean_interface", "name_nodes", "infer_shapes"):
        passes.get(name)(model, OPTIONS)
    return model


def interface(model: ir.Model) -> tuple[list[str | None], list[str | None]]:
    return [value.name for value in model.graph.inputs], [value.name for value in model.graph.outputs]


@pytest.mark.parametrize("case", ZOO, ids=lambda name: name.replace(" ", "_"))
@pytest.mark.parametrize("name", passes.names())
def test_contract(name: str, case: str) -> None:
    run = passes.get(name)
    source = tidy(ZOO[case])
    before = models.to_bytes(source)
    changed, twin = source.clone(), tidy(ZOO[case])

    count = run(changed, OPTIONS)

    after = models.to_bytes(changed)
    assert models.to_bytes(source) == before, "the pass changed the model that its own was copied from"
    assert (count == 0) == (after == before), "the count does not tell whether anything changed"
    proto = onnx.load_from_string(after)
    onnx.checker.check_model(proto, full_check=True)
    assert interface(changed) == interface(source)
    assert_same_outputs(proto, onnx.load_from_string(before), ZOO[case].samples)
    run(twin, OPTIONS)
    assert models.to_bytes(twin) == after, "a second copy came out differently"
    assert run(changed, OPTIONS) == 0, "a second run found more to do"
    assert models.to_bytes(changed) == after


@pytest.mark.parametrize("case", ZOO, ids=lambda name: name.replace(" ", "_"))
def test_prepare(case: str) -> None:
    source = ir.from_proto(ZOO[case].proto())
    before = models.to_bytes(source)
    counts: list[tuple[str, int]] = []
    prepared = prepare(source, OPTIONS, lambda name, count: counts.append((name, count)))
    after = models.to_bytes(prepared)
    assert models.to_bytes(source) == before
    assert [name for name, _ in counts] == list(order())
    proto = onnx.load_from_string(after)
    onnx.checker.check_model(proto, full_check=True)
    weights = source.graph.initializers.keys()
    assert interface(prepared)[0] == [name for name in interface(source)[0] if name not in weights]
    assert interface(prepared)[1] == interface(source)[1]
    assert_same_outputs(proto, ZOO[case].proto(), ZOO[case].samples)
    assert models.to_bytes(prepare(ir.from_proto(ZOO[case].proto()), OPTIONS)) == after
    assert models.to_bytes(prepare(prepared, OPTIONS)) == after, "preparing twice changes more"
