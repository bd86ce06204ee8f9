"""Which lines of Knight an input reaches that no input before it did."""

from __future__ import annotations

import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

Line = tuple[str, int]
_TOOL = 4  # a number of sys.monitoring that no profiler, debugger or coverage tool claims


class Coverage:
    """Lines below `root`. By sys.monitoring where Python has it, which costs nothing once a line was seen."""

    def __init__(self, root: Path) -> None:
        self._root = f"{root}/"
        self._new: list[Line] = []
        self._left: dict[CodeType, set[int]] = {}
        self._monitors = sys.version_info >= (3, 12)
        if self._monitors:
            monitoring = sys.monitoring  # type: ignore[attr-defined]
            monitoring.use_tool_id(_TOOL, "fuzz")
            monitoring.register_callback(_TOOL, monitoring.events.LINE, self._line)

    def forget(self) -> None:
        """All lines count as never reached."""
        self._left.clear()
        if self._monitors:
            sys.monitoring.restart_events()  # type: ignore[attr-defined]

    def start(self) -> None:
        """From here on, lines count."""
        self._new = []
        if self._monitors:
            sys.monitoring.set_events(_TOOL, sys.monitoring.events.LINE)  # type: ignore[attr-defined]
        else:
            sys.settrace(self._call)

    def stop(self) -> list[Line]:
        """The lines that were reached since `start`, and never before, but for `forget`."""
        if self._monitors:
            sys.monitoring.set_events(_TOOL, 0)  # type: ignore[attr-defined]
        else:
            sys.settrace(None)
        return self._new

    def _line(self, code: CodeType, line: int) -> Any:
        if code.co_filename.startswith(self._root):
            self._new.append((code.co_filename.removeprefix(self._root), line))
        return sys.monitoring.DISABLE  # type: ignore[attr-defined]

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        left = self._left.get(code)
        if left is None:
            ours = code.co_filename.startswith(self._root)
            left = {line for _, _, line in code.co_lines() if line} if ours else set()
            left.discard(code.co_firstlineno)  # the def itself, which runs at import
            self._left[code] = left
        if not left:
            return None

        def local(frame: FrameType, event: str, argument: Any) -> Any:
            line = frame.f_lineno
            if event == "line" and line in left:
                left.discard(line)
                self._new.append((code.co_filename.removeprefix(self._root), line))
            return local

        return local
