"""Loading of target files: names, paths, inheritance, plugins, and every kind of bad file."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from knight import registry, targets
from knight.entry_points import EntryPoint
from knight.errors import ConfigError
from knight.registry import FileRegistry
from knight.targets import Scheme, Target, _file, families, load_target
from knight.types import QuantSpec

ANCHORS = '[operators]\nanchors = ["Conv"]\n'


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "my_chip.toml") -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def test_keys_and_fields_are_the_same_set() -> None:
    assert set(_file.fields({"operators": {"anchors": ["Conv"]}}, "x")) == {
        field.name for field in fields(Target) if field.name not in ("name", "chip")
    }
    for table, before in ((_file.Activation, "activation_"), (_file.Weight, "weight_")):
        of_scheme = {field.name for field in fields(Scheme) if field.name.startswith(before)}
        assert {before + key for key in table.__struct_fields__} == of_scheme - {before + "bits"}


def test_user_file_extends_a_chip_and_changes_one_key(write) -> None:
    target = load_target(write('extends = "tx5368av200"\n[weight]\nper_channel = false\n'))
    base = load_target("TX5368AV200")
    assert (target.name, target.chip, target.chips) == ("my_chip", "my_chip", ())
    assert target.weight_spec(8, axis=0).axis is None
    assert base.weight_spec(8, axis=0).axis == 0
    assert target.anchors == base.anchors
    assert target.source == ""  # what a file says of itself is not inherited


def test_user_file_extends_a_file_beside_it(write) -> None:
    write('extends = "onnxruntime"\nschemes = ["w8a8", "w16a16"]\n', "base.toml")
    target = load_target(write('extends = "base.toml"\n[model]\nopset = 19\n'))
    assert (target.bits, target.opset, target.runtime) == ((8, 16), 19, "onnxruntime")


class TestSchemes:
    """What a chip says of single widths and operators."""

    TEXT = """
