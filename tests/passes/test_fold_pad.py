"""Pad goes into the padding of Conv and pooling operators only where no window can tell the difference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

from knight.passes.fold_pad import run
from tests.passes.equivalence import (
    EVERYTHING,
    PassOptions,
    build,
    check_fused,
    check_untouched,
    feeds_of,
    operators,
    outputs_of,
    random,
)

OPTIONS = PassOptions(recognise=EVERYTHING)
SPATIAL = np.array([0, 0, 1, 2, 0, 0, 3, 0])  # begins, then ends, of N, C, H, W
LOWEST = float(np.finfo(np.float32).min)


def padded(reader: str, *, pads: object = SPATIAL, value: float = 0.0, first: str = "", opset: int = 17):
    data = "p" if first else "x"
    numbers = {
        "pads": np.asarray(pads, np.int64),
        "value": np.array(value, np.float32),
        "w": random(6, 4, 3, 3),
    }
    if "w" not in reader:
        numbers.pop("w")
    return build(f"{first} q = Pad({data}, pads, value) {reader}", numbers, opset=opset)


def pads_of(model) -> list[int]:
    return list(model.graph.node(-1).attributes["pads"].value)


def test_conv() -> None:
    fused = check_fused(padded("y = Conv<pads=[1,0,0,2]>(q, w)"), run, "Conv")
    assert pads_of(fused) == [2, 2, 3, 2]


def test_conv_with_strides_dilations_and_valid_padding() -> None:
    check_fused(padded('y = Conv<auto_pad="VALID",strides=[2,1],dilations=[2,3]>(q, w)'), run, "Conv")


def test_pads_on_named_axes() -> None:
    model = build(
        "q = Pad(x, pads, , axes) y = Conv(q, w)",
        {"pads": np.array([1, 2, 3, 4]), "axes": np.array([-1, 2]), "w": random(6, 4, 3, 3)},
        opset=18,
    )
    fused = check_fused(model, run, "Conv")
    assert pads_of(fused) == [2, 1, 4, 3]


def test_one_dimension_and_constant_nodes() -> None:
    model = build(
        "pads = Constant<value_ints=[0,0,2,0,0,1]>() q = Pad(x, pads) y = Conv(q, w)",
        {"w": random(6, 4, 3)},
        inputs={"x": (2, 4, 9)},
    )
    fused = check_fused(model, run, "Conv")
    assert [node.op_type for node in fused.graph] == ["Conv"]


def test_average_pool_counts_the_padding() -> None:
    fused = check_fused(padded("y = AveragePool<kernel_shape=[4,4]>(q)"), run, "AveragePool")
    assert fused.graph.node(0).attributes["count_include_pad"].value == 1


def test_average_pool_that_counts_its_own_padding_too() -> None:
    check_fused(
        padded("y = AveragePool<kernel_shape=[5,5],pads=[1,1,1,1],count_include_pad=1>(q)"),
        run,
        "AveragePool",
    )


@pytest.mark.parametrize(
    ("first", "value"),
    [
        ("", -np.inf),
        ("", LOWEST),
        ("p = Relu(x)", 0.0),
        ("p = Relu(x)", -1.0),
        ("p = Sigmoid(x)", 0.0),
        ("p = Softmax(x)", 0.0),
        ("zero = Constant<value_float=0.0>() six = Constant<value_float=6.0>() p = Clip(x, zero, six)", 0.0),
        ("a = Relu(x) b = Sigmoid(x) s = Add(a, b) p = Concat<axis=1>(s, a)", 0.0),
        ("a = Abs(x) p = MaxPool<kernel_shape=[2,2]>(a)", 0.0),
        ("one = Constant<value_float=1.0>() p = Clip(x, one)", 1.0),
    ],
)
def test_max_pool(first: str, value: float) -> None:
    model = padded("y = MaxPool<kernel_shape=[4,4],strides=[2,2]>(q)", value=value, first=first)
    before = operators(model)
    check_fused(model, run, " ".join(name for op, n in before.items() for name in [op] * n if op != "Pad"))


def test_several_readers_all_or_none() -> None:
    both = (
        "a = Conv<pads=[0,0,1,1]>(q, w) b = Conv(q, w) c = AveragePool<kernel_shape=[4,4]>(q) "
        "{} y = Sum(d, e, f)"
    )
    means = "d = ReduceMean(a) e = ReduceMean(b) f = ReduceMean(c)"
    check_fused(padded(both.format(means)), run, "Conv Conv AveragePool ReduceMean ReduceMean ReduceMean Sum")
    means = "d = ReduceMean(a) e = ReduceMean(b) g = ReduceMean(q) f = Add(g, c)"
    check_untouched(padded(both.format(means)), run)


REFUSED = {
    "a value that Conv would see": ("y = Conv(q, w)", {"value": 1.0}),
    "a value that the average would see": ("y = AveragePool<kernel_shape=[4,4]>(q)", {"value": -1.0}),
    "zeros that can win": ("y = MaxPool<kernel_shape=[4,4]>(q)", {}),
    "a value above the input": ("y = MaxPool<kernel_shape=[4,4]>(q)", {"value": 0.1, "first": "p = Relu(x)"}),
    "padded channels": ("y = AveragePool<kernel_shape=[4,4]>(q)", {"pads": [0, 1, 0, 0, 0, 0, 0, 0]}),
    "padded batch": ("y = Conv(q, w)", {"pads": [1, 0, 1, 0, 0, 0, 0, 0]}),
    "negative pads": ("y = Conv(q, w)", {"pads": [0, 0, -1, 0, 0, 0, 0, 0]}),
    "padding that follows the size": ('y = Conv<auto_pad="SAME_UPPER",strides=[2,2]>(q, w)', {}),
    "own padding that is not counted": ("y = AveragePool<kernel_shape=[5,5],pads=[1,1,1,1]>(q)", {}),
    "windows in the padding only": ("y = MaxPool<kernel_shape=[2,2]>(q)", {"value": -np.inf}),
    "windows that step over the input": (
        "y = MaxPool<kernel_shape=[4,4],dilations=[3,3]>(q)",
        {"value": -np.inf},
    ),
    "a last window that starts in the padding": (
        "y = AveragePool<kernel_shape=[5,5],strides=[3,3],ceil_mode=1>(q)",
        {},
    ),
    "another operator": ("y = Relu(q)", {}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    reader, more = REFUSED[case]
    check_untouched(padded(reader, **more), run)


def test_a_transposed_conv_is_left() -> None:
    model = build("q = Pad(x, pads) y = ConvTranspose(q, w)", {"pads": SPATIAL, "w": random(4, 6, 3, 3)})
    check_untouched(model, run)


@pytest.mark.parametrize("mode", ["reflect", "edge"])
def test_other_modes_are_left(mode: str) -> None:
    model = build(
        f'q = Pad<mode="{mode}">(x, pads) y = Conv(q, w)', {"pads": SPATIAL, "w": random(6, 4, 3, 3)}
    )
    check_untouched(model, run)


def test_a_padded_graph_output_is_left() -> None:
    model = build(
        "q = Pad(x, pads) y = Conv(q, w)", {"pads": SPATIAL, "w": random(6, 4, 3, 3)}, outputs=("y", "q")
    )
    check_untouched(model, run)


def test_padded_weights_are_left() -> None:
    model = build(
        "q = Pad(k, pads) y = Conv(x, q)",
        {"pads": SPATIAL},
        inputs={"x": (2, 4, 9, 9), "k": (6, 4, 2, 2)},
    )
    check_untouched(model, run)


def test_computed_pads_are_left() -> None:
    model = build(
        "more = Add(pads, pads) q = Pad(x, more) y = Conv(q, w)",
        {"pads": SPATIAL, "w": random(6, 4, 3, 3)},
    )
    check_untouched(model, run)


def test_max_pool_that_tells_where_is_left() -> None:
    model = build(
        "q = Pad(x, pads, value) y, where = MaxPool<kernel_shape=[4,4]>(q) z = Cast<to=1>(where)",
        {"pads": SPATIAL, "value": np.array(-np.inf, np.float32)},
        outputs=("y", "z"),
    )
    check_untouched(model, run)


small = st.integers(0, 3)


@settings(max_examples=150, deadline=None)
@given(
    op=st.sampled_from(["Conv", "MaxPool", "AveragePool"]),
    size=st.integers(1, 7),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    pad=st.tuples(small, small),
    own=st.tuples(small, small),
    ceil=st.booleans(),
    counted=st.booleans(),
    value=st.sampled_from([0.0, 0.0, -np.inf]),
)
def test_any_geometry_keeps_its_numbers(
    op, size, kernel, stride, dilation, pad, own, ceil, counted, value
) -> None:
    """Whether it folds or not, the model computes the same."""
    pooled = op != "Conv"
    assume(not pooled or max(own) < kernel)
    assume(size + sum(pad) + sum(own) >= dilation * (kernel - 1) + 1)
    settings_of = (
        f"kernel_shape=[{kernel}],strides=[{stride}],dilations=[{dilation}],pads=[{own[0]},{own[1]}]"
    )
    if pooled:
        settings_of += f",ceil_mode={int(ceil)}"
    if op == "AveragePool":
        settings_of += f",count_include_pad={int(counted)}"
    constants = {"pads": np.array([0, 0, pad[0], 0, 0, pad[1]]), "value": np.array(value, np.float32)}
    if not pooled:
        constants["w"] = random(2, 3, kernel)
    model = build(
        f"p = Relu(x) q = Pad(p, pads, value) y = {op}<{settings_of}>(q{'' if pooled else ', w'})",
        constants,
        inputs={"x": (1, 3, size)},
        opset=19,
    )
    feeds = feeds_of(model)
    before = outputs_of(model, feeds)[0]
    run(model, OPTIONS)
    np.testing.assert_allclose(outputs_of(model, feeds)[0], before, rtol=1e-5, atol=1e-6)
