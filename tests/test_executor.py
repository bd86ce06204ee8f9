"""What an infer function is handed: checks, batches, attributes, and how its failures are told."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from knight import model as models
from knight.errors import ConfigError, DataError, ModelError, ScriptError
from knight.executor import Executor, RunSettings, call_infer
from knight.listener import Listener
from knight.runner import Session, TensorInfo
from tests import small_models

KINDS = {"float32": "tensor(float)", "int64": "tensor(int64)", "object": "tensor(string)"}


def info(name: str, dtype: str, *shape: int | None) -> TensorInfo:
    return TensorInfo(name, np.dtype(dtype), shape, KINDS[dtype])


def executor(*inputs: TensorInfo, outputs: int = 1, **words: object) -> Executor:
    """An executor whose model gives the sum of each sample's first input, once per output."""

    def forward(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        first = next(iter(feeds.values()))
        return [first.reshape(first.shape[0], -1).sum(1) for _ in range(outputs)]

    names = [f"out{number}" for number in range(outputs)]
    return Executor(forward, inputs, names, RunSettings(), **words)  # type: ignore[arg-type]


X = info("x", "float32", 2, 3)


def test_forward_gives_all_outputs_in_order() -> None:
    results = executor(X, outputs=2).forward(np.array([[1, 2, 3], [4, 5, 6]], np.float32))
    assert isinstance(results, list) and [list(result) for result in results] == [[6, 15], [6, 15]]


def test_calls_and_samples() -> None:
    heard: list[tuple[int, int | None]] = []

    class Hear(Listener):
        def forward(self, done: int, total: int | None) -> None:
            heard.append((done, total))

    run = Executor(lambda feeds: [], [X], [], RunSettings(iteration=9), listener=Hear())
    for _ in range(3):
        run.forward(np.zeros((2, 3), np.float32))
    assert (run.calls, run.samples) == (3, 6)
    assert heard == [(1, 9), (2, 9), (3, 9)]


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (ValueError("negative dimensions"), ModelError, "the model cannot be run: ValueError: negative dim"),
        (MemoryError(), DataError, "its values take more memory than is free"),
        (DataError("odd"), DataError, "odd"),
    ],
)
def test_what_goes_wrong_in_the_model_is_not_the_functions_fault(
    error: Exception, kind: type[Exception], said: str
) -> None:
    def forward(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        raise error

    def infer(executor: Executor) -> None:
        executor.forward(np.zeros((2, 3), np.float32))

    with pytest.raises(kind, match=f"^sample 1: {said}"):
        call_infer(infer, Executor(forward, [X], ["out"], RunSettings()))


@given(batch=st.integers(1, 4), repeats=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_multiple_of_the_fixed_batch_is_cut(batch: int, repeats: int, seed: int) -> None:
    shapes = []

    def forward(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        shapes.append((feeds["x"].shape, feeds["y"].shape, feeds["k"].shape))
        return [feeds["x"] * feeds["k"], feeds["y"].sum(1)]

    inputs = [info("x", "float32", batch, 3), info("y", "float32", batch, 2), info("k", "float32")]
    run = Executor(forward, inputs, ["a", "b"], RunSettings())
    random = np.random.default_rng(seed)
    x = random.normal(size=(batch * repeats, 3)).astype(np.float32)
    y = random.normal(size=(batch * repeats, 2)).astype(np.float32)
    first, second = run.forward(x, y, np.array(2, np.float32))
    np.testing.assert_array_equal(first, x * 2)
    np.testing.assert_allclose(second, y.sum(1), rtol=1e-6)
    assert shapes == [((batch, 3), (batch, 2), ())] * repeats
    assert (run.calls, run.samples) == (1, batch * repeats)


def test_batches_that_differ_between_inputs_are_not_cut() -> None:
    run = executor(X, info("y", "float32", 2, 3))
    with pytest.raises(DataError, match="input 'x' wants float32\\[2x3\\], got float32\\[4x3\\]"):
        run.forward(np.zeros((4, 3), np.float32), np.zeros((2, 3), np.float32))


def test_outputs_without_a_batch_axis_cannot_be_joined() -> None:
    run = Executor(lambda feeds: [np.float32(1) * np.ones(())], [X], ["total"], RunSettings())
    with pytest.raises(DataError, match="'total' has no batch axis"):
        run.forward(np.zeros((4, 3), np.float32))


def test_dimensions_that_may_vary_take_anything() -> None:
    run = executor(info("x", "float32", None, 3, None))
    run.forward(np.zeros((5, 3, 7), np.float32))
    run.forward(np.zeros((1, 3, 0), np.float32))
    with pytest.raises(DataError, match=r"wants float32\[\?x3x\?\], got float32\[5x4x7\]"):
        run.forward(np.zeros((5, 4, 7), np.float32))


def test_the_runtimes_own_refusal_names_the_sample() -> None:
    def forward(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        raise DataError("no such row")

    with pytest.raises(DataError, match="sample 1: no such row"):
        Executor(forward, [X], ["y"], RunSettings()).forward(np.zeros((2, 3), np.float32))


@given(
    place=st.tuples(st.integers(0, 1), st.integers(0, 2)), value=st.sampled_from([np.nan, np.inf, -np.inf])
)
def test_not_finite(place: tuple[int, int], value: float) -> None:
    sample = np.zeros((2, 3), np.float32)
    sample[place] = value
    with pytest.raises(DataError, match=f"sample {place[0] + 1}: input 'x' holds .* at index") as caught:
        executor(X).forward(sample)
    assert str(list(place)) in str(caught.value)


def test_large_numbers_are_finite() -> None:
    run = Executor(lambda feeds: [], [X], [], RunSettings())
    run.forward(np.full((2, 3), np.finfo(np.float32).max, np.float32))  # their sum is not


def test_strings_of_either_kind() -> None:
    run = Executor(lambda feeds: [], [info("s", "object", 1)], [], RunSettings())
    run.forward(np.array(["a"]))
    run.forward(np.array(["a"], dtype=object))
    with pytest.raises(DataError, match="wants string"):
        run.forward(np.array([1.0]))


def test_what_is_no_tensor_passes() -> None:
    sequence = TensorInfo("s", None, (), "seq(tensor(float))")
    seen = []
    run = Executor(lambda feeds: seen.append(feeds) or [], [sequence], [], RunSettings())  # type: ignore[func-returns-value]
    run.forward([np.zeros(2)])  # type: ignore[arg-type]
    assert isinstance(seen[0]["s"], list)


def test_attributes() -> None:
    chosen = RunSettings(5, 2, "data", "out", "infer", "s.py", -1, ({"input_name": "x"},))
    run = Executor(lambda feeds: [], [X, info("i", "int64", 1)], ["a", "b"], chosen)
    assert run.input_nodes == ["x", "i"] and run.output_node_list == ["a", "b"]
    assert run.input_types == {"x": 1, "i": 7}  # numbers of TensorProto.DataType
    assert (run.iteration, run.batch_size, run.dataset, run.save_dir) == (5, 2, "data", "out")
    assert (run.run_mode, run.user_defined_script, run.gpu) == ("infer", "s.py", -1)
    assert run.input_configs_dict == ({"input_name": "x"},)
    assert run.early_stop_flag is False and run.shape_dicts == {}


@pytest.fixture
def on_model(tmp_path: Path) -> Callable[..., Executor]:
    def build(batch: int | str) -> Executor:
        graph = models.load(small_models.conv_net(tmp_path, batch=batch))
        session = Session(graph)
        return Executor(session.run, session.inputs, ["scores"], RunSettings(), model=graph)

    return build


def test_names_of_operators(on_model: Callable[..., Executor]) -> None:
    names = on_model(1).output_name_to_node_name()
    assert names == {"conv": "conv", "relu": "relu", "pool": "pool", "flat": "flat", "scores": "gemm"}
    with pytest.raises(ScriptError, match="knows no graph"):
        executor(X).output_name_to_node_name()


def test_shapes_before_and_after_a_sample(on_model: Callable[..., Executor]) -> None:
    run = on_model("N")
    run.init_shape_info()
    assert run.shape_dicts["x"] == [None, 3, 8, 8]
    assert run.shape_dicts["conv"] == [None, 5, 8, 8]  # the file does not state it, but it follows
    assert run.shape_dicts["gemm"] == [None, 4]
    run.forward(np.zeros((6, 3, 8, 8), np.float32))
    run.init_shape_info()
    assert run.shape_dicts["x"] == [6, 3, 8, 8]
    assert run.shape_dicts["conv"] == [6, 5, 8, 8]
    assert run.shape_dicts["scores"] == run.shape_dicts["gemm"] == [6, 4]


def test_checks_cost_little() -> None:
    """At most 0.3 ms per call of a 3x227x227 picture: it takes about 0.05, but the CPU may be shared."""
    run = Executor(lambda feeds: [], [info("x", "float32", 1, 3, 227, 227)], [], RunSettings())
    sample = np.random.default_rng(0).normal(size=(1, 3, 227, 227)).astype(np.float32)
    times = []
    for _ in range(50):
        start = time.perf_counter()
        run.forward(sample)
        times.append(time.perf_counter() - start)
    assert min(times) < 3e-4


def good(run: Executor) -> int:
    run.forward(np.zeros((2, 3), np.float32))
    return 7


def test_call_infer_gives_what_the_function_returns() -> None:
    assert call_infer(good, executor(X)) == 7


def test_a_function_that_never_runs_the_model() -> None:
    run = executor(X)
    run.forward(np.zeros((2, 3), np.float32))  # an earlier call does not count
    with pytest.raises(ScriptError, match=r"test_executor\.py:\d+\) returned without calling"):
        call_infer(lambda run: 1, run)
    assert call_infer(lambda run: 1, run, must_forward=False) == 1


def test_a_generator_is_no_infer_function() -> None:
    def forgot(run: Executor) -> object:
        yield run.forward(np.zeros((2, 3), np.float32))

    with pytest.raises(ScriptError, match=r"'forgot'.*without calling"):
        call_infer(forgot, executor(X))


def fails(run: Executor) -> None:
    np.zeros(3).reshape(2, 2)


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_failures_name_the_users_line(error: type[BaseException]) -> None:
    def broken(run: Executor) -> None:
        raise error("reason")

    with pytest.raises(ScriptError, match=r"'broken' .*reason.*test_executor\.py:\d+\)") as caught:
        call_infer(broken, executor(X))
    assert isinstance(caught.value.__cause__, error)


def test_a_failure_inside_a_library_is_placed_in_the_users_file() -> None:
    line = fails.__code__.co_firstlineno + 1
    with pytest.raises(ScriptError, match=rf"ValueError: cannot reshape.*test_executor\.py:{line}\)"):
        call_infer(fails, executor(X))


def test_a_function_of_the_wrong_signature() -> None:
    with pytest.raises(ScriptError, match="takes 0 positional arguments"):
        call_infer(lambda: 1, executor(X))  # type: ignore[arg-type, misc]


@pytest.mark.parametrize("error", [ConfigError("no"), KeyboardInterrupt()])
def test_what_is_ours_and_ctrl_c_pass(error: BaseException) -> None:
    def raises(run: Executor) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        call_infer(raises, executor(X))
    assert caught.value is error


def test_memory_that_does_not_suffice_is_no_fault_of_the_function() -> None:
    """Not even where NumPy runs out of it, beside the runtime."""

    def forward(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [np.ones(1 << 46, np.uint8)]

    run = Executor(forward, [X], ["y"], RunSettings())
    with pytest.raises(DataError, match=r"^sample 1: its values take more memory than is free \(.*64\.0 TiB"):
        call_infer(lambda executor: executor.forward(np.zeros((2, 3), np.float32)), run)