schemes = ["w8a8", "w4a8", "w16a16"]
[activation]
signed = false
symmetric = false
[scheme.w16a16.activation]
signed = true
symmetric = true
[scheme.w4a8.weight]
block_size = 32
[operators]
anchors = ["Conv", "LSTM", "Gemm"]
[widths]
LSTM = ["w16a16"]
"""

    def test_state_facts_of_their_own(self, write) -> None:
        target = load_target(write(self.TEXT))
        eight, four, sixteen = target.schemes
        assert eight == Scheme("w8a8", 8, 8, activation_signed=False, activation_symmetric=False)
        assert four == replace(eight, name="w4a8", weight_bits=4, weight_block_size=32)
        assert sixteen == Scheme("w16a16", 16, 16)
        assert four.weight_spec(1) == QuantSpec(4, axis=1, block_size=32)
        assert eight.weight_spec(0, bits=7) == QuantSpec(7, axis=0)
        assert target.bits == (8, 16)

    def test_are_found_by_their_widths(self, write) -> None:
        target = load_target(write(self.TEXT))
        assert target.scheme(4, 8, "Conv").name == "w4a8"
        assert target.scheme(16, 16, "LSTM").name == "w16a16"
        with pytest.raises(ConfigError, match="my_chip has no w4a16; it has w8a8, w4a8, w16a16"):
            target.scheme(4, 16)
        with pytest.raises(ConfigError, match="my_chip has no w8a8 for LSTM, which it runs as w16a16"):
            target.scheme(8, 8, "LSTM")

    def test_are_inherited_fact_by_fact(self, write) -> None:
        write(self.TEXT, "base.toml")
        own = "[scheme.w4a8.weight]\nnarrow = true\n[scheme.w16a16.weight]\nsigned = false"
        eight, four, sixteen = load_target(write(f'extends = "base.toml"\n{own}')).schemes
        assert (four.weight_narrow, four.weight_block_size, eight.weight_narrow) == (True, 32, False)
        assert (sixteen.activation_signed, sixteen.weight_signed) == (True, False)

    def test_that_a_file_does_not_list_keep_their_facts_elsewhere(self, write) -> None:
        write(self.TEXT, "base.toml")
        target = load_target(write('extends = "base.toml"\nschemes = ["w4a8", "w16a16"]'))
        assert [scheme.name for scheme in target.schemes] == ["w4a8", "w16a16"] and target.bits == (16,)
        narrowed = write('extends = "base.toml"\nschemes = ["w8a8"]\n[widths]\nLSTM = ["w8a8"]')
        assert load_target(narrowed).scheme(8, 8, "LSTM").weight_block_size is None


def test_blocks_that_are_inherited_do_not_go_with_one_scale_per_tensor(write) -> None:
    one = 'extends = "generic"\n{}[weight]\nper_channel = false\n'
    with pytest.raises(
        ConfigError, match=r"my_chip.toml: scheme\.w4a8\.weight\.block_size goes with per_channel"
    ):
        load_target(write(one.format("")))
    assert load_target(write(one.format('schemes = ["w8a8"]\n'))).weight_spec(8, 0).axis is None


def test_file_without_suffix_is_found_as_a_path(write) -> None:
    path = write('extends = "generic"\n', "board")
    assert load_target(path).name == "board"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("anchors = what", ["not valid TOML", "line 1"]),
        ("speed = 3", ["speed: unknown key: known: ", "model.opset"]),
        ("opset = 20", ["opset: unknown key: did you mean 'model.opset'?"]),
        ('[operators]\nanchor = ["Conv"]', ["operators.anchor: unknown key: did you mean 'anchors'?"]),
        ('[operators]\nanchors = "Conv"', ["operators.anchors", "list of texts"]),
        ('[operators]\nanchors = ["Conv", 3]', ["operators.anchors[1]: is 3; it has to be a text"]),
        ('[operators]\nanchors = ["Conv", "Conv"]', ["operators.anchors", "Conv twice"]),
        ('[operators]\nanchors = ["Conv"]\nfollowers = ["Conv"]', ["Conv stands in", "followers"]),
        ('[operators]\nanchors = ["Conv"]\nfloat_result = ["Add"]', ["float_result names Add"]),
        ('schemes = ["w8a8"]', ["operators.anchors is empty"]),
        ('schemes = ["w7a8"]', ['schemes[0]: is "w7a8"; it has to be a scheme such as w8a8: the bits of']),
        ("schemes = 8", ["schemes: is 8; it has to be a list of schemes"]),
        ("schemes = []", ["schemes: is []; it has to be a list of schemes"]),
        ("[activation]\nsigned = 1", ["activation.signed: is 1; it has to be true or false"]),
        ("[model]\nopset = 99", ["model.opset: is 99; it has to be a whole number from 13 to 26"]),
        ("[model]\nopset = true", ["model.opset: is true"]),
        ('runtime = "cuda"', ['runtime: is "cuda"; it has to be "onnxruntime", or "" where']),
        (
            "[requantization]\nshift_range = [5, 1]",
            ["requantization.shift_range: is [5, 1]; it has to be two"],
        ),
        ("[requantization]\nshift_range = [5]", ["requantization.shift_range: is [5]; it has to be two"]),
        ("[requantization]\nshift_range = [false, true]", ["shift_range"]),
        ("description = 3", ["description: is 3; it has to be a text"]),
        ("source = 2026-01-01", ['source: is "2026-01-01"; it has to be a text']),
        ("activation = 3", ["activation: is 3; it has to be a table"]),
        ("[weight]\nblock_size = 1", ["weight.block_size: is 1; it has to be a whole number of at least 2"]),
        (
            "[weight]\nblock_size = 32\nper_channel = false",
            ["weight.block_size goes with per_channel = true"],
        ),
        (
            "[scheme.w8a8.weight]\nsined = true",
            ["scheme.w8a8.weight.sined: unknown key: did you mean 'signed'"],
        ),
        ("[scheme.w8a8.weight]\nsigned = 2", ["scheme.w8a8.weight.signed: is 2; it has to be true or false"]),
        ("[scheme.w4a8.weight]\nsigned = true", ["scheme.w4a8: w4a8 is not among schemes (w8a8)"]),
        ("[widths]\nLSTM = 16", ["widths.LSTM: is 16; it has to be a list of schemes"]),
        (f'{ANCHORS}[widths]\nConv = ["w16a16"]', ["widths.Conv: w16a16 is not among schemes (w8a8)"]),
        (
            f'{ANCHORS}[widths]\nConf = ["w8a8"]',
            ["widths.Conf: does not run as integers: did you mean 'Conv'"],
        ),
        ('extends = "onnxruntim"', ["'onnxruntim'", "did you mean 'onnxruntime'"]),
        ('extends = "my_chip.toml"', ["extends itself"]),
        ('extends = "absent.toml"', ["absent.toml", "No such file"]),
    ],
)
def test_bad_file_is_named_with_its_key(write, text: str, words: list[str]) -> None:
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        load_target(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in ("my_chip.toml" if "absent" not in text else "absent", *words):
        assert word in message


def test_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "chip.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_target(str(path))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("TX5368AV201", "did you mean 'TX5368AV200'"),
        ("tensort", "did you mean 'tensorrt'"),
        ("qqq", "known: TX5101C, "),
        ("./absent.toml", "absent.toml: no such file"),
    ],
)
def test_unknown_target(name: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_target(name)
    assert words in str(caught.value)


class TestPlugins:
    """A family that another distribution brings."""

    @pytest.fixture
    def install(self, monkeypatch: pytest.MonkeyPatch, write):
        def install(name: str) -> None:
            path = write('extends = "generic"\nchips = ["Q1"]\nsource = "its maker"\n')
            entry = EntryPoint("knight.targets", name, "plugin:FILE", "quux-chips 1.0")
            monkeypatch.setattr(EntryPoint, "load", lambda self: path)
            monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
            monkeypatch.setattr(
                targets, "targets", FileRegistry("target", "knight.targets", "knight.targets", ".toml")
            )

        return install

    def test_is_found_by_family_and_chip(self, install) -> None:
        install("quux")
        assert "quux" in families()
        assert load_target("q1").name == "quux"
        assert load_target("QUUX").anchors == load_target("generic").anchors

    def test_must_not_repeat_a_name(self, install) -> None:
        install("generic")
        with pytest.raises(
            ConfigError, match=r"'generic' is defined twice: by Knight .* quux-chips 1.0 \(plug"
        ):
            load_target("generic")
        assert load_target("TX5368AV200").chip == "TX5368AV200", "what does not need it goes on"
