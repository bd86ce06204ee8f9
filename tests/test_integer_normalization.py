"""--mean and --std behind an integer input, as integers: by an integer reference, and end to end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import knight
from knight import border, model as models
from knight.config import QuantConfig
from knight.integer_normalization import Folded, fold, folded_like
from knight.normalizing import LOSS_DB
from knight.planning import plan_all
from knight.preparing import prepare_model, reopened
from knight.runner import Session
from knight.targets import Target, families, load_target
from tests.passes.equivalence import build, random

TX = load_target("TX5368AV200")
IN_FLOAT = replace(TX, integer_normalization=False)
MEAN, STD = (123.675, 116.28, 103.53, 110.2), (58.395, 57.12, 57.375, 30.0)
WEIGHTS = {"w": random(6, 4, 3, 3, seed=1), "b": random(6, seed=2)}


def pictures(dtype: str = "uint8", count: int = 8, shape: Sequence[int] = (1, 4, 12, 12)) -> list[np.ndarray]:
    limits, numbers = np.iinfo(dtype), np.random.default_rng(7)
    return [numbers.integers(limits.min, int(limits.max) + 1, shape).astype(dtype) for _ in range(count)]


def net(
    nodes: str, constants: Mapping[str, np.ndarray] = WEIGHTS, shape: Sequence[int] = (1, 4, 12, 12)
) -> ir.Model:
    return build(nodes, constants, inputs={"x": shape})


def conv(pads: int, group: int = 1) -> ir.Model:
    weights = {**WEIGHTS, "w": WEIGHTS["w"][:, : 4 // group]}
    return net(f"y = Conv<pads = [{pads}, {pads}, {pads}, {pads}], group = {group}>(x, w, b)", weights)


def quantized(
    model: ir.Model,
    data: Sequence[np.ndarray],
    target: Target = TX,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    **options: object,
) -> knight.QuantizedModel:
    settings = {"method": "min_max", "input_dtypes": (data[0].dtype.name,), **options}
    return knight.quantize(model, data, target=target, mean=tuple(mean), std=tuple(std), **settings)


def form(result: knight.QuantizedModel) -> str:
    return result.report["normalization"]["form"]


def kinds(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


# An integer reference ----------------------------------------------------------------------------------


def summed(q: np.ndarray, weight: np.ndarray, pads: int, group: int) -> np.ndarray:
    """A Conv of stride 1 in the numbers' own type; zeros around it."""
    padded = np.pad(q, ((0, 0), (0, 0), (pads, pads), (pads, pads)))
    windows = sliding_window_view(padded, weight.shape[2:], axis=(2, 3))
    parts = zip(np.split(windows, group, axis=1), np.split(weight, group), strict=True)
    return np.concatenate([np.einsum("nchwij,ocij->nohw", part, own) for part, own in parts], axis=1)


@dataclass(frozen=True)
class Stored:
    """What the file of a one-Conv net holds. offset: None without a Sub."""

    offset: np.ndarray | None
    scale: float
    weight: np.ndarray
    weight_scale: np.ndarray
    bias: np.ndarray
    result_scale: float


def stored(model: ir.Model) -> Stored:
    (node,) = [node for node in model.graph if node.op_type == "Conv"]
    real, weight, bias = (value.producer() for value in node.inputs)
    subs = [node for node in model.graph if node.op_type == "Sub"]
    (result,) = [reader for reader, _ in node.outputs[0].uses()]
    numbers = [
        models.constant(value)
        for value in (real.inputs[1], *weight.inputs[:2], bias.inputs[0], result.inputs[1])
    ]
    offset = None
    if subs:
        (offset_node,) = [subs[0].inputs[1].producer()]
        offset, one, zero = (models.constant(value) for value in offset_node.inputs)
        assert offset.dtype == np.uint8 and one == 1 and zero == 0
        fed = subs[0].inputs[0].producer()
        assert fed.op_type == "DequantizeLinear" and fed.inputs[0] is model.graph.inputs[0]
        assert models.constant(fed.inputs[1]) == 1 and models.constant(fed.inputs[2]) == 0
    return Stored(offset, float(numbers[0]), numbers[1], numbers[2], numbers[3], float(numbers[4]))


