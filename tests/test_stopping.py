"""Signals raise once, never in the middle of what belongs together, and are not lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ExtensionFileLoader
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from knight.runner import Session
from knight.stopping import Stopped, breaking_off, long_calls, stop_behind, stoppable, undisturbed

ROOT = Path(__file__).resolve().parents[1]
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def raised(number: int) -> type[BaseException]:
    return KeyboardInterrupt if number == signal.SIGINT else Stopped


def hit(number: int) -> None:
    os.kill(os.getpid(), number)


def wait() -> None:
    """Until a signal raises; the assertion is for one that never comes."""
    for _ in range(500):
        signal.sigtimedwait([], 0.02)
    pytest.fail("nothing was raised")


@pytest.mark.parametrize("number", STOPS)
def test_raises_and_is_gone_afterwards(number: int) -> None:
    before = [signal.getsignal(each) for each in STOPS]
    with pytest.raises(raised(number)), stoppable():
        hit(number)
        wait()
    assert [signal.getsignal(each) for each in STOPS] == before


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("second", STOPS)
def test_a_second_one_leaves_the_tidying_up_alone(number: int, second: int) -> None:
    tidied = []
    with pytest.raises(raised(number)), stoppable():
        try:
            hit(number)
            wait()
        finally:
            hit(second)
            try:
                raise FileNotFoundError("of something that has gone already")
            except FileNotFoundError:
                hit(second)
            tidied.append(True)
    assert tidied


@pytest.mark.parametrize("number", STOPS)
def test_what_belongs_together_is_done_first(number: int) -> None:
    done = []
    with pytest.raises(raised(number)), stoppable(), undisturbed():
        with undisturbed():
            hit(number)
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]


@pytest.mark.parametrize("number", STOPS)
def test_one_that_a_callback_swallows_comes_again(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    class Thing:
        pass

    def callback(_: object) -> None:
        hit(number)
        for _ in range(10):
            pass

    with pytest.raises(raised(number)), stoppable():
        thing = Thing()
        reference = weakref.ref(thing, callback)
        del thing
        assert reference() is None
        wait()
    assert "ignored" not in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_bare_except_does_not_stop_the_stop(number: int) -> None:
    with pytest.raises(Stopped), stoppable():
        try:
            hit(number)
            wait()
        except BaseException:
            pass
        wait()


def test_a_stop_while_a_script_handles_a_keyboard_interrupt_comes_afterwards() -> None:
    reached = []
    with pytest.raises(Stopped), stoppable():
        try:
            hit(signal.SIGINT)
            wait()
        except KeyboardInterrupt:
            hit(signal.SIGTERM)
            for _ in range(30):
                signal.sigtimedwait([], 0.01)
            reached.append(True)
        wait()
    assert reached


def test_a_script_may_take_a_keyboard_interrupt_and_go_on() -> None:
    with stoppable():
        with pytest.raises(KeyboardInterrupt):
            hit(signal.SIGINT)
            wait()
        for _ in range(30):
            signal.sigtimedwait([], 0.01)


@pytest.mark.parametrize("number", STOPS)
def test_extension_modules_are_loaded_first(number: int) -> None:
    """They would make an ImportError of it."""
    loaded = []

    class Loader(ExtensionFileLoader):
        def exec_module(self, module: object) -> None:
            hit(number)
            for _ in range(10):
                pass
            loaded.append(module)

    with pytest.raises(raised(number)), stoppable():
        Loader("module", "module.so").exec_module(object())  # type: ignore[arg-type]
        wait()
    assert loaded


def test_other_handlers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stoppable():
            hit(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_came_of_a_stop() -> None:
    stop = Stopped(15)
    error = ImportError("initialization failed")
    error.__cause__ = stop
    other = ValueError("else")
    other.__context__ = error
    assert stop_behind(other) is stop
    assert stop_behind(ValueError("alone")) is None
    assert stop_behind(None) is None
    stop_of_itself = ValueError("round")
    stop_of_itself.__context__ = KeyError("and")
    stop_of_itself.__context__.__context__ = stop_of_itself
    assert stop_behind(stop_of_itself) is None


def test_python_ends_silently_once_all_is_told() -> None:
    code = (
        "import atexit, os, signal, sys\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
        "sys.argv = ['knight', '--version']\n"
        "from knight.cli import main; main()"
    )
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGINT and done.stderr == ""


def endless() -> Session:
    """x float32[1000, 1000], multiplied by itself for hours."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1000, 1000])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1000, 1000])
    products = [helper.make_node("MatMul", [f"v{n}", "x"], [f"v{n + 1}"], f"matmul{n}") for n in range(20)]
    inner = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("v0", "v20")]
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), *products],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            inner[0],
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), inner[1]],
    )
    turns = helper.make_tensor("turns", TensorProto.INT64, [], [1_000_000])
    loop = helper.make_node("Loop", ["turns", "", "x"], ["y"], "loop", body=body)
    graph = helper.make_graph([loop], "endless", [x], [y], [turns])
    opsets = [helper.make_opsetid("", 17)]
    return Session(ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=8)))


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("number", STOPS)
def test_a_long_run_is_broken_off(number: int, in_place: bool) -> None:
    """At the next operator, of which there are too many to wait for."""
    with pytest.raises(raised(number)), stoppable():
        session = endless()
        run = session.run_in_place if in_place else session.run
        threading.Timer(0.3, hit, (number,)).start()
        run({"x": np.zeros((1000, 1000), np.float32)})
        wait()


def test_a_long_run_in_another_thread_is_broken_off() -> None:
    with pytest.raises(Stopped), stoppable(), ThreadPoolExecutor(1) as pool:
        session = endless()
        running = pool.submit(session.run, {"x": np.zeros((1000, 1000), np.float32)})
        threading.Timer(0.3, hit, (signal.SIGTERM,)).start()
        wait()
    assert "terminate" in str(running.exception())


def test_signals_of_a_child_process_break_nothing_off() -> None:
    broken = threading.Event()
    with stoppable(), breaking_off(broken.set, long_calls()):
        child = os.fork()
        if not child:
            hit(signal.SIGTERM)  # ends it, as it ends any process that does not handle it
            os._exit(1)
        assert os.waitpid(child, 0)[1] == signal.SIGTERM
        assert not broken.wait(0.3)


def test_nothing_is_broken_off_while_steps_belong_together() -> None:
    broken = threading.Event()
    with pytest.raises(Stopped), stoppable(), undisturbed(), breaking_off(broken.set, long_calls()):
        hit(signal.SIGTERM)
        assert not broken.wait(0.3)
