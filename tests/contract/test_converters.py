"""Every converter goes through the same checks. Frameworks are only loaded in processes of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from knight.cli._flags import CONVERT
from knight.cli.convert import _FIELDS
from knight.conversion import convert, name_of
from knight.converters import Converter, Source, converters
from knight.errors import ConfigError, KnightError, ModelError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

names = pytest.mark.parametrize("name", converters.names())

FRAMEWORKS = ("torch", "tensorflow", "tf2onnx", "paddle", "paddle2onnx", "cv2", "keras")

SPOILT: dict[str, Callable[[Path], object]] = {
    "nothing there": lambda path: None,
    "an empty file": lambda path: path.touch(),
    "a file of another kind": lambda path: path.write_bytes(b"\x00\x01 no model \xff and no text\n" * 40),
    "an empty folder": lambda path: path.mkdir(),
}


def test_the_documented_frameworks_are_known() -> None:
    assert {"onnx", "pytorch", "caffe", "paddle", "tensorflow"} <= set(converters.names())


@names
def test_it_tells_what_it_is(name: str) -> None:
    converter = converters.get(name)
    assert isinstance(converter, Converter)
    for word in (converter.title, converter.verb):
        assert word and word == word.strip() and "\n" not in word
    assert converter.modules
    assert callable(converter.convert)


def test_titles_and_verbs_belong_to_one_framework_only() -> None:
    for what in ("title", "verb", "extra"):
        said = [getattr(converters.get(name), what) for name in converters.names()]
        assert len(set(said)) == len(said)


@names
def test_what_it_reads_are_options_of_the_command_line(name: str) -> None:
    flags = converters.get(name).flags
    assert flags <= {field.name for field in fields(Source)} - {"model"}
    options = {flag.key for flag in CONVERT}
    assert {_FIELDS[flag] for flag in flags - {"script"}} <= options


@names
def test_its_extra_is_one_of_the_project(name: str) -> None:
    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text())["project"]
    converter = converters.get(name)
    needs_nothing = {re.split(r"\W", text)[0] for text in project["dependencies"]} | sys.stdlib_module_names
    assert converter.extra in project["optional-dependencies"] or set(converter.modules) <= needs_nothing


@names
def test_to_get_it_imports_no_framework(name: str) -> None:
    code = (
        "import sys; from knight.converters import converters; "
        f"converters.get({name!r}); print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & set(FRAMEWORKS)


@pytest.mark.parametrize("spoilt", SPOILT)
@names
def test_what_is_no_model_is_told_in_one_line_that_names_it(name: str, spoilt: str, tmp_path: Path) -> None:
    path = tmp_path / "some model.bin"
    SPOILT[spoilt](path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(KnightError) as caught:
        convert(name, Source(str(path)))
    assert isinstance(caught.value, (ModelError, ConfigError))
    assert "\n" not in str(caught.value)
    assert "some model" in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


@names
def test_results_are_named_after_what_the_user_named(name: str, tmp_path: Path) -> None:
    assert name_of(name, Source(str(tmp_path / "net.v2.bin"))) == "net.v2"
    assert name_of(name, Source(str(tmp_path / "net" / "__model__"))) == "net"
    registered = Source("some_model", script="models.py")
    assert name_of(name, registered) == "some_model"