def integers(found: Stored, picture: np.ndarray, pads: int, group: int) -> np.ndarray:
    """The integers of the result, from an accumulator of 64 bits."""
    shifted = picture.astype(np.int64) - (0 if found.offset is None else found.offset.astype(np.int64))
    q = np.clip(np.rint(shifted / found.scale), -128, 127).astype(np.int64)
    total = summed(q, found.weight.astype(np.int64), pads, group) + found.bias[:, None, None]
    unit = found.scale * found.weight_scale.astype(np.float64)[:, None, None]
    return np.clip(np.rint(total * unit / found.result_scale), -128, 127).astype(np.int64)


CASES = pytest.mark.parametrize(
    ("pads", "group", "dtype"),
    [(0, 1, "uint8"), (1, 1, "uint8"), (0, 2, "uint8"), (1, 4, "uint8"), (0, 1, "int8")],
)


@CASES
def test_the_result_is_that_of_integer_arithmetic(pads: int, group: int, dtype: str) -> None:
    data = pictures(dtype)
    weights = {"w": random(8, 4 // group, 3, 3, seed=3), "b": random(8, seed=2)}
    edges = f"pads = [{pads}, {pads}, {pads}, {pads}]"
    result = quantized(net(f"y = Conv<{edges}, group = {group}>(x, w, b)", weights), data)
    assert form(result) == "integers" and result.report["float_operators"] == 0
    found = stored(result.model)
    for picture in pictures(dtype, 12):
        got = result.run(picture)[0] / found.result_scale
        off = np.abs(got - integers(found, picture, pads, group))
        assert off.max() < 1.01 and (off > 0.01).mean() < 0.005  # but for ties


@CASES
def test_std_is_in_the_weights_and_what_is_left_of_the_mean_in_the_bias(
    pads: int, group: int, dtype: str
) -> None:
    weights = {"w": random(8, 4 // group, 3, 3, seed=3), "b": random(8, seed=2)}
    edges = f"pads = [{pads}, {pads}, {pads}, {pads}]"
    result = quantized(net(f"y = Conv<{edges}, group = {group}>(x, w, b)", weights), pictures(dtype))
    found, mean, std = stored(result.model), np.array(MEAN), np.array(STD)
    offset = 0 if found.offset is None else found.offset.astype(np.float64)
    offset = np.broadcast_to(np.reshape(offset, -1), 4)
    of_output = np.repeat(np.arange(4).reshape(group, -1), 8 // group, axis=0)  # channels that each sums over
    wanted = weights["w"].astype(np.float64) / std[of_output][:, :, None, None]
    rest = (wanted * (offset - mean)[of_output][:, :, None, None]).sum(axis=(1, 2, 3))
    steps = wanted / found.weight_scale[:, None, None, None]
    assert np.abs(found.weight - steps).max() <= 0.501
    unit = found.scale * found.weight_scale.astype(np.float64)
    assert np.abs(found.bias - (weights["b"] + rest) / unit).max() <= 1


def test_without_padding_every_integer_of_the_input_is_exact() -> None:
    bytes_, signed = (stored(quantized(conv(0), pictures(dtype)).model) for dtype in ("uint8", "int8"))
    assert (bytes_.offset, bytes_.scale) == (128, 1)
    assert (signed.offset, signed.scale) == (None, 1)


def test_with_padding_zero_is_the_rounded_mean() -> None:
    """A picture of nothing but the mean gives the same everywhere, at the edges too."""
    result = quantized(conv(1), pictures())
    found = stored(result.model)
    assert found.offset.reshape(-1).tolist() == [124, 116, 104, 110]
    assert found.scale == pytest.approx((255 - 104) / 127, rel=1e-6)
    plain = np.broadcast_to(found.offset, (1, 4, 12, 12)).astype(np.uint8)
    (got,) = result.run(plain)
    np.testing.assert_array_equal(got, np.broadcast_to(got[:, :, :1, :1], got.shape))


def test_a_mean_that_leaves_nothing_outside_needs_no_coarser_scale() -> None:
    found = stored(quantized(conv(1), pictures(), mean=(127.5,), std=(127.5,)).model)
    assert (found.offset, found.scale) == (128, 1)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("pads", [0, 1])
def test_a_mean_of_zero_subtracts_nothing_where_zeros_are_put_around(pads: int, dtype: str) -> None:
    result = quantized(conv(pads), pictures(dtype), mean=(0.0,), std=(255.0,))
    assert form(result) == "integers"
    assert ("Sub" in kinds(result.model)) is (pads == 0 and dtype == "uint8")
    assert "Div" not in kinds(result.model)


@pytest.mark.parametrize("pads", [0, 1])
def test_against_the_float_net(pads: int) -> None:
    """In 64 bits, from the formula: the outputs are as near as with the normalization in float."""
    noise = {}
    for target in (TX, IN_FLOAT):
        result, total = quantized(conv(pads), pictures(), target), 0.0
        for picture in pictures(count=12):
            mean, std = (np.array(numbers)[:, None, None] for numbers in (MEAN, STD))
            wanted = summed((picture - mean) / std, WEIGHTS["w"], pads, 1) + WEIGHTS["b"][:, None, None]
            total += float(((result.run(picture)[0] - wanted) ** 2).sum() / (wanted**2).sum())
        noise[target.integer_normalization] = total
    assert noise[True] < noise[False] * 10 ** (LOSS_DB / 10)


# What moves the input -----------------------------------------------------------------------------------

FOCUS = """
    a = Slice(x, s00, ends, axes, steps) c = Slice(x, s10, ends, axes, steps)
    d = Slice(x, s01, ends, axes, steps) e = Slice(x, s11, ends, axes, steps)
    f = Concat<axis = 1>(a, c, d, e) y = Conv<pads = [1, 1, 1, 1]>(f, w, b)
"""
CORNERS = {
    **{f"s{row}{column}": np.array([row, column]) for row in (0, 1) for column in (0, 1)},
    "ends": np.array([12, 12]),
    "axes": np.array([2, 3]),
    "steps": np.array([2, 2]),
    "w": random(6, 16, 3, 3, seed=4),
    "b": random(6, seed=2),
}
MOVED = {
    "focus": (FOCUS, CORNERS, (1, 4, 12, 12)),
    "space to depth by Reshape": (
        "r = Reshape(x, apart) t = Transpose<perm = [0, 3, 5, 1, 2, 4]>(r) f = Reshape(t, together) "
        "y = Conv(f, w, b)",
        {
            "apart": np.array([1, 4, 6, 2, 6, 2]),
            "together": np.array([1, 16, 6, 6]),
            "w": CORNERS["w"],
            "b": WEIGHTS["b"],
        },
        (1, 4, 12, 12),
    ),
    "channels last": ("t = Transpose<perm = [0, 3, 1, 2]>(x) y = Conv(t, w, b)", WEIGHTS, (1, 12, 12, 4)),
    "a dense net": (
        "f = Flatten(x) y = Gemm<transB = 1>(f, w, b)",
        {"w": random(6, 4 * 9, seed=5), "b": random(6, seed=2)},
        (1, 4, 3, 3),
    ),
    "pooled first": ("m = MaxPool<kernel_shape = [2, 2]>(x) y = Conv(m, w, b)", WEIGHTS, (1, 4, 12, 12)),
    "padded first": (
        "p = Pad(x, edges) y = Conv(p, w, b)",
        {**WEIGHTS, "edges": np.array([0, 0, 2, 0, 0, 0, 0, 1])},
        (1, 4, 12, 12),
    ),
    "split": (
        "a, c = Split<axis = 1>(x, halves) d = Conv(a, v) e = Conv(c, v) y = Add(d, e)",
        {"v": random(6, 2, 3, 3, seed=6), "halves": np.array([2, 2])},
        (1, 4, 12, 12),
    ),
    "two readers": (
        "a = Conv<pads = [1, 1, 1, 1]>(x, w, b) p = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x) "
        "c = Conv<pads = [1, 1, 1, 1]>(p, w, b) y = Add(a, c)",
        WEIGHTS,
        (1, 4, 12, 12),
    ),
}


@pytest.mark.parametrize("name", MOVED)
def test_through_what_only_moves(name: str) -> None:
    nodes, constants, shape = MOVED[name]
    data = pictures(shape=shape, count=20)
    result = quantized(net(nodes, constants, shape), data)
    assert form(result) == "integers", result.report["normalization"]
    assert result.report["float_operators"] == 0
    assert "Div" not in kinds(result.model) and kinds(result.model).count("Sub") == 1
    floating = quantized(net(nodes, constants, shape), data, IN_FLOAT)
    assert result.report["sqnr_db"] > floating.report["sqnr_db"] - LOSS_DB


def test_focus_by_its_own_integers() -> None:
    """The four corners of the shifted integers, stacked, are what the Conv multiplies."""
    result = quantized(net(FOCUS, CORNERS), pictures())
    (node,) = [node for node in result.model.graph if node.op_type == "Conv"]
    (sub,) = [node for node in result.model.graph if node.op_type == "Sub"]
    offset, scale = (
        models.constant(value.producer().inputs[place])
        for value, place in ((sub.inputs[1], 0), (node.inputs[0], 1))
    )
    for picture in pictures(count=3):
        (got,) = Session(result.model, taps=[node.inputs[0].name]).run({"x": picture}, [node.inputs[0].name])
        q = np.clip(np.rint((picture.astype(np.int64) - offset) / scale), -128, 127)
        corners = [q[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        np.testing.assert_allclose(got, np.concatenate(corners, axis=1) * scale, rtol=1e-6)


# Where it stays in float --------------------------------------------------------------------------------

STAYS = {
    "c = Conv(x, w, b) s = Sigmoid(x) d = Conv(s, w, b) y = Add(c, d)": "Sigmoid 'node1' reads it as well",
    "s = Softplus(x) y = Conv(s, w, b)": "Softplus 'node0' reads it as well",
    "r = Relu(x) y = Conv(r, w, b)": "Relu 'node0' reads it as well",
    "p = Pad(x, edges, one) y = Conv(p, w, b)": "Pad 'node0' reads it as well",
    "r = Reshape(x, mixed) y = Conv(r, k, b)": "Conv 'node1' reads several channels as one",
    "r = ReduceMax<axes = [1]>(x) y = Conv(r, l, b)": "Conv 'node1' reads several channels as one",
    "t = Transpose<perm = [0, 2, 1, 3]>(x) m = MaxPool<kernel_shape = [2, 1]>(t) y = Conv(m, j, b)": (
        "Conv 'node2' reads several channels as one"
    ),
}
ODD = {
    **WEIGHTS,
    "edges": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "one": np.float32(1),
    "mixed": np.array([1, 3, 16, 12]),
    "k": random(6, 3, 3, 3, seed=5),
    "l": random(6, 1, 3, 3, seed=5),
    "j": random(6, 12, 3, 3, seed=5),
}


@pytest.mark.parametrize("nodes", STAYS)
def test_what_cannot_be_folded_stays_as_it_was_and_says_why(nodes: str) -> None:
    constants = {name: array for name, array in ODD.items() if f"{name})" in nodes or f"{name}," in nodes}
    result = quantized(net(nodes, constants), pictures())
    found = result.report["normalization"]
    assert found["form"] == "float" and STAYS[nodes] in found["reason"]
    as_before = quantized(net(nodes, constants), pictures(), IN_FLOAT)
    assert models.to_bytes(result.model) == models.to_bytes(as_before.model)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keep_first": 1}, "node0 stays float: left in float by --keep-first"),
        ({"disable_types": ("Conv",)}, "node0 stays float: left in float by --disable-types"),
        ({"disable_names": ("x_centred",)}, "x_centred is left in float by --disable-names"),
    ],
)
def test_wishes_count(options: Mapping[str, object], said: str) -> None:
    model = net("c = Conv(x, w, b) y = Conv(c, k)", {**WEIGHTS, "k": random(4, 6, 1, 1)})
    result = quantized(model, pictures(), **options)
    assert result.report["normalization"]["reason"] == said
    as_before = quantized(model, pictures(), IN_FLOAT, **options)
    assert models.to_bytes(result.model) == models.to_bytes(as_before.model)


def test_names_that_the_other_form_does_not_have_are_no_fault() -> None:
    """The normalized value is none of its values; what it names else counts."""
    rules = (knight.Rule(knight.Choice(method="mse"), names=("x_normalized", "node0"), origin="a file"),)
    assert form(quantized(conv(1), pictures(), rules=rules)) == "integers"


def test_refused_where_the_outputs_lose() -> None:
    """Channel 0 says nothing (it is always its mean), and its weights leave the others' no steps."""
    data = pictures(count=8)
    for picture in data:
        picture[:, 0] = 100
    numbers = {"mean": (100, 110, 100, 110), "std": (0.001, 60, 50, 55)}
    result = quantized(conv(1), data, **numbers)
    found = result.report["normalization"]
    assert found["form"] == "float"
    assert found["float_db"] - found["integers_db"] >= LOSS_DB and found["check_samples"] == 8
    assert found["reason"] == "as integers the outputs lose 0.1 dB or more"
    as_before = quantized(conv(1), data, IN_FLOAT, **numbers)
    assert models.to_bytes(result.model) == models.to_bytes(as_before.model)


def test_no_output_to_judge_by() -> None:
    model = build(
        "c = Conv(x, w, b) y = ArgMax<axis = 1>(c)", WEIGHTS, inputs={"x": (1, 4, 12, 12)}, infer=False
    )
    model.graph.outputs[0].type = ir.TensorType(ir.DataType.INT64)
    found = quantized(model, pictures()).report["normalization"]
    assert (found["form"], found["reason"]) == ("float", "the model has no finite float output to judge by")


@pytest.mark.parametrize("chip", ["onnxruntime", "onnxruntime-avx2", "generic", "tensorrt"])
def test_other_chips_are_not_asked(chip: str) -> None:
    result = quantized(conv(0), pictures(), load_target(chip))
    assert result.report["normalization"] is None
    assert border.OFFSETS not in result.model.metadata_props


@pytest.mark.parametrize("family", [name for name in families() if name.startswith("TX")])
def test_every_family_of_the_vendor_is_asked(family: str) -> None:
    target = load_target(family)
    assert form(quantized(conv(0), pictures(), target)) == "integers"
    nodes, constants, shape = MOVED["channels last"]
    found = quantized(net(nodes, constants, shape), pictures(shape=shape, count=20), target)
    if "Transpose" in target.software:
        assert found.report["normalization"]["reason"] == "node0 stays float: a software layer of the chip"
    else:
        assert form(found) == "integers"


@pytest.mark.parametrize(
    ("bits", "mean", "taken"),
    [
        ((16, 16), (124, 116, 104, 110), True),  # int16 holds every byte less the mean
        ((16, 16), MEAN, False),  # what is left of the mean shows at the edges, at this precision
        ((4, 8), MEAN, False),  # the weights have no steps left for channels of another std
    ],
)
def test_other_widths_behind_the_input(bits: tuple[int, int], mean: Sequence[float], taken: bool) -> None:
    rules = (knight.Rule(knight.Choice(*bits, "min_max"), names=("node0",), origin="a file"),)
    model = net("c = Conv<pads = [1, 1, 1, 1]>(x, w, b) y = Relu(c)")
    result = quantized(model, pictures(), load_target("TX5326DV500"), mean=mean, rules=rules)
    found = result.report["normalization"]
    assert (found["form"] == "integers") is taken
    assert (found["float_db"] - found["integers_db"] < LOSS_DB) is taken
    if taken:
        shifted = result.report["values"]["x_shifted"]
        assert (shifted["bits"], shifted["scale"]) == (16, 1) and result.report["float_operators"] == 0


def test_a_batch_of_its_own() -> None:
    nodes, constants, _ = MOVED["focus"]
    model = build(nodes, constants, inputs={"x": ("N", 4, 12, 12)})
    result = quantized(model, pictures(shape=(4, 4, 12, 12)), ir_batch=2)
    assert form(result) == "integers" and list(result.model.graph.inputs[0].shape) == [2, 4, 12, 12]
    assert result.report["normalization"]["check_samples"] == 32


def test_nothing_to_fold() -> None:
    plain = knight.quantize(conv(0), pictures(), target=TX, input_dtypes=("uint8",))
    floats = [picture.astype(np.float32) for picture in pictures()]
    late = knight.quantize(conv(0), floats, target=TX, mean=MEAN, std=STD)
    assert plain.report["normalization"] is None and late.report["normalization"] is None


# Beside it ----------------------------------------------------------------------------------------------


def test_a_normalization_that_the_model_has_itself() -> None:
    """Both ways of writing it, the multiplication first too."""
    constants = {**WEIGHTS, "m": np.array(MEAN, np.float32)[:, None, None], "k": np.float32(1 / 64)}
    model = net("d = Sub(x, m) n = Mul(k, d) y = Conv<pads = [1, 1, 1, 1]>(n, w, b)", constants)
    settings = {"target": TX, "method": "min_max", "input_dtypes": ("uint8",)}
    result = knight.quantize(model, pictures(count=20), **settings)
    assert form(result) == "integers" and result.report["float_operators"] == 0
    assert stored(result.model).offset.reshape(-1).tolist() == [124, 116, 104, 110]
    constants = {**WEIGHTS, "m": np.float32(2), "k": np.float32(1 / 64)}
    turned = net("d = Mul(x, k) n = Sub(m, d) y = Conv<pads = [1, 1, 1, 1]>(n, w, b)", constants)
    result = knight.quantize(turned, pictures(count=20), **settings)
    assert form(result) == "integers" and stored(result.model).offset == 128


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("pads", [0, 1])
def test_taken_as_a_source_again_it_stays_the_same(pads: int, dtype: str, tmp_path: Path) -> None:
    data = pictures(dtype)
    first = quantized(conv(pads), data)
    assert form(first) == "integers"
    path = first.save(tmp_path / "first.onnx")
    again = knight.quantize(path, data, target=TX)
    assert models.to_bytes(again.model) == path.read_bytes()
    assert again.report["float_operators"] == 0
    fresh = knight.quantize(path, data, target=TX, method="min_max", recalibrate=True)
    assert fresh.report["float_operators"] == 0
    elsewhere = knight.quantize(path, data, target="onnxruntime")
    for picture in data:
        wanted = first.run(picture)[0]
        assert np.abs(elsewhere.run(picture)[0] - wanted).max() < 0.02 * np.abs(wanted).max()


def test_a_source_whose_scales_are_kept_is_left_as_it_is(tmp_path: Path) -> None:
    floats = [(picture.astype(np.float32) - 120) / 60 for picture in pictures()]
    path = knight.quantize(conv(1), floats, target=TX).save(tmp_path / "first.onnx")
    result = quantized(models.load(path), pictures(), mean=(120,), std=(60,))
    assert "the source's scales, which are kept" in result.report["normalization"]["reason"]
    fresh = quantized(models.load(path), pictures(), mean=(120,), std=(60,), recalibrate=True)
    assert form(fresh) == "integers"


@pytest.mark.parametrize("pads", [0, 1])
def test_a_stored_model_is_planned_in_the_same_way(pads: int) -> None:
    planned = plan_all(conv(pads), TX, QuantConfig(mean=MEAN, std=STD, input_dtypes=("uint8",)))
    (variant,) = planned.whole
    assert not isinstance(variant, str)
    assert reopened(variant.prepared.model).border == variant.prepared.border
    assert variant.prepared.border.whole and not variant.prepared.border.normalization


def test_metadata_that_is_not_true_any_more_does_not_count() -> None:
    folded = fold(
        prepare_model(conv(1), TX, QuantConfig(mean=MEAN, std=STD, input_dtypes=("uint8",))),
        TX.activation_spec(8),
    )
    assert isinstance(folded, Folded)
    model = folded.prepared.model.clone()
    border.record_offsets(model, {"x": [1, 2, 3, 4]})
    found = border.described(model, {"x": "uint8"})
    assert not found.whole and not found.centring and found.normalization == {"x_shifted"}


def test_the_float_model_can_be_folded_alike() -> None:
    """It computes what it did, but for what the padding makes of the rest of the mean."""
    normal = prepare_model(conv(0), TX).model
    border.normalize(normal, MEAN, STD)
    alike = folded_like(normal, {"x": [128]})
    assert kinds(alike) == ["Sub", "Conv"]
    for picture in pictures(count=3):
        feeds = {"x": picture.astype(np.float32)}
        np.testing.assert_allclose(Session(alike).run(feeds)[0], Session(normal).run(feeds)[0], atol=1e-4)
    other = prepare_model(net("y = Sigmoid(x)"), TX).model
    assert folded_like(other, {"x": [128]}) is other
    assert folded_like(normal, {"x": [1, 2]}) is normal


@pytest.mark.parametrize("pads", [0, 1])
def test_the_comparison_pairs_every_layer(pads: int) -> None:
    constants = {**WEIGHTS, "k": random(5, 6, 1, 1, seed=9)}
    edges = f"pads = [{pads}, {pads}, {pads}, {pads}]"
    model = net(f"c = Conv<{edges}>(x, w, b) r = Relu(c) y = Conv(r, k)", constants)
    result = quantized(model, pictures())
    assert form(result) == "integers"
    found = knight.compare_models(model, result, pictures(), mean=MEAN, std=STD)
    assert not found.unpaired
    assert [layer.op_type for layer in found.layers] == ["Input", "Sub", "Conv", "Conv"]
    assert all(layer.own_sqnr > 30 for layer in found.layers)


def test_optimizers_go_on_from_there() -> None:
    data = pictures(count=20)
    result = quantized(conv(1), data, optimizers=("bias_correction",))
    assert form(result) == "integers"
    assert [one["optimizer"] for one in result.report["optimizers"]] == ["bias_correction"]
    assert "it changes the float model" not in result.report["optimizers"][0]["reason"]


def test_integer_operators_as_a_format() -> None:
    usual, other = (quantized(conv(1), pictures(), format=name) for name in ("qdq", "qoperator"))
    for picture in pictures(count=3):
        np.testing.assert_array_equal(other.run(picture)[0], usual.run(picture)[0])


def test_the_same_bytes_twice_and_several_runs_in_one(tmp_path: Path) -> None:
    one, two = (models.to_bytes(quantized(conv(1), pictures()).model) for _ in range(2))
    assert one == two
    facts = json.loads(quantized(conv(1), pictures()).model.metadata_props[border.OFFSETS])
    assert facts == {"x": [124, 116, 104, 110]}
