"""Every family of chips and runtimes goes through the same checks."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources

import onnx.defs
import pytest

from knight.targets import DEFAULT_CHIP, Target, chip_names, families, load_target
from knight.types import QuantSpec

OP_TYPES = frozenset(schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == "")
LISTS = ("anchors", "followers", "keep_scale", "software")
VENDOR_CHIPS = [
    "TX5105C",
    "TX5103C",
    "TX5105CV100",
    "TX5103CV100",
    "TX5101C",
    "TX5101D",
    "TX5101E",
    "TX5336AV200",
    "TX5339AV200",
    "TX5335AV200",
    "TX5368AV200",
    "TX5215CV200",
    "TX5112CV300",
    "TX5112DV300",
    "TX5215DV200",
    "TX5215DV300",
    "TX5215EV300",
    "TX5239DV200",
    "TX5239DV220",
    "TX5239DV300",
    "TX5112CV201",
    "TX5112DV201",
    "TX5239CV201",
    "TX5239DV201",
    "TX5256AV200",
    "TX5110CV206",
    "TX5326DV500",
]


@pytest.fixture(params=families())
def target(request: pytest.FixtureRequest) -> Target:
    return load_target(request.param)


def test_every_chip_leads_to_its_family(target: Target) -> None:
    for chip in target.chips:
        for spelling in (chip, chip.lower(), chip.upper()):
            found = load_target(spelling)
            assert (found.name, found.chip) == (target.name, chip)


def test_no_name_belongs_to_two_families() -> None:
    chips = [chip.lower() for family in families() for chip in (family, *load_target(family).chips)]
    assert len(chips) == len(set(chips))
    assert sorted(chips) == sorted(name.lower() for name in chip_names())


def test_vendor_chips_are_all_known() -> None:
    assert set(VENDOR_CHIPS) <= set(chip_names())
    assert load_target(DEFAULT_CHIP).name == "TX5368x_TX5339x_TX5335x"


def test_file_says_what_it_is_and_where_the_facts_come_from(target: Target) -> None:
    text = resources.files("knight.targets").joinpath(f"{target.name}.toml").read_text("utf-8")
    assert "\nsource = " in text
    assert len(target.description) > 10
    assert len(target.source) > 10


def test_operators_are_onnx_operators(target: Target) -> None:
    for key in (*LISTS, "float_result", "recognise"):
        unknown = getattr(target, key) - OP_TYPES
        assert not unknown, f"{key}: {sorted(unknown)}"


def test_recognised_operators_exist_at_the_opset(target: Target) -> None:
    for operator in target.recognise:
        assert onnx.defs.has(operator, max_inclusive_version=target.opset), operator


def test_every_operator_has_one_place(target: Target) -> None:
    placed = [operator for key in LISTS for operator in getattr(target, key)]
    assert len(placed) == len(set(placed))
    assert target.float_result <= target.anchors | target.followers


def test_weighted_operators_are_anchors(target: Target) -> None:
    assert {"Conv", "Gemm", "MatMul"} <= target.anchors
    assert {"Reshape", "Transpose", "MaxPool"} <= target.keep_scale | target.software


def test_specs(target: Target) -> None:
    for scheme in target.schemes:
        assert scheme.name == f"w{scheme.weight_bits}a{scheme.activation_bits}"
        assert target.scheme(scheme.weight_bits, scheme.activation_bits) is scheme
        activation = scheme.activation_spec()
        assert (activation.bits, activation.axis) == (scheme.activation_bits, None)
        weight = scheme.weight_spec(axis=1)
        assert (weight.bits, weight.axis) == (scheme.weight_bits, 1)
        # unsigned weights stand around 128, as signed ones around 0
        assert weight.signed is not weight.centred
        assert scheme.weight_spec(axis=None).axis is None


def test_eight_bits_come_first(target: Target) -> None:
    assert target.schemes[0].name == "w8a8"
    assert set(target.bits) <= {8, 16} and 8 in target.bits
    for bits in target.bits:
        assert target.activation_spec(bits) == target.scheme(bits, bits).activation_spec()
        assert target.weight_spec(bits, 0) == target.scheme(bits, bits).weight_spec(0)
    assert target.weight_spec(7, 0) == replace(target.weight_spec(8, 0), bits=7)


def test_only_what_is_published_has_weights_of_four_bits(target: Target) -> None:
    if target.name.startswith("TX"):
        has = any(scheme.weight_bits == 4 for scheme in target.schemes)
        assert has == (target.name == "TX5326x")


def test_tx_families_are_symmetric_static_and_fixed_point(target: Target) -> None:
    if not target.name.startswith("TX"):
        return
    assert target.activation_spec(8) == QuantSpec(8, signed=True, symmetric=True)
    assert target.static_shapes
    assert target.fixed_point_outputs
    assert target.shift_range == (0, 31)
    assert target.bits == ((8,) if target.name == "TX510x" else (8, 16))


def test_tx510x_is_the_common_tx_list_less_its_software_layers() -> None:
    common, small = load_target("TX5368x_TX5339x_TX5335x"), load_target("TX510x")
    for key in ("anchors", "followers", "keep_scale"):
        assert getattr(small, key) == getattr(common, key) - small.software
