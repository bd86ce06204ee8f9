"""The modules that scripts for the vendor's tool import: what is offered, and when the user's own count."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from knight.cli._inputs import name_infer_function
from knight.errors import ScriptError
from knight.executor import Executor, RunSettings
from knight.listener import SILENT, Listener
from knight.script import choose_infer_function, load_script
from knight.tasks import reader_of, tasks


@pytest.fixture(autouse=True)
def restored_imports() -> Iterator[None]:
    path, finders, modules = list(sys.path), list(sys.meta_path), dict(sys.modules)
    yield
    sys.path[:], sys.meta_path[:] = path, finders
    sys.modules.clear()
    sys.modules.update(modules)


def write(folder: Path, text: str, name: str = "user_script.py") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text), "utf-8")
    return path


REGISTER = "from onnx_quantize_tool.common.register import onnx_infer_func\n"


@pytest.mark.parametrize(
    ("line", "name", "task"),
    [
        ("from infer_common import infer_default", "infer_default", "infer_default"),
        ("import infer_common", "infer_default", "infer_default"),
        ("import infer_common", "infer_common", "infer_default"),
        ("from infer_common import *", "infer_common", "infer_default"),
        ("import infer_auto", "infer_auto", "infer_auto"),
        ("from infer_auto import infer_auto", "infer_auto", "infer_auto"),
    ],
)
def test_a_script_that_only_imports_has_the_ready_made_functions(
    tmp_path: Path, line: str, name: str, task: str
) -> None:
    script = write(tmp_path, line)
    for _ in range(2):  # each time that it is loaded
        chosen = choose_infer_function(name, script)
        assert not chosen.own and chosen.function.__wrapped__ is tasks.get(task)  # type: ignore[attr-defined]
        assert reader_of(chosen.function) is reader_of(tasks.get(task))


def test_a_scripts_own_function_of_that_name_comes_first(tmp_path: Path) -> None:
    text = (
        'import infer_auto\n@onnx_infer_func.register("infer_auto")\ndef mine(executor):\n    return "mine"\n'
    )
    chosen = choose_infer_function("infer_auto", write(tmp_path, REGISTER + text))
    assert chosen.own and chosen.function(None) == "mine"  # type: ignore[arg-type]


def test_a_file_beside_the_script_comes_first(tmp_path: Path) -> None:
    """And only for that script: the next one, elsewhere, has the ready-made one again."""
    text = '@onnx_infer_func.register("infer_default")\ndef infer_default(executor):\n    return "beside"\n'
    write(tmp_path / "one", REGISTER + text, "infer_common.py")
    imports = "from infer_common import infer_default"
    elsewhere = write(tmp_path / "two", imports, "second.py")
    assert not choose_infer_function("infer_default", elsewhere).own
    chosen = choose_infer_function("infer_default", write(tmp_path / "one", imports))
    assert chosen.own and chosen.function(None) == "beside"  # type: ignore[arg-type]


def test_what_a_ready_made_module_lacks_is_named_with_its_line(tmp_path: Path) -> None:
    script = write(tmp_path, "x = 1\nfrom infer_common import get_padding\n")
    with pytest.raises(ScriptError, match=r"user_script.py.*get_padding.*infer_common.*user_script.py:2"):
        load_script(script)


def test_a_function_may_import_when_it_is_called(tmp_path: Path) -> None:
    body = "    import infer_auto\n    return infer_auto.infer_auto\n"
    text = f"@onnx_infer_func.register\ndef late(executor):\n{body}"
    chosen = choose_infer_function("late", write(tmp_path, REGISTER + text))
    assert chosen.function(None).__wrapped__ is tasks.get("infer_auto")  # type: ignore[arg-type, attr-defined]


def test_a_called_function_has_real_numbers_and_the_script_its_own_again(tmp_path: Path) -> None:
    function = choose_infer_function("infer_auto", write(tmp_path, "import infer_auto")).function
    scales = {"y": {"scale": 0.5, "zero_point": 0}}
    seen = []
    executor = Executor(
        lambda feeds: seen.append(executor.output_scales) or [],  # type: ignore[func-returns-value]
        [],
        [],
        RunSettings(),
        output_scales=scales,
    )
    function(executor)
    assert seen == [{}] and executor.output_scales == scales
    with pytest.raises(AttributeError):
        function(object())  # type: ignore[arg-type]


def test_the_vendors_package_beside_the_script_is_looked_in_for_what_knight_lacks(tmp_path: Path) -> None:
    write(tmp_path, "LIMIT = 3\n", "onnx_quantize_tool/utils/base_function.py")
    text = "from onnx_quantize_tool.utils.base_function import LIMIT\n"
    text += "from onnx_quantize_tool.utils.constants import *\n"
    more = "@onnx_infer_func.register\ndef infer(executor):\n    return LIMIT, NP_TYPE_DICT[1]\n"
    registered = load_script(write(tmp_path, REGISTER + text + more))
    assert registered.infer_functions["infer"](None) == (3, np.float32)  # type: ignore[arg-type]


def test_its_constants_beside_the_script_come_first_and_its_decorators_never(tmp_path: Path) -> None:
    ours = "from onnx_quantize_tool.utils.constants import NP_TYPE_DICT as T\n"
    more = '@onnx_infer_func.register("infer")\ndef infer(executor):\n    return T[1]\n'
    write(tmp_path / "theirs", "NP_TYPE_DICT = {1: 'theirs'}\n", "onnx_quantize_tool/utils/constants.py")
    write(tmp_path / "theirs", "raise AssertionError\n", "onnx_quantize_tool/common/register.py")
    results = [
        load_script(write(tmp_path / folder, REGISTER + ours + more)).infer_functions["infer"](None)  # type: ignore[arg-type]
        for folder in ("ours", "theirs", "ours")
    ]
    assert results == [np.float32, "theirs", np.float32]


def test_other_modules_of_the_vendors_are_missing_by_name(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"No module named 'onnx_quantize_tool.core'.*user_script.py:1"):
        load_script(write(tmp_path, "import onnx_quantize_tool.core\n"))


@pytest.mark.parametrize(
    ("infer", "script", "configs", "wanted"),
    [
        ("infer_auto", "/opt/Quantize/onnx_examples/infer_auto.py", None, ("infer_auto", None)),
        ("infer_auto.infer_auto", "gone/infer_auto.py", [{}], ("infer_auto", None)),
        ("infer_auto", "gone/infer_common.py", [{}], ("infer_default", None)),
        ("infer_common", "gone/infer_common.py", None, ("infer_default", None)),
        ("infer_common", None, [{}], ("infer_default", None)),
        ("infer_common.infer_default", "gone/other.py", [{}], ("infer_default", "gone/other.py")),
        ("infer_cls", "gone/infer_common.py", [{}], ("infer_cls", None)),
        ("infer_auto", None, [{}], ("infer_default", None)),
        ("my.infer", "gone/other.py", None, ("my.infer", "gone/other.py")),
    ],
)
def test_what_if_and_uds_mean_together(
    infer: str, script: str | None, configs: object, wanted: tuple[str, str | None]
) -> None:
    values: dict[str, Any] = {
        **{"infer_func": infer, "user_defined_script": script, "input_configs": configs}
    }
    heard: list[str] = []
    listener = Listener()
    listener.announce = heard.append  # type: ignore[method-assign]
    name_infer_function(values, listener)
    assert (values["infer_func"], values["user_defined_script"]) == wanted
    assert len(heard) == (script is not None and wanted[1] is None)
    assert all(script in text for text in heard if script)


def test_a_file_of_that_name_is_the_users_own(tmp_path: Path) -> None:
    script = str(write(tmp_path, REGISTER, "infer_common.py"))
    values: dict[str, Any] = {
        **{"infer_func": "infer_common", "user_defined_script": script, "input_configs": [{}]}
    }
    name_infer_function(values, SILENT)
    assert (values["infer_func"], values["user_defined_script"]) == ("infer_common", script)
