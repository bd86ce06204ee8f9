"""What ONNX Runtime says where it fails, as one line that names the node."""

from __future__ import annotations

import re

from knight import memory
from knight.errors import shown

_NODE = re.compile(r"while running (\w+) node\. Name:'([^']*)'")  # the innermost is the last
_MEMORY = re.compile(r"requested buffer of size (\d+)|bad[_ ]alloc")
_LONGEST = 400  # characters


def reason(error: Exception, stopped: str = "") -> str:
    """The useful part of the message; of one about memory, the node and what it asked for.

    stopped: why the run was to stop, where it was.
    """
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    nodes = [f"node {shown(name)} ({kind})" for kind, name in _NODE.findall(text) if name]
    culprit = nodes[-1] if nodes else "it"
    found = _MEMORY.search(text)
    if found or isinstance(error, MemoryError):
        asked = memory.text(int(found[1])) if found and found[1] else "memory"
        return f"{culprit} asks for {asked} more, and so much is not free; use smaller data, or more memory"
    return f"{culprit} {stopped}" if stopped else text[:_LONGEST]
