"""What is looked at in a Keras file before Keras does; the hostile ones are in tests/hostile."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from knight.converters.tensorflow._keras_files import check_archive, check_hdf5
from knight.errors import ModelError

PATH = Path("net.keras")


def archive(config: Any, **members: bytes) -> zipfile.ZipFile:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as writing:
        writing.writestr("config.json", json.dumps(config))
        for name, data in members.items():
            writing.writestr(name.replace("_h5", ".h5"), data)
    return zipfile.ZipFile(content)


@pytest.mark.parametrize(
    "module",
    [
        *(
            "keras",
            "keras.layers",
            "keras.src.ops.numpy",
            "keras.src.models.functional",
            "keras.initializers",
        ),
        *("tensorflow.keras.layers", "keras.src.engine.functional", "builtins", None),
    ],
)
def test_modules_of_models(module: str | None) -> None:
    check_archive(archive({"config": {"layers": [{"class_name": "Dense", "module": module}]}}), PATH)


@pytest.mark.parametrize(
    "module",
    [
        *(
            "os",
            "subprocess",
            "keras_evil",
            "kerasevil.layers",
            "tensorflow",
            "tensorflow.io",
            "tensorflow.python",
        ),
        *("keras.utils", "keras.src.utils.file_utils", "keras.src.saving", "keras.config", "keras.api.utils"),
    ],
)
def test_modules_that_do_more(module: str) -> None:
    with pytest.raises(ModelError, match=f"is of the module '{module}'"):
        check_archive(archive([{"config": {"class_name": "f", "module": module}}]), PATH)


def test_what_belongs_to_the_training_is_not_read() -> None:
    own = {"class_name": "MyLoss", "module": "my.losses"}
    check_archive(archive({"class_name": "Sequential", "compile_config": {"loss": own}}), PATH)


def hdf5(fill: Any) -> io.BytesIO:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        fill(file)
    return content


def test_links_within_the_file_are_fine() -> None:
    def fill(file: Any) -> None:
        group = file.create_group("a/b")
        group["data"] = np.zeros(3)
        group["soft"] = h5py.SoftLink("/a/b/data")
        group["nowhere"] = h5py.SoftLink("/else")
        group["round"] = file["a"]

    check_hdf5(hdf5(fill), PATH)


def test_data_of_other_files_are_found_behind_links_to_parents() -> None:
    def fill(file: Any) -> None:
        group = file.create_group("a/b")
        group["round"] = file["a"]
        group.create_dataset("data", (4,), np.float32, external=[("/etc/hostname", 0, 16)])

    with pytest.raises(ModelError, match=r"/a/b/data is not in it but in another file, '/etc/hostname'"):
        check_hdf5(hdf5(fill), PATH)


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(90)])
def test_damaged_files(content: bytes) -> None:
    with pytest.raises(ModelError, match="damaged"):
        check_hdf5(io.BytesIO(content), PATH)


@pytest.mark.parametrize("config", ["{", "[" * 100_000])
def test_configurations_that_are_no_json(config: str) -> None:
    def fill(file: Any) -> None:
        file.create_dataset("all", data=np.zeros(1))
        file.attrs["model_config"] = config[:60_000]

    with pytest.raises(ModelError, match="no JSON"):
        check_hdf5(hdf5(fill), PATH)
