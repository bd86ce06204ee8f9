"""Shape arithmetic disappears where its result is known; a Reshape keeps its meaning for every input."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import assume, example, given, settings, strategies as st

from knight.errors import DataError, ModelError
from knight.passes import PassOptions, infer_shapes, remove_unused
from knight.passes.fold_shapes import run
from knight.runner import Session
from tests.passes.equivalence import build, operators, outputs_of
from tests.passes.zoo import ZOO, ints, numbers


def folded(model: ir.Model) -> ir.Model:
    infer_shapes.infer(model)
    run(model, PassOptions())
    remove_unused.run(model, PassOptions())
    return model


def target(model: ir.Model) -> list[int]:
    node = next(node for node in model.graph if node.op_type == "Reshape")
    constant = node.inputs[1].const_value
    assert constant is not None, "the target still depends on the input"
    return constant.numpy().tolist()


def test_a_static_chain_becomes_a_constant() -> None:
    model = build(
        "s = Shape(x) a = Gather(s, i) b = Gather(s, j) c = Mul(a, b) d = Unsqueeze(c, i1) "
        "e = Concat<axis=0>(first, d) f = Cast<to=6>(e) g = Cast<to=7>(f) y = Reshape(x, g)",
        {"i": np.array(1), "j": np.array(-1), "i1": ints(0), "first": ints(-1)},
        inputs={"x": (2, 3, 4)},
        infer=False,
    )
    folded(model)
    assert operators(model) == {"Reshape": 1}
    assert target(model) == [-1, 12]


@pytest.mark.parametrize(
    ("arithmetic", "wanted"),
    [
        ("Add(a, b)", 10),
        ("Sub(a, b)", -4),
        ("Mul(a, b)", 21),
        ("Div(b, a)", 2),
        ("Div(m, a)", -2),
    ],
)
def test_arithmetic(arithmetic: str, wanted: int) -> None:
    model = build(
        f"s = Shape(x) a = Slice(s, zero, one) b = Slice(s, one, two) r = {arithmetic} y = Cast<to=1>(r)",
        {"zero": ints(0), "one": ints(1), "two": ints(2), **({"m": ints(-7)} if "m" in arithmetic else {})},
        inputs={"x": (3, 7)},
        infer=False,
    )
    infer_shapes.infer(model)
    expected = outputs_of(model, {"x": numbers(3, 7)})
    folded(model)
    assert operators(model) == {"Cast": 1}
    assert outputs_of(model, {"x": numbers(3, 7)})[0].tolist() == expected[0].tolist() == [wanted]


def test_a_dimension_of_the_input_is_copied() -> None:
    model = folded(ir.from_proto(ZOO["dynamic batch"].proto()))
    assert operators(model) == {"Reshape": 2}
    assert target(model) == [0, 24]


def test_several_dimensions_are_copied() -> None:
    model = folded(ir.from_proto(ZOO["dynamic batch and length"].proto()))
    assert operators(model) == {"Reshape": 2, "Transpose": 2}
    assert target(model) == [0, 0, 2, 4]


def reshape_to(*parts: str, dims: tuple[int | str, ...], allowzero: int = 0) -> ir.Model:
    """Reshape of x to parts of its own shape ("d0", "d1", "d0*d1") and numbers."""
    nodes, names = ["s = Shape(x)"], []
    constants = {f"i{k}": ints(k) for k in range(len(dims))}
    for k in range(len(dims)):
        nodes.append(f"d{k} = Gather(s, i{k})")
    for k, part in enumerate(parts):
        if "*" in part:
            nodes.append(f"p{k} = Mul({part.replace('*', ', ')})")
            names.append(f"p{k}")
        elif part.startswith("d"):
            names.append(part)
        else:
            constants[f"c{k}"] = ints(int(part))
            names.append(f"c{k}")
    nodes.append(f"t = Concat<axis=0>({', '.join(names)}) y = Reshape<allowzero={allowzero}>(x, t)")
    return build(" ".join(nodes), constants, inputs={"x": dims}, infer=False)


@pytest.mark.parametrize(
    ("parts", "dims", "wanted"),
    [
        (("d0*d1", "4"), ("N", "M", 4), [-1, 4]),
        (("4", "d0*d1"), ("N", "M", 4), [4, -1]),
        (("d0", "d1", "4"), ("N", "M", 4), [0, 0, 4]),
        (("d1", "12"), (3, "M", 4), [-1, 12]),
        (("d0", "-1"), ("N", "M", 4), [0, -1]),
        (("0", "d0*d1"), (3, "M", 4), [0, -1]),
        (("d0", "d1*d2"), ("N", "M", "L"), None),  # 0 and -1 would fail for N = 0
        (("d1", "d0", "4"), ("N", "M", 4), None),
        (("0", "d1*d2"), ("N", "M", 4), None),
        (("-1", "d0*d1"), ("N", "M", 4), None),
    ],
)
def test_targets(parts: tuple[str, ...], dims: tuple[int | str, ...], wanted: list[int] | None) -> None:
    model = folded(reshape_to(*parts, dims=dims))
    if wanted is None:
        assert operators(model)["Shape"] == 1, "this target has no exact constant form"
    else:
        assert target(model) == wanted
        assert operators(model) == {"Reshape": 1}


@pytest.mark.parametrize("part", ["d0", "d0*d1"])
def test_zero_that_means_zero(part: str) -> None:
    model = reshape_to(part, "0", dims=("N", 0), allowzero=1)
    folded(model)
    assert operators(model)["Shape"] == 1


def test_shape_of_a_slice_of_axes() -> None:
    model = build(
        "s = Shape<start=1, end=-1>(x) y = Cast<to=1>(s)", inputs={"x": ("N", 3, 4, "M")}, infer=False
    )
    folded(model)
    assert outputs_of(model, {"x": numbers(1, 3, 4, 2)})[0].tolist() == [3, 4]
    assert operators(model) == {"Cast": 1}


def test_unknown_shapes_are_left() -> None:
    model = build("n = NonZero(x) s = Shape(n) y = Cast<to=1>(s)", inputs={"x": (2, 3)}, infer=False)
    infer_shapes.infer(model)
    expected = outputs_of(model, {"x": np.eye(2, 3, dtype=np.float32)})
    folded(model)
    assert (
        outputs_of(model, {"x": np.eye(2, 3, dtype=np.float32)})[0].tolist() == expected[0].tolist() == [2, 2]
    )


PARTS = st.lists(
    st.sampled_from(["d0", "d1", "d2", "d0*d1", "d1*d2", "d0*d2", "1", "-1", "0", "4", "12"]),
    min_size=1,
    max_size=4,
)
DIMS = st.lists(st.sampled_from(["N", "M", "L", 3, 4]), min_size=3, max_size=3).map(tuple)
SIZES = st.fixed_dictionaries({"N": st.integers(0, 3), "M": st.integers(0, 4), "L": st.integers(0, 4)})


@settings(max_examples=100, deadline=None)
@example(["d0", "0"], ("N", "N", "N"), True, [{"N": 0, "M": 0, "L": 0}])
@given(PARTS, DIMS, st.booleans(), st.lists(SIZES, min_size=3, max_size=3))
def test_whatever_the_target_the_result_is_the_same(
    parts: list[str], dims: tuple[int | str, ...], allowzero: bool, sizes: list[dict[str, int]]
) -> None:
    assume(not (allowzero and "0" in parts and "-1" in parts))  # the specification forbids it
    model = reshape_to(*parts, dims=dims, allowzero=int(allowzero))
    try:
        before = Session(model, level="none")
        infer_shapes.infer(model)
    except ModelError:  # a target that fits no input
        return
    folded(model)
    for size in sizes:
        x = numbers(*(size.get(dim, dim) for dim in dims))
        try:
            wanted = before.run({"x": x})[0]
        except DataError:  # a target that does not fit this input
            continue
        got = Session(model, level="none").run({"x": x})[0]
        assert got.shape == wanted.shape
        np.testing.assert_array_equal(got, wanted)


def test_shapes_that_broadcast_to_more_than_a_shape_are_left() -> None:
    """Three of 250 elements come to 15 million, of which nothing is made one by one."""
    model = build(
        "s = Shape(x) c = Equal(s, a) t = Where(c, b, d) r = Cast<to=1>(t) m = ReduceMax<keepdims=0>(r) "
        "y = Add(x, m)",
        {"a": ints(*range(250)).reshape(250, 1, 1), "b": ints(*range(250)).reshape(250, 1),
         "d": ints(*range(250))},
        inputs={"x": (3,)},
    )  # fmt: skip
    assert operators(folded(model)) == {"Where": 1, "Cast": 1, "ReduceMax": 1, "Add": 1}
