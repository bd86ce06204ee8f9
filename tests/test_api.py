"""The Python API, as its documentation shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import knight
from knight.executor import Executor
from tests import small_models
from tests.passes.equivalence import random

SAMPLES = [random(1, 3, 8, 8, seed=seed) for seed in range(4)]


def test_all_forms_of_data_give_the_same_model(tmp_path: Path) -> None:
    path = small_models.conv_net(tmp_path)

    def feed(executor: Executor) -> None:
        for sample in SAMPLES[: executor.iteration]:
            executor.forward(sample)

    forms = [SAMPLES, [(s,) for s in SAMPLES], [{"x": s} for s in SAMPLES], (s for s in SAMPLES)]
    done = [knight.quantize(path, form, target="onnxruntime") for form in forms]
    done.append(knight.quantize(str(path), feed, target="onnxruntime", iterations=4))
    files = {one.save(tmp_path / f"{number}.onnx").read_bytes() for number, one in enumerate(done)}
    assert len(files) == 1


def test_two_inputs_come_in_order_or_by_name(tmp_path: Path) -> None:
    path = small_models.two_inputs(tmp_path)
    left, right = random(1, 4), random(1, 6)
    by_order = knight.quantize(path, [(left, right)], target="onnxruntime")
    by_name = knight.quantize(path, [{"right": right, "left": left}], target="onnxruntime")
    assert by_order.report["values"] == by_name.report["values"]
    with pytest.raises(knight.KnightError, match="no array for input 'right'"):
        knight.quantize(path, [{"left": left}], target="onnxruntime")


def test_run_gives_real_numbers_and_the_file_the_same(tmp_path: Path) -> None:
    done = knight.quantize(small_models.conv_net(tmp_path), SAMPLES)  # the default chip: fixed-point outputs
    (got,) = done.run(SAMPLES[0])
    file = str(done.save(tmp_path / "out.onnx"))
    (raw,) = ort.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"x": SAMPLES[0]})
    np.testing.assert_allclose(got, raw * np.float32(done.report["outputs"][0]["scale"]))
    assert done.report["chip"] == "TX5368AV200"


def test_infer_runs_any_model(tmp_path: Path) -> None:
    path = small_models.conv_net(tmp_path)
    found = knight.infer(path, lambda executor: float(executor.forward(SAMPLES[0])[0].sum()))
    assert found.samples == 1 and isinstance(found.metric, float) and found.seconds > 0


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ([], {}, "calibration data is empty"),
        (SAMPLES, {"metod": "kl"}, "unknown option 'metod'"),
        (SAMPLES, {"method": "klv2"}, "did you mean 'kl_v2'"),
        (SAMPLES, {"target": "TX5368"}, "unknown chip"),
        ([random(1, 3, 8, 9)], {}, "wants float32"),
    ],
)
def test_what_cannot_be_done_is_said(
    tmp_path: Path, data: list[np.ndarray], options: dict[str, str], message: str
) -> None:
    with pytest.raises(knight.KnightError, match=message):
        knight.quantize(small_models.conv_net(tmp_path), data, **options)  # type: ignore[arg-type]


def test_converted_models_can_be_quantized(tmp_path: Path) -> None:
    converted = knight.convert("onnx", small_models.conv_net(tmp_path, batch="N"), tolerance=1e-5)
    assert converted.error is not None and converted.error < 1e-5
    assert knight.quantize(converted.model, SAMPLES, target="onnxruntime").report["sqnr_db"] > 20
    with pytest.raises(knight.KnightError, match="it looks like onnx: use -f onnx"):
        knight.convert("caffe", small_models.conv_net(tmp_path))
