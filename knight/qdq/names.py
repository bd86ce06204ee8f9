"""What tools call the values that they round, and what these were called before."""

from __future__ import annotations

import re

_PREFIXES = re.compile(r"^d?q_output_(?=.)")  # NNCF
_SUFFIXES = re.compile(
    r"(?<=.)(?:"
    r"_(?:convert_(?:clone_)?)?(?:Dequantize|Quantize)Linear(?:_(?:Input|Output|input|output))?"  # ORT, Quark
    r"|_quantized|(?<!de)(?<!un)(?<!_)quantized|_dequantized|_dequant"  # ORT
    r"|_integers|_before_quantization"  # Knight
    r")(?:_\d+)?$"
)


def real_name(name: str) -> str:
    """The name that a value had in the float model, as far as the tool's way of naming tells it.

    ``X_quantized``, ``X_QuantizeLinear_Output``, ``dq_output_X`` ... give ``X``; other names come back as
    they are. PyTorch's exporter names values after the module that makes them
    (``/net/DequantizeLinear_output_0``): such a name holds no other.
    """
    while (shorter := _SUFFIXES.sub("", _PREFIXES.sub("", name))) != name:
        name = shorter
    return name
