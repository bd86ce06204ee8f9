"""What ONNX Runtime says is one line that names the innermost node."""

from __future__ import annotations

from knight.failures import reason

OUTER = "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Loop node. Name:'loop' "
INNER = "Status Message: Non-zero status code returned while running Concat node. Name:'{}' "
BUFFER = (
    "Status Message: /x/bfc_arena.cc:360 Failed to allocate memory for requested buffer of size 68719476736"
)


def test_memory_names_the_node_and_what_it_asked_for() -> None:
    text = reason(RuntimeError(OUTER + INNER.format("join") + BUFFER))
    assert text.startswith("node 'join' (Concat) asks for 68.7 GB, more than is free")


def test_a_node_without_a_name_is_passed_over() -> None:
    assert reason(RuntimeError(OUTER + INNER.format("") + BUFFER)).startswith("node 'loop' (Loop) asks for")


def test_memory_of_unknown_size() -> None:
    assert reason(MemoryError("std::bad_alloc")).startswith("it asks for more memory than is free")
    assert reason(RuntimeError(OUTER + "bad allocation")).startswith(
        "node 'loop' (Loop) asks for more memory than is free"
    )


def test_a_stopped_run_says_why() -> None:
    text = reason(RuntimeError(OUTER + "Exiting due to terminate flag being set to true."), "takes too long")
    assert text == "node 'loop' (Loop) takes too long"


def test_other_messages_stay_without_their_prefix() -> None:
    assert reason(RuntimeError("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got\n  invalid dimensions")) == (
        "Got invalid dimensions"
    )
