"""Loading user scripts: the vendor's names, what is registered, what is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

import knight
from knight.errors import ConfigError, ScriptError
from knight.listener import Listener
from knight.script import find_infer_function, load_script, onnx_infer_func, pytorch_model
from knight.tasks import infer_auto


@pytest.fixture(autouse=True)
def restored_imports() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, text: str, name: str = "user_script.py") -> Path:
    path = folder / name
    path.write_text(dedent(text), "utf-8")
    return path


HELPER = """
    from onnx_quantize_tool.common.register import onnx_infer_func, pytorch_model

    @onnx_infer_func.register("of_the_helper")
    def infer(executor):
        pass

    @pytorch_model.register("net_of_the_helper")
    def net(weight_path=None):
        pass
"""
VENDOR = """
    from onnx_quantize_tool.common.register import onnx_infer_func, pytorch_model
    from onnx_quantize_tool.utils.constants import *

    @ onnx_infer_func.register("infer_one")
    def infer_one(executor):
        return NP_TYPE_DICT[1]

    @pytorch_model.register("net")
    def net(weight_path=None):
        return {"model": None, "inputs": []}
"""


def test_a_script_for_the_vendors_tool(tmp_path: Path) -> None:
    registered = load_script(write(tmp_path, VENDOR))
    assert set(registered.infer_functions) == {"infer_one"}
    assert set(registered.pytorch_models) == {"net"}
    assert registered.infer_functions["infer_one"](None) is np.float32  # type: ignore[arg-type]


def test_the_vendors_names_are_there_only_once_a_script_was_loaded(tmp_path: Path) -> None:
    sys.modules.pop("onnx_quantize_tool", None)
    with pytest.raises(ImportError):
        __import__("onnx_quantize_tool")
    load_script(write(tmp_path, VENDOR))
    __import__("onnx_quantize_tool.common.register")


@pytest.mark.parametrize("decorator", ["@onnx_infer_func.register()", "@onnx_infer_func.register"])
def test_our_own_name_and_a_bare_decorator(tmp_path: Path, decorator: str) -> None:
    script = write(tmp_path, f"from knight import onnx_infer_func\n{decorator}\ndef mine(executor): ...\n")
    assert set(load_script(script).infer_functions) == {"mine"}


def test_the_decorator_gives_the_function_back(tmp_path: Path) -> None:
    @onnx_infer_func.register("other")
    def mine(executor: object) -> int:
        return 3

    assert mine(None) == 3
    assert knight.pytorch_model is pytorch_model


def test_scripts_do_not_see_each_others_functions(tmp_path: Path) -> None:
    first = write(tmp_path, VENDOR, "first.py")
    second = write(tmp_path, VENDOR.replace("infer_one", "infer_two"), "second.py")
    load_script(first)
    assert set(load_script(second).infer_functions) == {"infer_two"}
    assert set(load_script(first).infer_functions) == {"infer_one"}


def test_the_scripts_folder_is_importable_also_later(tmp_path: Path) -> None:
    write(tmp_path, "answer = 42", "helper_beside.py")
    script = write(
        tmp_path,
        """
        from knight import onnx_infer_func
        @onnx_infer_func.register("late")
        def late(executor):
            import helper_beside
            return helper_beside.answer
        """,
    )
    assert load_script(script).infer_functions["late"](None) == 42  # type: ignore[arg-type]


def test_dataclasses_and_file_work(tmp_path: Path) -> None:
    script = write(
        tmp_path,
        """
        from __future__ import annotations
        from dataclasses import dataclass
        from knight import onnx_infer_func
        @dataclass
        class Box:
            size: int
        @onnx_infer_func.register("where")
        def where(executor):
            return (__file__, __name__, Box(1).size)
        """,
        "json.py",  # the name of a module that is imported already
    )
    file, name, size = load_script(script).infer_functions["where"](None)  # type: ignore[misc, arg-type]
    assert (file, size) == (str(script), 1) and name not in ("json", "__main__")
    assert sys.modules["json"].__file__ != str(script)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:", r"user_script\.py:1: not valid Python"),
        ("x = 1\n\x00", "not (a|valid) Python"),
        ("import knight\nraise KeyError('a')", r"raised KeyError: 'a' \(.*user_script\.py:2\)"),
        ("import no_such_package_at_all", r"ModuleNotFoundError.*user_script\.py:1"),
        ("import sys\nsys.exit(2)", r"called sys\.exit\(2\)"),
        ("x = 1", "registers nothing"),
        (
            "from onnx_quantize_tool.common.quantizer import Quant",
            r"No module named 'onnx_quantize_tool\.common\.quantizer'.*; of the vendor's tool there .*NP_T",
        ),
        (
            "from onnx_quantize_tool.common.register import infer",
            "import name 'infer'.*the vendor's tool there are",
        ),
        (
            "from infer_common import infer_detect",
            "import name 'infer_detect'.*infer_default of infer_common",
        ),
        (
            "from knight import onnx_infer_func\n@onnx_infer_func('a')\ndef a(executor): ...",
            r'used without its name; write \.register\("NAME"\) behind it',
        ),
        (
            "from knight import pytorch_model\n@pytorch_model\ndef a(): ...",
            r"decorator of PyTorch models is used without its name; write \.register",
        ),
        (
            "from knight import onnx_infer_func as f\nfor _ in range(2):\n    f.register('a')(print)",
            "'a' is registered twice",
        ),
    ],
)
def test_refusals(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ScriptError, match=said):
        load_script(write(tmp_path, text))


def test_a_script_that_is_not_in_utf_8(tmp_path: Path) -> None:
    """As editors of its users save it: Python wants its encoding named."""
    path = tmp_path / "user_script.py"
    text = "said = '\u7cbe\u5ea6'\nfrom knight import onnx_infer_func\nonnx_infer_func.register('a')(print)\n"
    path.write_bytes(text.encode("gbk"))
    with pytest.raises(ScriptError, match="not in UTF-8: save it so, or name its encoding in the first line"):
        load_script(path)
    path.write_bytes(f"# -*- coding: gbk -*-\n{text}".encode("gbk"))
    assert list(load_script(path).infer_functions) == ["a"]
    path.write_text("x = 'C:\\Users'\n")
    with pytest.raises(ScriptError, match="not valid Python") as caught:
        load_script(path)
    assert "UTF-8" not in str(caught.value)


def test_an_error_in_a_library_is_placed_in_the_users_file(tmp_path: Path) -> None:
    text = "import numpy as np\n\n\nx = np.zeros(3).reshape(2, 2)\n"
    with pytest.raises(ScriptError, match=r"user_script\.py:4\)"):
        load_script(write(tmp_path, text))
    text = "import json\njson.loads('{')\n"
    with pytest.raises(ScriptError, match=r"user_script\.py:2\)"):
        load_script(write(tmp_path, text))


def test_a_failed_load_leaves_the_registry_closed(tmp_path: Path) -> None:
    with pytest.raises(ScriptError):
        load_script(write(tmp_path, "raise ValueError"))
    onnx_infer_func.register("a")(print)
    onnx_infer_func.register("a")(print)  # nobody collects, so nothing is registered twice


def test_ctrl_c_goes_through(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_script(write(tmp_path, "raise KeyboardInterrupt"))


class Warnings(Listener):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def warn(self, text: str) -> None:
        self.texts.append(text)


def test_find_built_in() -> None:
    assert find_infer_function("infer_auto") is infer_auto.infer
    with pytest.raises(ConfigError, match=r"not built in \(did you mean 'infer_auto'.*-uds"):
        find_infer_function("infer_autos")


def test_find_in_the_script(tmp_path: Path) -> None:
    script = write(tmp_path, VENDOR)
    assert find_infer_function("infer_one", script).__name__ == "infer_one"
    with pytest.raises(ConfigError, match="did you mean 'infer_one'"):
        find_infer_function("infer_on", script)


def test_the_scripts_own_infer_auto_comes_first(tmp_path: Path) -> None:
    heard = Warnings()
    script = write(tmp_path, VENDOR.replace("infer_one", "infer_auto"))
    assert find_infer_function("infer_auto", script, listener=heard) is not infer_auto.infer
    assert not heard.texts


def test_a_script_whose_functions_go_unused_is_told(tmp_path: Path) -> None:
    heard = Warnings()
    assert find_infer_function("infer_auto", write(tmp_path, VENDOR), listener=heard) is infer_auto.infer
    assert heard.texts and "infer_one" in heard.texts[0]


def test_a_script_of_pytorch_models_alone(tmp_path: Path) -> None:
    text = "from knight import pytorch_model\n@pytorch_model.register()\ndef net(): ...\n"
    with pytest.raises(ConfigError, match="registers no infer function"):
        find_infer_function("infer_x", write(tmp_path, text))


@pytest.mark.parametrize("own", ["", VENDOR])
def test_a_script_loaded_again_has_what_its_modules_registered(tmp_path: Path, own: str) -> None:
    """Python runs a module once; `knight build` loads a script for every step."""
    write(tmp_path, HELPER, "helper_of_it.py")
    script = write(tmp_path, "import helper_of_it\n" + dedent(own))
    first, second, third = (load_script(script) for _ in range(3))
    names = {"of_the_helper"} | ({"infer_one"} if own else set())
    assert set(first.infer_functions) == set(second.infer_functions) == set(third.infer_functions) == names
    assert second.infer_functions["of_the_helper"] is first.infer_functions["of_the_helper"]
    assert "net_of_the_helper" in third.pytorch_models
    if own:
        assert second.infer_functions["infer_one"] is not first.infer_functions["infer_one"]


def test_what_a_script_itself_no_longer_registers_is_gone(tmp_path: Path) -> None:
    write(tmp_path, HELPER, "helper_of_it.py")
    script = write(tmp_path, "import helper_of_it\n" + dedent(VENDOR))
    load_script(script)
    write(tmp_path, "import helper_of_it\n")
    assert set(load_script(script).infer_functions) == {"of_the_helper"}
    assert set(load_script(script).infer_functions) == {"of_the_helper"}
