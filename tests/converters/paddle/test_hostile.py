"""Operators that do more than compute are refused by name; whole files of them are in tests/hostile."""

from __future__ import annotations

import pytest

from knight.converters.paddle._operators import check_operators, names_of_json
from knight.errors import ModelError


@pytest.mark.parametrize(
    "name",
    [
        *(
            "conv2d",
            "batch_norm_",
            "print",
            "array_read",
            "read_from_array",
            "graph_send_recv",
            "share_data_",
        ),
        *(
            "distribute_fpn_proposals",
            "assign_value",
            "set_value_",
            "memcpy_h2d",
            "while",
            "concat",
            "cumsum",
        ),
    ],
)
def test_those_that_compute(name: str) -> None:
    check_operators([name], "model m")


@pytest.mark.parametrize(
    "name",
    [
        *("save", "save_combine", "save_", "load", "load_combine", "read", "read_file", "create_py_reader"),
        *("py_func", "py_layer", "run_program", "tensorrt_engine", "openvino_engine", "cinn_launch"),
        *("send_v2", "recv_v2", "p_send_array", "partial_recv", "c_allreduce_sum", "c_comm_init", "barrier"),
        *("push_sparse", "pull_box_sparse", "listen_and_serv", "global_gather", "custom_op.any", "py_op.any"),
    ],
)
def test_those_that_do_more(name: str) -> None:
    with pytest.raises(ModelError, match=f"model m: holds the operator {name},"):
        check_operators(["relu", name], "model m")


def test_names_of_blocks_within_blocks() -> None:
    def within(*ops: dict[str, object]) -> dict[str, object]:
        return {"regions": [{"#": "region", "blocks": [{"#": "block", "args": [], "ops": list(ops)}]}]}

    deep: dict[str, object] = {"#": "1.save_combine"}
    for _ in range(3000):
        deep = {"#": "2.while", **within(deep)}
    program = {"program": within({"#": "1.relu"}, {"#": "p"}, {"#": "custom_op.any"}, deep)}
    names = list(names_of_json(program))
    assert set(names) == {"relu", "custom_op.any", "while", "save_combine"} and names.count("while") == 3000
