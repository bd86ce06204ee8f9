"""PyTorch files that run code: pickles of all forms, programs and scripts; more programs in its own tests."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable, Sequence

from tests.hostile.case import Hostile, Place, converting
from tests.hostile.pickles import Evil

_SCRIPT = """
import torch
from knight import pytorch_model

@pytorch_model.register("net")
def net(weight_path=None):
    model = torch.nn.Linear(4, 2)
    model.load_state_dict(torch.load(weight_path))
    return {"model": model, "inputs": [torch.ones(1, 4)]}
"""


def _checkpoint(*, archive: bool) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        import torch

        weights = {"weight": Evil(place.marker)}
        torch.save(weights, place.folder / "net.pth", _use_new_zipfile_serialization=archive)

    return make


def _bare(name: str) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        (place.folder / name).write_bytes(pickle.dumps(Evil(place.marker)))

    return make


def _tar(place: Place) -> None:
    """The form of before 2017: a tar of pickles."""
    with tarfile.open(place.folder / "net.pth", "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            content = pickle.dumps(Evil(place.marker))
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def _for_a_script(place: Place) -> None:
    _checkpoint(archive=True)(place)
    (place.folder / "models.py").write_text(_SCRIPT)


def _program(kind: str) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        import torch

        from tests.converters.pytorch.test_hostile import PROGRAMS, Net, members_of, packed

        good, batch = place.folder / "good.pt2", torch.export.Dim("batch", min=1, max=64)
        program = torch.export.export(Net().eval(), (torch.randn(2, 4),), dynamic_shapes={"x": {0: batch}})
        torch.export.save(program, good)
        packed(PROGRAMS[kind](members_of(good), place.marker), place.folder / "net.pt2")
        good.unlink()

    return make


def _scripted(name: str) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        from tests.converters.pytorch import test_hostile

        test_hostile.scripted(getattr(test_hostile, name)(str(place.marker)), place.folder / "net.pt")
        place.marker.unlink(missing_ok=True)

    return make


def _data_of_a_script(place: Place) -> None:
    """TorchScript whose data are a pickle that calls."""
    import torch

    from tests.converters.pytorch.test_hostile import Net, members_of, packed, scripted

    good = scripted(torch.jit.trace(Net().eval(), torch.ones(1, 4)), place.folder / "good.pt")
    members = members_of(good)
    (name,) = (name for name in members if name.endswith("/data.pkl"))
    packed(members | {name: pickle.dumps(Evil(place.marker))}, place.folder / "net.pt")
    good.unlink()


def _case(
    name: str, make: Callable[[Place], None], model: str, said: str, words: Sequence[str] = ("-is", "1", "4")
) -> Hostile:
    return Hostile(f"pytorch {name}", make, converting("pytorch", model, *words), said)


CASES = (
    _case("pickled model", _checkpoint(archive=True), "net.pth", "--allow-pickle"),
    _case("pickled model of the old form", _checkpoint(archive=False), "net.pth", "--allow-pickle"),
    _case("tar of pickles", _tar, "net.pth", "net.pth"),
    _case("bare pickle", _bare("net.pth"), "net.pth", "net.pth"),
    _case("bare pickle called pt2", _bare("net.pt2"), "net.pt2", "net.pt2"),
    _case("script that saves", _scripted("Saves"), "net.pt", "nothing of it was run"),
    _case("script that maps a file", _scripted("Maps"), "net.pt", "nothing of it was run"),
    _case("script that saves while it is loaded", _scripted("Restores"), "net.pt", "nothing of it was run"),
    _case("pickled data of a script", _data_of_a_script, "net.pt", "net.pt"),
    *(
        _case(f"pt2 {kind}", _program(kind), "net.pt2", "nothing of it was", ())
        for kind in (
            "a weight that is a pickle",
            "example inputs that are a pickle",
            "constants as a bare pickle",
            "weights of the former archive",
            "a shared object",
            "a size that calls",
            "a parameter's name that ends its quotes",
        )
    ),
    Hostile(
        "pytorch weights for a script",
        _for_a_script,
        lambda folder: (
            *("convert", "-f", "pytorch", "-m", "net", "-uds", folder / "models.py"),
            *("-w", folder / "net.pth"),
        ),
        "--allow-pickle",
    ),
)
