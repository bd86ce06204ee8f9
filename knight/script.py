"""Loads a user script and gives what its decorators registered.

A script written for the vendor's tool runs as it is: `load_script` offers the modules of that tool to it (see
`vendor_names`), and the script's folder is importable. A decorator records only while a script is being
loaded; at any other time it hands the function back, so that the same file can be imported and tested by
itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NoReturn, TypeVar, overload

from knight.errors import ConfigError, ScriptError, did_you_mean
from knight.executor import InferFunction, described, place
from knight.files import content
from knight.listener import SILENT, Listener
from knight.tasks import tasks
from knight.vendor_names import lacking, offer

_UTF8 = "it is not in UTF-8: save it so, or name its encoding in the first line, as in # -*- coding: gbk -*-"

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Registered:
    """The functions of one script, by the names it gave them.

    imported: ready-made infer functions, of the vendor's modules that it imports.
    """

    infer_functions: dict[str, InferFunction] = field(default_factory=dict)
    pytorch_models: dict[str, Callable[..., Any]] = field(default_factory=dict)
    imported: dict[str, InferFunction] = field(default_factory=dict)


_loading: ContextVar[Registered | None] = ContextVar("knight_loading", default=None)


class ScriptRegistry:
    """A decorator by which scripts hand functions of one kind to Knight."""

    def __init__(self, kind: str, section: str) -> None:
        """`kind` names the functions in messages; `section` is their field of `Registered`."""
        self.kind = kind
        self.section = section

    @overload
    def register(self, name: F) -> F: ...

    @overload
    def register(self, name: str | None = None) -> Callable[[F], F]: ...

    def register(self, name: Any = None) -> Any:
        """``@register("name")``, or ``@register()`` and ``@register`` under the function's own name.

        Raises ScriptError when the script already registered that name.
        """
        if callable(name):
            return self._add(name.__name__, name)
        return lambda function: self._add(name or function.__name__, function)

    def __call__(self, *words: object, **more: object) -> NoReturn:
        """Always raises ScriptError: it is `register` that decorates."""
        raise ScriptError(
            f'the decorator of {self.kind}s is used without its name; write .register("NAME") behind it'
        )

    def _add(self, name: str, function: F) -> F:
        registered = _loading.get()
        if registered is not None:
            functions: dict[str, Any] = getattr(registered, self.section)
            if name in functions:
                raise ScriptError(
                    f"{self.kind} {name!r} is registered twice: at {place(None, functions[name])} "
                    f"and at {place(None, function)}; rename one"
                )
            functions[name] = function
        return function


onnx_infer_func = ScriptRegistry("infer function", "infer_functions")
"""Decorator ``@onnx_infer_func.register("name")``: the infer function that ``-if name`` means."""
pytorch_model = ScriptRegistry("PyTorch model", "pytorch_models")
"""Decorator ``@pytorch_model.register("name")``: a function that makes the model that ``-m name`` means."""


def make_importable(folder: Path) -> None:
    """The modules of `folder`, the resolved one of a script, and the vendor's that they may import."""
    offer({"onnx_infer_func": onnx_infer_func, "pytorch_model": pytorch_model}, folder, _note_import)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))  # stays: functions may import when they are called


def load_script(path: str | Path) -> Registered:
    """Runs the Python file `path` and returns what it registered.

    Raises ScriptError when it is missing, is no Python, fails while it runs, or registers nothing.
    """
    path = Path(path)
    if path.is_dir():
        raise ScriptError(f"script {path}: is a folder; name the .py file in it")
    try:
        source = content(path)
    except FileNotFoundError:
        raise ScriptError(f"script {path}: no such file") from None
    except OSError as error:
        raise ScriptError(f"script {path}: cannot be read ({error.strerror})") from None
    path = path.resolve()
    code = _compile(source, path)
    before = _earlier(path)
    make_importable(path.parent)
    with _collecting() as registered:
        module = _run(code, path)
    if before is not None:
        _keep_imported(registered, before)
    module.__dict__[_RECORD] = registered
    if not (registered.infer_functions or registered.pytorch_models or registered.imported):
        raise ScriptError(
            f"script {path}: registers nothing; "
            f'put @onnx_infer_func.register("NAME") above its infer function'
        )
    return registered


def _note_import(functions: Mapping[str, InferFunction]) -> None:
    registered = _loading.get()
    if registered is not None:
        registered.imported.update(functions)


