"""Loading of target files: names, paths, inheritance, plugins, and every kind of bad file."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from knight import registry, targets
from knight.entry_points import EntryPoint
from knight.errors import ConfigError
from knight.registry import FileRegistry
from knight.targets import Target, _file, families, load_target


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "my_chip.toml") -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def test_keys_and_fields_are_the_same_set() -> None:
    from_keys = {name for name, _ in _file.KEYS.values()}
    from_fields = {field.name for field in fields(Target)}
    assert from_keys - {"extends"} == from_fields - {"name", "chip"}


def test_user_file_extends_a_chip_and_changes_one_key(write) -> None:
    target = load_target(write('extends = "tx5368av200"\n[weight]\nper_channel = false\n'))
    base = load_target("TX5368AV200")
    assert (target.name, target.chip, target.chips) == ("my_chip", "my_chip", ())
    assert target.weight_spec(8, axis=0).axis is None
    assert base.weight_spec(8, axis=0).axis == 0
    assert target.anchors == base.anchors
    assert target.source == ""  # what a file says of itself is not inherited


def test_user_file_extends_a_file_beside_it(write) -> None:
    write('extends = "onnxruntime"\nbits = [8, 16]\n', "base.toml")
    target = load_target(write('extends = "base.toml"\n[model]\nopset = 19\n'))
    assert (target.bits, target.opset, target.runtime) == ((8, 16), 19, "onnxruntime")


def test_file_without_suffix_is_found_as_a_path(write) -> None:
    path = write('extends = "generic"\n', "board")
    assert load_target(path).name == "board"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("anchors = what", ["not valid TOML", "line 1"]),
        ("speed = 3", ["unknown key 'speed'"]),
        ('[operators]\nanchor = ["Conv"]', ["unknown key 'operators.anchor'", "'operators.anchors'"]),
        ('[operators]\nanchors = "Conv"', ["operators.anchors", "list of texts"]),
        ('[operators]\nanchors = ["Conv", "Conv"]', ["operators.anchors", "Conv twice"]),
        ('[operators]\nanchors = ["Conv"]\nfollowers = ["Conv"]', ["Conv stands in", "followers"]),
        ('[operators]\nanchors = ["Conv"]\nfloat_result = ["Add"]', ["float_result names Add"]),
        ("bits = [8]", ["operators.anchors is empty"]),
        ("bits = [7]", ["bits = [7]", "8 and 16"]),
        ("bits = 8", ["bits = 8", "list"]),
        ("[activation]\nsigned = 1", ["activation.signed = 1", "true or false"]),
        ("[model]\nopset = 99", ["model.opset = 99", "from 13 to 26"]),
        ("[model]\nopset = true", ["model.opset = True"]),
        ('runtime = "cuda"', ["runtime = 'cuda'", "onnxruntime"]),
        ("[requantization]\nshift_range = [5, 1]", ["shift_range = [5, 1]"]),
        ("[requantization]\nshift_range = [false, true]", ["shift_range"]),
        ("description = 3", ["description = 3", "text"]),
        ("activation = 3", ["unknown key 'activation'"]),
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
