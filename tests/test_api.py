"""The Python API, as its documentation shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import knight
from knight import model as models
from knight.executor import Executor
from tests import exact, small_models
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
    (raw,) = exact.session(file).run(None, {"x": SAMPLES[0]})
    np.testing.assert_allclose(got, raw * np.float32(done.report["outputs"][0]["scale"]))
    assert done.report["chip"] == "TX5368AV200"


def test_infer_runs_any_model(tmp_path: Path) -> None:
    path = small_models.conv_net(tmp_path)
    found = knight.infer(path, lambda executor: float(executor.forward(SAMPLES[0])[0].sum()))
    assert found.samples == 1 and isinstance(found.metric, float) and found.seconds > 0


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ([], {}, "the data is empty"),
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


def test_compare_models_takes_files_and_models(tmp_path: Path) -> None:
    path = small_models.conv_net(tmp_path)
    done = knight.quantize(path, SAMPLES, target="onnxruntime")
    file = done.save(tmp_path / "net_quantize.onnx")
    found = [
        knight.compare_models(path, done, SAMPLES),
        knight.compare_models(str(path), str(file), (sample for sample in SAMPLES)),
        knight.compare_models(models.load(path), done.model, [{"x": sample} for sample in SAMPLES]),
    ]
    figures = [[(layer.output, layer.own_sqnr, dict(layer.figures)) for layer in one.layers] for one in found]
    assert figures[0] == figures[1] == figures[2]
    assert found[0].reference == str(path) and found[1].result == str(file)
    assert [layer.output for layer in found[0].guilty()]
    assert {one.samples for one in found} == {4}


def test_compare_models_agrees_with_numpy(tmp_path: Path) -> None:
    path = small_models.conv_net(tmp_path)
    done = knight.quantize(path, SAMPLES)  # the default chip: fixed-point outputs
    found = knight.compare_models(path, done, SAMPLES)
    runtime = exact.session(path)
    wanted = np.stack([runtime.run(None, {"x": sample})[0] for sample in SAMPLES]).astype(np.float64)
    got = np.stack([done.run(sample)[0] for sample in SAMPLES]).astype(np.float64)
    sqnr = 10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum())
    assert found.output_sqnr == pytest.approx(sqnr, abs=1e-3)
    cosine = (wanted * got).sum() / np.sqrt((wanted**2).sum() * (got**2).sum())
    last = found.layers[-1]
    assert last.output == "scores" and last.figures["cos"] == pytest.approx(0.5 + 0.5 * cosine, abs=1e-6)


def test_compare_models_watches_and_measures(tmp_path: Path) -> None:
    path = small_models.conv_net(tmp_path)
    done = knight.quantize(path, SAMPLES, target="onnxruntime")
    modes, watched = [], []

    def feed(executor: Executor) -> float:
        modes.append(executor.run_mode)
        scores = [executor.forward(sample)[0] for sample in SAMPLES[: executor.iteration]]
        return float(np.stack(scores).max())

    found = knight.compare_models(
        path, done, feed, iterations=2, watch=lambda row, wanted, got: watched.append(row.twin.name)
    )
    assert found.calls == 2 and set(modes) == {"compare"}
    assert sorted(watched) == sorted(2 * [layer.output for layer in found.layers])
    assert found.metric_reference is not None and found.metric_result is not None
    relative = abs(found.metric_result - found.metric_reference) / abs(found.metric_reference)
    assert found.loss == pytest.approx(100 * relative) and relative > 0


def test_compare_models_knows_normalization_inside(tmp_path: Path) -> None:
    path = small_models.conv_net(tmp_path)
    pixels = [sample * 50 + 100 for sample in SAMPLES]
    done = knight.quantize(path, pixels, target="onnxruntime", mean=(100.0,), std=(50.0,))
    found = knight.compare_models(path, done, pixels, mean=(100.0,), std=(50.0,))
    assert found.output_sqnr is not None and found.output_sqnr > 25
    with pytest.raises(knight.KnightError, match="mean and std belong together"):
        knight.compare_models(path, done, pixels, mean=(100.0,))


def test_compare_models_of_strangers_is_an_error(tmp_path: Path) -> None:
    path, other = small_models.conv_net(tmp_path), small_models.two_inputs(tmp_path)
    with pytest.raises(knight.KnightError, match=r"net\.onnx and .*two\.onnx have no layer in common"):
        knight.compare_models(path, other, SAMPLES)
    wider = small_models.conv_net(tmp_path, batch="N", name="wider")
    assert knight.compare_models(path, wider, SAMPLES).output_sqnr == 200  # batches may differ
    proto = onnx.load(path)
    for place in (2, 3):
        proto.graph.input[0].type.tensor_type.shape.dim[place].dim_value = 16
    onnx.save(proto, tmp_path / "larger.onnx")
    said = r"net\.onnx takes x \[1,3,8,8\] and .*larger\.onnx x \[1,3,16,16\]; is the second a quant"
    with pytest.raises(knight.KnightError, match=said):
        knight.compare_models(path, tmp_path / "larger.onnx", SAMPLES)
    with pytest.raises(knight.KnightError, match="data is empty"):
        knight.compare_models(path, path, [])
