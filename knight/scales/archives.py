"""Arrays in an npz whose bytes depend on the arrays alone, and that is read without trust.

Members are stored, not compressed: no version of a compressor plays a part, nothing becomes larger than the
file, and `numpy.load` reads it all the same. The reader takes only what the writer writes, so that it needs
neither zip's many variants nor the parser of numpy's headers.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DATE = (1980, 1, 1, 0, 0, 0)  # the first that zip can say
_MEMBER = struct.Struct("<4s5H3I2H")  # signature, versions, flags, method, time, date, CRC, sizes, lengths
_ENDS = (b"PK\x01\x02", b"PK\x05\x06")  # of the list of members, and the file
_END_BYTES = 22
_NPY = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)"
    rb"\{'descr': '(?P<dtype>[<|](?:[fiu][1248]|b1|U[1-9]\d{0,5}))', 'fortran_order': False, "
    rb"'shape': \((?P<shape>|\d{1,15},|\d{1,15}(?:, \d{1,15}){1,7})\), \} *\n",
    re.DOTALL,
)


def pack(members: Mapping[str, bytes]) -> bytes:
    """An archive of `members` in their order."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system = 3  # Unix, whatever this is
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return stream.getvalue()


def unpack(content: bytes) -> Iterator[tuple[str, memoryview]]:
    """Name and data of each member, in order; the data are views of `content`.

    Raises ValueError where the file is damaged, or was not written by `pack`.
    """
    place, seen = 0, 0
    while content[place : place + 4] == b"PK\x03\x04":
        if place + _MEMBER.size > len(content):
            raise ValueError("is cut short")
        _, _, flags, method, _, _, crc, stored, size, name_length, extra = _MEMBER.unpack_from(content, place)
        if flags or method or extra or stored != size:
            raise ValueError("has a member that is not as Knight writes it, stored and without extras")
        start = place + _MEMBER.size + name_length
        if start + size > len(content):
            raise ValueError("is cut short")
        data = memoryview(content)[start : start + size]
        if zlib.crc32(data) != crc:
            raise ValueError("is damaged: a checksum is wrong")
        yield content[start - name_length : start].decode("ascii", "replace"), data
        place, seen = start + size, seen + 1
    end = content[-_END_BYTES:]
    if not seen or content[place : place + 4] != _ENDS[0] or end[:4] != _ENDS[1]:
        raise ValueError("is no archive, or cut short")


def dump(array: NDArray[Any]) -> bytes:
    """`array` as an npy file: version 1.0, little-endian, in C order."""
    stream = io.BytesIO()
    little = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    np.lib.format.write_array(stream, little, version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def parse(data: memoryview, like: NDArray[Any]) -> NDArray[Any]:
    """The array of an npy file, read-only: of the type of `like` (texts of any length) and of its shape.

    Where `like` has no items on an axis, any number of them will do. Raises ValueError for another array.
    """
    header = _NPY.match(data)
    if header is None or int.from_bytes(header["length"], "little") != header.end() - 10:
        raise ValueError("is no array as Knight writes it")
    dtype = np.dtype(header["dtype"].decode())
    shape = tuple(int(size) for size in header["shape"].decode().split(",") if size)
    if dtype != like.dtype.newbyteorder("<") and not dtype.kind == like.dtype.kind == "U":
        raise ValueError(f"is of type {dtype.name}; it has to be {like.dtype.name}")
    if len(shape) != like.ndim or any(
        size not in (0, got) for size, got in zip(like.shape, shape, strict=True)
    ):
        wanted = ", ".join(str(size or "any") for size in like.shape)
        raise ValueError(f"has the shape {shape}; it has to be ({wanted})")
    if math.prod(shape) * dtype.itemsize != len(data) - header.end():
        raise ValueError(f"is {shape} of {dtype.name}, and its data are of another size")
    if dtype.kind == "U" and (np.frombuffer(data, "<u4", offset=header.end()) > 0x7F).any():
        raise ValueError("holds other characters than ASCII")
    return np.frombuffer(data, dtype, offset=header.end()).reshape(shape).astype(like.dtype.type, copy=False)
