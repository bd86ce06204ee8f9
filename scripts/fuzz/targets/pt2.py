"""Archives of torch.export, of TorchScript and of torch.save, read as data before torch loads them."""

from __future__ import annotations

from pathlib import Path

from knight.converters import Source
from knight.converters.pytorch._archive import clean_program, clean_script
from knight.converters.pytorch._files import _SCRIPT, _members, _pickled
from knight.formats import hint
from knight.listener import SILENT
from scripts.fuzz.mutators.archives import Archive
from scripts.fuzz.mutators.raw import Text
from scripts.fuzz.mutators.trees import Json
from scripts.fuzz.targets import Target, each, written


def run(data: bytes, folder: Path) -> None:
    """As all three kinds."""
    path = written(folder, "model.pt2", data)
    hint(path, "onnx")
    names = _members(path)
    calls = [lambda: _pickled(path, Source(str(path)), SILENT)]
    if names:
        calls.append(lambda: clean_program(path, folder / "program.pt2"))  # type: ignore[arg-type,return-value]
    if any(name.endswith(_SCRIPT) for name in names):
        calls.append(lambda: clean_script(path, folder / "script.pt"))  # type: ignore[arg-type,return-value]
    each(*calls)


target = Target(run, Archive({".json": Json(), ".py": Text()}), modules=("torch",), model=True)