@contextmanager
def _collecting() -> Iterator[Registered]:
    registered = Registered()
    token = _loading.set(registered)
    try:
        yield registered
    finally:
        _loading.reset(token)


def _compile(source: bytes, path: Path) -> CodeType:
    try:
        return compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        line = error.lineno or 1
        hint = "" if _is_utf8(source) else f"; {_UTF8}"
        raise ScriptError(f"script {path}:{line}: not valid Python: {error.msg}{hint}") from error
    except ValueError as error:  # a zero byte, before Python 3.12
        raise ScriptError(f"script {path}: not a Python file: {error}") from error


def _is_utf8(source: bytes) -> bool:
    try:
        source.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _run(code: CodeType, path: Path) -> ModuleType:
    name = path.stem if path.stem.isidentifier() and path.stem not in sys.modules else f"_script_{path.stem}"
    spec = spec_from_file_location(name, path)
    if spec is None:  # the file does not end in .py
        module = ModuleType(name)
        module.__file__ = str(path)
    else:
        module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look it up there
    try:
        exec(code, module.__dict__)
    except ScriptError as error:
        raise ScriptError(f"script {path}: {error}") from error
    except SyntaxError as error:  # of a module that the script imports
        raise ScriptError(
            f"script {path}: imports {error.filename}:{error.lineno}, which is not valid Python: {error.msg}"
        ) from error
    except SystemExit as error:
        raise ScriptError(
            f"script {path}: called sys.exit({error.code}) while being loaded ({place(error, script=path)}); "
            f'put what a script does by itself under if __name__ == "__main__"'
        ) from error
    except Exception as error:
        raise ScriptError(
            f"script {path}: raised {described(error)} ({place(error, script=path)}){lacking(error)}"
        ) from error
    return module


_RECORD = "__knight_registered__"
"""Name in the module of a script: what was registered while it was loaded."""


def _earlier(path: Path) -> ModuleType | None:
    """The module of this script as it was loaded before."""
    modules = [module for module in sys.modules.values() if type(module) is ModuleType]
    found = [
        module for module in modules if _RECORD in vars(module) and vars(module)["__file__"] == str(path)
    ]
    return found[-1] if found else None


def _keep_imported(registered: Registered, before: ModuleType) -> None:
    """Adds what modules registered that the script imports: Python ran them only the first time."""
    record: Registered = vars(before)[_RECORD]
    for section in ("infer_functions", "pytorch_models"):
        now: dict[str, Any] = getattr(registered, section)
        for name, function in getattr(record, section).items():
            if getattr(function, "__module__", None) != before.__name__:
                now.setdefault(name, function)


@dataclass(frozen=True)
class Chosen:
    """An infer function. own: it is the user's, and none of `knight.tasks`."""

    function: InferFunction
    own: bool


def find_infer_function(
    name: str, script: str | Path | None = None, *, listener: Listener = SILENT
) -> InferFunction:
    """The infer function called `name`: the script's own, else one of `knight.tasks`.

    Raises ConfigError with the nearest names where neither has it, ScriptError for a script that cannot be
    used. Warns when a script's functions go unused.
    """
    return choose_infer_function(name, script, listener=listener).function


def choose_infer_function(
    name: str, script: str | Path | None = None, *, listener: Listener = SILENT
) -> Chosen:
    """As `find_infer_function`; and whose it is."""
    if script is None:
        if name in tasks.names():
            return Chosen(tasks.get(name), own=False)
        raise ConfigError(
            f"infer function {name!r} is not built in ({did_you_mean(name, tasks.names())}); "
            f"name the script that registers it with -uds"
        )
    registered = load_script(script)
    functions = registered.infer_functions
    if name in functions:
        return Chosen(functions[name], own=True)
    if name in registered.imported:
        return Chosen(registered.imported[name], own=False)
    if name in tasks.names():
        if functions:
            listener.warn(
                f"the built-in {name} is used, not the script's own {', '.join(sorted(functions))}; "
                f"choose with -if"
            )
        return Chosen(tasks.get(name), own=False)
    if not functions:
        raise ConfigError(f"script {script}: registers no infer function, and {name!r} is not built in")
    raise ConfigError(
        f"script {script}: registers no infer function {name!r}: {did_you_mean(name, functions)}"
    )
