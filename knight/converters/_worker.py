"""The process in which one conversion runs: ``python -m knight.converters._worker REQUEST.json``.

A framework may bring the process down, write to its terminal or refuse to share it with another framework;
here it can do all that. What happens goes back as lines of JSON through a pipe of its own. The process is
confined (see `_sandbox`), except where it runs a script of the user's, which may do as it likes.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from knight import model as models
from knight.config import QuantConfig
from knight.converters import Conversion, Converter, Source, _sandbox, converters
from knight.converters._fed import Border
from knight.converters._proof import Comparison, prove
from knight.converters._trust import as_refusal
from knight.errors import ConfigError, KnightError
from knight.executor import Executor, RunSettings, call_infer, described
from knight.input_configs import with_input_configs
from knight.listener import Listener
from knight.passes import PassOptions, tidy
from knight.runner import available_threads
from knight.script import find_infer_function

_USER_CALLS = 3
"""Forward calls of the user's infer function that the proof makes."""


@dataclass(frozen=True)
class Request:
    """One conversion to make. result: the ONNX file to write.

    infer: the user's infer function, if any. input_dtypes, mean, std: what the model that it feeds will do at
    its inputs (see `QuantConfig`).
    """

    framework: str
    source: Source
    settings: RunSettings
    infer: str | None
    tolerance: float
    threads: int
    result: str
    input_dtypes: tuple[str | None, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def to_json(self) -> str:
        """As a file can hold it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Request:
        """The inverse of `to_json`."""
        data = json.loads(text)
        source, settings = data.pop("source"), data.pop("settings")
        return cls(
            source=Source(**_tuples(source)), settings=RunSettings(**_tuples(settings)), **_tuples(data)
        )


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    def hashable(value: Any) -> Any:
        return tuple(map(hashable, value)) if isinstance(value, list) else value

    return {key: hashable(value) for key, value in data.items()}


class Events(Listener):
    """Sends what a listener hears, one line of JSON each."""

    def __init__(self, pipe: IO[str]) -> None:
        self._pipe = pipe

    def send(self, kind: str, *arguments: Any) -> None:
        """One event; kinds are the listener's methods, ``done`` and ``error``."""
        self._pipe.write(json.dumps([kind, *arguments]) + "\n")
        self._pipe.flush()

    def work(self, text: str) -> None:
        self.send("work", text)

    def detail(self, text: str) -> None:
        self.send("detail", text)

    def warn(self, text: str) -> None:
        self.send("warn", text)

    def forward(self, done: int, total: int | None) -> None:
        self.send("forward", done, total)


def run(request: Request, listener: Listener) -> dict[str, Any]:
    """Converts, tidies, proves and writes; gives what there is to tell of it. Raises KnightError."""
    converter = converters.get(request.framework)
    require(request.framework, converter)
    listener.work(f"Reading the {converter.title} model")
    conversion = converter.convert(request.source, listener)
    conversion = replace(conversion, model=tidy(conversion.model, PassOptions(threads=request.threads)))
    listener.work(f"Comparing with {converter.title}")
    proof = _prove(request, converter, conversion, listener)
    models.save(conversion.model, Path(request.result))
    return {
        "proof": proof,
        "unproven": conversion.unproven if conversion.reference is None else "",
        "operators": len(conversion.model.graph),
        "opset": models.opset(conversion.model),
    }


def require(framework: str, converter: Converter) -> None:
    """Raises ConfigError where a package that `converter` needs is not installed."""
    missing = [module for module in converter.modules if not _installed(module)]
    if missing:
        wanted = f"'knight-quant[{converter.extra}]'" if converter.extra else " ".join(missing)
        raise ConfigError(
            f"-f {framework} needs {' and '.join(missing)}, not installed here; run: pip install {wanted}"
        )


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a parent package
        return False


def _prove(
    request: Request, converter: Converter, conversion: Conversion, listener: Listener
) -> dict[str, Any] | None:
    if conversion.reference is None:
        listener.warn(f"the conversion is not proven: {conversion.unproven}")
        return None
    threads = available_threads(request.threads)
    comparison = prove(conversion, request.tolerance, request.source.input_shapes, threads)
    if request.infer is not None:
        _compare_on_user_data(request, conversion, comparison, listener)
    comparison.conclude()
    if comparison.proof.undecided:
        listener.warn(
            f"{comparison.proof.undecided} of the proof's samples decide nothing: there the source's own "
            f"outputs jump when its inputs change in the last bits (ties)"
        )
    for name, apart in comparison.proof.rounding.items():
        listener.warn(
            f"output {name!r} is small beside the model's inputs and differs by {apart:.1e}: more than "
            f"{request.tolerance:.0e} of its range, but no more than rounding makes of them"
        )
    return asdict(comparison.proof)


def _compare_on_user_data(
    request: Request, conversion: Conversion, comparison: Comparison, listener: Listener
) -> None:
    infer = find_infer_function(request.infer or "", request.source.script, listener=listener)
    settings = replace(request.settings, iteration=min(_USER_CALLS, request.settings.iteration))
    inputs = comparison.session.inputs
    asked = QuantConfig(input_dtypes=request.input_dtypes, mean=request.mean, std=request.std)
    asked = with_input_configs(asked, settings.input_configs_dict, [info.name for info in inputs], infer)
    border = Border(conversion.model, inputs, asked)

    def forward(feeds: dict[str, Any]) -> list[Any]:
        outputs = comparison.run(border(feeds))
        executor.early_stop_flag = executor.calls + 1 >= settings.iteration
        return outputs

    names = [info.name for info in comparison.session.outputs]
    executor = Executor(forward, border.inputs, names, settings, model=conversion.model, listener=listener)
    call_infer(infer, executor)


def _bytes(source: Source) -> int:
    """Of the model's files, as far as they are there."""
    files = [Path(path) for path in (source.model, source.weights) if path and Path(path).exists()]
    files += [each for folder in files if folder.is_dir() for each in folder.rglob("*")]
    return sum(file.stat().st_size for file in files if file.is_file())


def main(arguments: Sequence[str]) -> int:
    """Reads the request, does it, reports on a pipe.

    arguments: file of the request, numbers of the pipe and of the parent process.
    """
    file, descriptor, parent = arguments
    _sandbox.die_with_parent(int(parent))
    with os.fdopen(int(descriptor), "w", encoding="utf-8") as pipe:
        events = Events(pipe)
        try:
            request = Request.from_json(Path(file).read_text("utf-8"))
            if request.source.script is None:
                _sandbox.confine(Path(request.result).parent, _bytes(request.source))
            events.send("done", run(request, events))
        except KnightError as caught:
            error = as_refusal(caught)
            events.send("error", type(error).__name__, str(error), traceback.format_exc())
            return 1
        except Exception as defect:  # a defect of Knight or of the framework: told like everything else
            text = f"unexpected {described(defect)}; run again with -l 0 for details"
            events.send("error", "KnightError", text, traceback.format_exc())
            return 1
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # what frameworks do at exit (threads, destructors) may still crash a finished run
