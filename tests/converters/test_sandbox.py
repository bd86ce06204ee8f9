"""What the process of a conversion may not do, tried in processes of their own."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

ROOT = Path(__file__).resolve().parents[2]
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system's own means are Linux's")


def confined(folder: Path, body: str) -> str:
    """What `body` prints behind confine(folder); `attempt` says whether a function may do what it does."""
    script = """
import os, pathlib, socket, subprocess, sys
from knight.converters import _sandbox
folder = pathlib.Path(sys.argv[1])
_sandbox.confine(folder, 0)
def attempt(name, action):
    try:
        action()
    except OSError as error:
        print(name, type(error).__name__)
    else:
        print(name, "done")
"""
    done = subprocess.run(
        [sys.executable, "-c", script + textwrap.dedent(body), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def has_landlock() -> bool:
    code = "import ctypes, sys; sys.exit(ctypes.CDLL(None).syscall(444, None, 0, 1) < 1)"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@LINUX
def test_files_are_made_in_its_folder_only(tmp_path: Path) -> None:
    if not has_landlock():
        pytest.skip("this kernel has no Landlock")
    folder, other = tmp_path / "own", tmp_path / "other"
    for path in (folder, other):
        path.mkdir()
    (other / "file").write_text("kept")
    said = confined(
        folder,
        f"""
        other = pathlib.Path({str(other)!r})
        attempt("own", lambda: (folder / "a").write_text("x"))
        attempt("moved", lambda: (folder / "a").rename(folder / "b"))
        attempt("null", lambda: open(os.devnull, "w").write("x"))
        attempt("read", lambda: (other / "file").read_text())
        attempt("new", lambda: (other / "new").write_text("x"))
        attempt("appended", lambda: open(other / "file", "a"))
        attempt("truncated", lambda: os.truncate(other / "file", 0))
        attempt("removed", lambda: (other / "file").unlink())
        attempt("linked", lambda: (other / "link").symlink_to("/etc"))
        attempt("folder", lambda: (other / "deep").mkdir())
        attempt("taken", lambda: (other / "file").rename(folder / "file"))
        subprocess.run(["touch", other / "child"], stderr=subprocess.DEVNULL)
        """,
    )
    results = dict(line.split() for line in said.splitlines())
    allowed = {name for name, result in results.items() if result == "done"}
    assert allowed == {"own", "moved", "null", "read"}, results
    assert [path.name for path in other.iterdir()] == ["file"] and (other / "file").read_text() == "kept"


@LINUX
def test_no_sockets(tmp_path: Path) -> None:
    said = confined(
        tmp_path,
        """
        attempt("tcp", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        attempt("udp", lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        attempt("local", lambda: socket.socket(socket.AF_UNIX))
        attempt("pair", lambda: socket.socketpair())
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        print("uring", libc.syscall(425, 8, ctypes.create_string_buffer(120)) < 0)
        print("x32", libc.syscall((1 << 30) + 41, 2, 1, 0), ctypes.get_errno())
        """,
    )
    denied = "PermissionError"
    assert said.split()[:10] == [
        "tcp",
        denied,
        "udp",
        denied,
        "local",
        denied,
        "pair",
        "done",
        "uring",
        "True",
    ]
    assert said.split()[10:] == ["x32", "-1", str(errno.EACCES)]


def test_memory_and_files_have_an_end(tmp_path: Path) -> None:
    said = confined(
        tmp_path,
        """
        import resource
        for kind in ("RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_AS", "RLIMIT_FSIZE"):
            print(resource.getrlimit(getattr(resource, kind))[0] >= 0)
        try:
            bytearray(1 << 45)
        except MemoryError:
            print("no memory")
        """,
    )
    assert said.split() == ["True"] * 4 + ["no", "memory"]


# the process that is started, and the one that starts it


def endless(path: Path) -> Path:
    """A model that computes for a long time, so that its conversion can be stopped in the middle."""
    size = 1024
    nodes = [helper.make_node("MatMul", [f"v{number}", "x"], [f"v{number + 1}"]) for number in range(400)]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["v0"]), *nodes],
        "long",
        [value("x", TensorProto.FLOAT, [size, size])],
        [value("v400", TensorProto.FLOAT, [size, size])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def workers(folder: Path) -> list[int]:
    """Processes of conversions whose request lies beneath `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:  # it has just ended
                continue
            if b"_worker" in command and os.fsencode(folder) in command and state != "Z":
                found.append(int(entry.name))
    return found


@LINUX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_it_ends_with_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    model = endless(tmp_path / "long.onnx")
    command = [
        sys.executable,
        "-m",
        "knight",
        "convert",
        "-m",
        str(model),
        "--save-dir",
        str(tmp_path / "out"),
    ]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not workers(temporary):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    while workers(temporary):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if number == signal.SIGKILL:
        return  # nobody is left to tidy up
    assert process.returncode == 128 + number and "earlier results are as they were" in errors
    left = {path.name for path in temporary.iterdir()}
    assert left <= {".ses"}  # ONNX Runtime's own, made when it is imported
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.onnx"))
