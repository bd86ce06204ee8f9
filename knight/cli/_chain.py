"""What a step of ``knight build`` takes from the steps before it, where its own section does not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from knight.cli._flags import SAVE_DIR
from knight.errors import ConfigError

Values = dict[str, Any]
"""Parameter -> value, as a section gives them."""

_DATA = ("user_defined_script", "infer_func", "input_configs", "data", "batch_size")


def fill(steps: dict[str, Values]) -> None:
    """Fills in what follows from earlier steps. Raises ConfigError where they leave a choice."""
    quant = steps.get("quant", {})
    if "quant" in steps and "convert" in steps and "model" not in quant:
        quant |= {"model": str(_converted(steps["convert"])), "framework": "onnx"}
    if "model" not in quant or quant.get("run_mode", "quant") not in ("quant", "compare"):
        return
    if "compare" in steps and not {"quant_dump", "second_dump"} & set(steps["compare"]):
        compare = steps["compare"]
        if "quantized" not in compare:
            compare["quantized"] = str(_quantized(quant, "compare.quantized"))
        _default(compare, {"model": str(_float(quant)), **_data(quant)})
        if not {"mean", "std"} & set(compare):
            _default(compare, {key: quant[key] for key in ("mean", "std") if key in quant})
    if "infer" in steps:
        infer = steps["infer"]
        if "model" not in infer:
            infer["model"] = str(_quantized(quant, "infer.model"))
            _default(infer, {key: quant[key] for key in ("quantize_input_dtype",) if key in quant})
        _default(infer, _data(quant))


def _default(values: Values, defaults: Values) -> None:
    for key, value in defaults.items():
        values.setdefault(key, value)


def _data(quant: Values) -> Values:
    """What is fed, and how much of it: of several iterations the most."""
    found = {key: quant[key] for key in _DATA if key in quant}
    return {**found, "iteration": [max(quant["iteration"])]} if "iteration" in quant else found


def _folder(values: Values) -> Path:
    return Path(values.get("save_dir", SAVE_DIR))


def _name(values: Values) -> str:
    """The name that the results of a step bear."""
    from knight.conversion import name_of
    from knight.converters import Source

    framework = values.get("framework", "onnx")
    if framework == "onnx":
        return Path(values["model"]).stem
    return name_of(framework, Source(model=values["model"]))


def _converted(convert: Values) -> Path:
    if "model" not in convert:
        raise ConfigError("convert.model is missing: name the model to convert")
    return _folder(convert) / f"{_name(convert)}.onnx"


def _float(quant: Values) -> Path:
    """The float model that quantization starts from: of another framework, its conversion."""
    if quant.get("framework", "onnx") == "onnx":
        return Path(quant["model"])
    return _converted(quant)


def _quantized(quant: Values, key: str) -> Path:
    """The quantized model. Raises ConfigError, naming `key`, where there will be several."""
    methods, iterations = quant.get("quant_mode", ["kl"]), quant.get("iteration", [1])
    name = f"{_name(quant)}_quantize.onnx"
    if "all" in methods or len(set(methods)) > 1 or len(set(iterations)) > 1:
        one = "min_max" if "all" in methods else methods[0]
        example = _folder(quant) / f"{one}_it_{iterations[0]}" / name
        raise ConfigError(
            f"{key} is missing: quant makes several models; name one of them, such as {example}"
        )
    return _folder(quant) / name
