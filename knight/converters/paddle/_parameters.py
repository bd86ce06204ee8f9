"""Reads what a .pdiparams file holds before Paddle does, which would end the process on a damaged one.

One record per parameter, sorted by name, without the name: uint32 version, uint64 number of levels (each
uint64 size and content), uint32 version, int32 size of a TensorDesc, the TensorDesc, the numbers.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from knight.errors import ModelError

_BYTES = {0: 1, 1: 2, 2: 4, 3: 8, 4: 2, 5: 4, 6: 8, 20: 1, 21: 1, 22: 2, 23: 8, 24: 16}
"""Size of an element by the number of its type in Paddle's VarType (5 is float32)."""
_LARGEST_DESCRIPTION = 1 << 16


class _Damaged(Exception):
    """The file does not hold records, or ends within one."""


def check_parameters(file: Path, wanted: Mapping[str, Sequence[int]]) -> None:
    """Raises ModelError where `file` is not whole, or not of a program with the parameters `wanted`."""
    try:
        found = _shapes(file)
    except _Damaged:
        raise ModelError(
            f"weights {file}: not a Paddle parameter file, or cut short; copy it again"
        ) from None
    names = sorted(wanted)
    for name, shape in zip(names, found, strict=False):
        if list(shape) != list(wanted[name]):
            raise ModelError(
                f"weights {file}: of another net: parameter {name!r} of the model is {list(wanted[name])}, "
                f"{list(shape)} in the file"
            )
    if len(names) != len(found):
        raise ModelError(
            f"weights {file}: of another net, or cut short: the model has {len(names)} parameters, the file "
            f"{len(found)}"
            + (f"; the first without numbers is {names[len(found)]!r}" if len(found) < len(names) else "")
        )


def _shapes(path: Path) -> list[tuple[int, ...]]:
    size = path.stat().st_size
    shapes = []
    with path.open("rb") as file:
        while file.tell() < size:
            shapes.append(_record(file, size))
    return shapes


def _record(file: IO[bytes], size: int) -> tuple[int, ...]:
    version, levels = _numbers(file, "<IQ")
    if version != 0 or levels > 8:
        raise _Damaged
    for _ in range(levels):
        (length,) = _numbers(file, "<Q")
        if length > size:
            raise _Damaged
        file.seek(length, 1)
    version, length = _numbers(file, "<Ii")
    if version != 0 or not 0 < length <= _LARGEST_DESCRIPTION:
        raise _Damaged
    dtype, shape = _description(file.read(length))
    end = file.tell() + _BYTES[dtype] * math.prod(shape)
    if end > size:
        raise _Damaged
    file.seek(end)
    return shape


def _numbers(file: IO[bytes], form: str) -> tuple[int, ...]:
    data = file.read(struct.calcsize(form))
    if len(data) < struct.calcsize(form):
        raise _Damaged
    return struct.unpack(form, data)


def _description(data: bytes) -> tuple[int, tuple[int, ...]]:
    """Type and shape of a TensorDesc: field 1 is the type, field 2 one dimension each, all varints."""
    dtype, shape, position = -1, [], 0
    while position < len(data):
        key, position = _varint(data, position)
        value, position = _varint(data, position)
        if key == 0x08:
            dtype = value
        elif key == 0x10:
            shape.append(value)
        else:
            raise _Damaged
    if dtype not in _BYTES:
        raise _Damaged
    return dtype, tuple(shape)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    while position < len(data) and shift < 64:
        byte = data[position]
        position, value, shift = position + 1, value | (byte & 0x7F) << shift, shift + 7
        if not byte & 0x80:
            return value, position
    raise _Damaged
