"""PyTorch: modules that a script registers, .pt2 programs and TorchScript files.

Modules go through torch.fx and Knight's own translations; where these lack something, through torch's
exporters, which is said aloud with the reason.
"""

from __future__ import annotations

from pathlib import Path

from knight.converters import Conversion, Converter, Source
from knight.errors import ModelError
from knight.listener import Listener


def convert(source: Source, listener: Listener) -> Conversion:
    """Raises KnightError naming the function, file, key, layer or line that does not fit."""
    import torch

    torch.set_num_threads(1)
    path = Path(source.model)
    if path.is_file():
        from knight.converters.pytorch._files import convert_file

        return convert_file(path, source, listener)
    if source.script is None:
        raise ModelError(
            f"model {source.model}: no such file; a model that a script registers needs the script, with -uds"
        )
    from knight.converters.pytorch._modules import convert_loaded
    from knight.converters.pytorch._registered import load_registered

    return convert_loaded(load_registered(source, listener), listener)


converter = Converter(
    title="PyTorch",
    extra="pytorch",
    modules=("torch",),
    verb="Pytorch",
    flags=frozenset({"weights", "script", "input_shapes", "allow_pickle"}),
    convert=convert,
    takes_names=True,
)
