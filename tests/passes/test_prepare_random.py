"""Random graphs of what exporters write: prepared, they compute the same under the same names."""

# ruff: noqa: E501  (graphs as text)

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from hypothesis import given, settings, strategies as st

from knight import model as models
from knight.passes import PassOptions, prepare
from knight.runner import Session
from tests.passes.zoo import Case, ints, numbers

# Each turns values a and b of shape (N, 4, 6) into one more, {n} being its number.
STEPS = (
    "v{n} = Relu({a})",
    "v{n} = Identity({a})",
    "v{n} = Add({a}, {b})",
    "v{n} = Mul({a}, {b})",
    "v{n} = Add({a}, zero)",
    "v{n} = Mul(one, {a})",
    "v{n} = Sub({a}, {a})",
    "v{n} = Cast<to=1>({a})",
    "d{n} = Cast<to=7>({a}) v{n} = Cast<to=1>(d{n})",
    "v{n}, k{n} = Dropout({a})",
    "w{n} = Neg(row) v{n} = Add({a}, w{n})",
    "w{n} = Neg(row) u{n} = Transpose(w{n}) q{n} = Transpose(u{n}) v{n} = Max({a}, q{n})",
    "t{n} = Transpose<perm=[0,2,1]>({a}) r{n} = Relu(t{n}) v{n} = Transpose<perm=[0,2,1]>(r{n})",
    "t{n} = Transpose<perm=[0,2,1]>({a}) v{n} = Transpose<perm=[0,2,1]>(t{n})",
    "p{n}, q{n} = Split<axis=1>({a}, parts) v{n} = Concat<axis=1>(q{n}, p{n})",
    "f{n} = Reshape({a}, flat) m{n} = MatMul(f{n}, square) v{n} = Reshape(m{n}, back)",
    "f{n} = Flatten({a}) v{n} = Reshape(f{n}, back)",
    "s{n} = Shape({a}) v{n} = Reshape({b}, s{n})",
    "s{n} = Shape({a}) g{n} = Gather(s{n}, zero_index) i{n} = Unsqueeze(g{n}, axis) "
    "j{n} = Concat<axis=0>(i{n}, rest) f{n} = Reshape({b}, j{n}) e{n} = Exp(f{n}) v{n} = Reshape(e{n}, s{n})",
    "s{n} = Shape({a}) z{n} = ConstantOfShape(s{n}) v{n} = Add({b}, z{n})",
    "s{n} = Shape({a}) v{n} = Expand({b}, s{n})",
    "u{n} = Unsqueeze({a}, axis) v{n} = Squeeze(u{n}, axis)",
    "v{n} = Slice({a}, axis, huge, axis)",
    "v{n} = Pad({a}, none)",
    "v{n} = If (flag) <then_branch = t{n} () => (float[N,4,6] y{n}) {{ x{n} = Neg({a}) y{n} = Add(x{n}, {b}) }}, "
    "else_branch = e{n} () => (float[N,4,6] y{n}) {{ y{n} = Sigmoid({a}) }}>",
    "v{n} = If (yes) <then_branch = t{n} () => (float[N,4,6] y{n}) {{ x{n} = Neg({a}) y{n} = Add(x{n}, {b}) }}, "
    "else_branch = e{n} () => (float[N,4,6] y{n}) {{ y{n} = Sigmoid({a}) }}>",
)
CONSTANTS = {
    "zero": np.zeros(1, np.float32),
    "one": np.ones((1, 1), np.float32),
    "row": numbers(4, 6),
    "square": numbers(24, 24) / 8,
    "parts": ints(1, 3),
    "flat": ints(-1, 24),
    "back": ints(-1, 4, 6),
    "rest": ints(24),
    "zero_index": np.array(0),
    "axis": ints(0),
    "huge": ints(2**62),
    "none": ints(0, 0, 0, 0, 0, 0),
    "yes": np.array(True),
}
STEP = st.tuples(st.sampled_from(STEPS), st.integers(0, 99), st.integers(0, 99))


def random_case(
    steps: list[tuple[str, int, int]], picks: list[int], batch: str | int
) -> tuple[onnx.ModelProto, list[str]]:
    """A graph of `steps` on the latest values but `a` (but `b`), with outputs at `picks`."""
    values, nodes = ["x"], []
    for number, (step, a, b) in enumerate(steps):
        nodes.append(step.format(n=number, a=values[-1 - a % len(values)], b=values[-1 - b % len(values)]))
        values.append(f"v{number}")
    outputs = list(dict.fromkeys([values[-1], *(values[1:][pick % len(steps)] for pick in picks)]))
    interface = ", ".join(f"float[N,4,6] {name}" for name in outputs)
    text = " ".join(nodes).replace("[N,4,6]", f"[{batch},4,6]")
    text = f"g (float[{batch},4,6] x, bool flag) => ({interface.replace('[N', f'[{batch}')}) {{ {text} }}"
    return Case(text, (), CONSTANTS).proto(), outputs


@settings(max_examples=80, deadline=None)
@given(
    st.lists(STEP, min_size=1, max_size=12),
    st.lists(st.integers(0, 99), max_size=3),
    st.sampled_from(["N", 2]),
    st.sampled_from([17, 21]),
)
def test_same_results_and_names(
    steps: list[tuple[str, int, int]], picks: list[int], batch: str | int, opset: int
) -> None:
    proto, outputs = random_case(steps, picks, batch)
    source = ir.from_proto(proto)
    prepared = prepare(source, PassOptions(opset=opset))
    onnx.checker.check_model(models.to_bytes(prepared), full_check=True)
    assert [value.name for value in prepared.graph.inputs] == ["x", "flag"]
    assert [value.name for value in prepared.graph.outputs] == outputs
    before, after = Session(source, level="none"), Session(prepared, level="none")
    for size in (1, 3) if batch == "N" else (2,):
        for flag in (True, False):
            feeds = {"x": numbers(size, 4, 6, seed=size), "flag": np.array(flag)}
            for got, wanted in zip(after.run(feeds), before.run(feeds), strict=True):
                limit = 1e-5 * max(1.0, float(np.abs(wanted).max()))
                np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=limit)
    assert models.to_bytes(prepare(prepared, PassOptions(opset=opset))) == models.to_bytes(prepared)
