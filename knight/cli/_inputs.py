"""What a model is fed, as the options name it: the infer function, and what that may read of the options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from knight.cli._command import extras
from knight.errors import ConfigError
from knight.files import content
from knight.json_keys import parsed

if TYPE_CHECKING:
    from knight.executor import InferFunction, RunSettings
    from knight.listener import Listener
    from knight.script import Chosen


def run_settings(values: dict[str, Any], iteration: int, run_mode: str = "quant") -> RunSettings:
    """What the infer function may read of the user's options.

    Without a folder for results, its own go beside the quantized model, where quant had it put them.
    """
    from knight.executor import RunSettings

    return RunSettings(
        iteration=iteration,
        batch_size=values["batch_size"],
        dataset=values["data"],
        save_dir=values["save_dir"] or str(Path(values["quantized"]).parent),
        run_mode=run_mode,
        user_defined_script=values["user_defined_script"],
        input_configs_dict=input_configs(values["input_configs"]),
        extras=extras(values),
    )


def name_infer_function(values: dict[str, Any], listener: Listener) -> None:
    """Puts into `values` which function and script are meant: infer_default where only input-configs are
    given, and no script for the vendor's own infer_common.py and infer_auto.py, which are built in here; the
    listener is told so.
    """
    from knight.vendor_names import READY_MADE

    name, script = values["infer_func"], values["user_defined_script"]
    module, _, function = name.rpartition(".")
    name = function if module in READY_MADE else name
    absent = Path(script).stem if script is not None and Path(script).suffix == ".py" else ""
    if absent in READY_MADE and not Path(script).exists():
        listener.announce(f"note: there is no {script}; Knight's own {absent} is used")
        values["user_defined_script"] = script = None
    named = module if module in READY_MADE else absent
    if script is None:
        known = {key: task for functions in READY_MADE.values() for key, task in functions.items()}
        name = known.get(name, name)
        if name == "infer_auto" and named != "infer_auto" and values["input_configs"] is not None:
            name = "infer_default"
    values["infer_func"] = name


def infer_function(values: dict[str, Any], listener: Listener) -> InferFunction:
    """What -if names, after `name_infer_function`."""
    return chosen_function(values, listener).function


def chosen_function(values: dict[str, Any], listener: Listener) -> Chosen:
    """What -if names, and whose it is."""
    from knight.script import choose_infer_function

    return choose_infer_function(values["infer_func"], values["user_defined_script"], listener=listener)


def input_configs(given: object) -> tuple[dict[str, Any], ...]:
    """The entries of --input-configs: a JSON file with a list of them, or the list itself."""
    if given is None:
        return ()
    where = "--input-configs" if isinstance(given, list) else f"--input-configs {given}"
    if not isinstance(given, list):
        try:
            text = content(str(given))
        except OSError as error:
            raise ConfigError(f"{where}: {error.strerror}; name a JSON file") from error
        given = parsed(text, f"{where}: ")
    entries = [given] if isinstance(given, dict) else given
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f'{where}: wants a list of objects such as [{{"data_dir": "pictures"}}]')
    return tuple(entries)
