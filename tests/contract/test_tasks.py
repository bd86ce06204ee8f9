"""Every ready-made infer function goes through the same checks, on small models that are Python functions."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knight.errors import ConfigError, DataError, KnightError, ModelError
from knight.executor import Executor
from knight.runner import TensorInfo
from knight.tasks import reader_of, tasks
from tests.tasks._runs import Net, executor, info, paint

SAMPLES = 5
COLOURS = [(10 * number, 250 - 10 * number, 40) for number in range(SAMPLES)]


@dataclass(frozen=True)
class Case:
    """A task with what it needs: a model, and an entry for data that lie in a folder, without a metric.

    fill: writes `SAMPLES` samples; gives the entry, None for a task that reads none.
    """

    net: Net
    input: TensorInfo
    fill: Callable[[Path], dict[str, Any] | None]


def arrays(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    for number in range(SAMPLES):
        np.save(folder / f"{number}.npy", np.full((1, 4), number, np.float32))
    return {"data_dir": str(folder), "calculate_acc": False}


def pictures(folder: Path) -> dict[str, Any]:
    for number, colour in enumerate(COLOURS):
        paint(folder / f"{number}.png", colour)
    return {"data_dir": str(folder), "calculate_acc": False}


def scores(x: np.ndarray) -> list[np.ndarray]:
    return [x.reshape(len(x), -1)[:, :4]]


def same(x: np.ndarray) -> list[np.ndarray]:
    return [x]


CASES = {
    "infer_auto": Case(scores, info((1, 4)), lambda folder: None),
    "infer_default": Case(scores, info(), lambda folder: pictures(folder) | {"is_yolo": False}),
    "infer_audio": Case(scores, info((1, 4)), arrays),
    "infer_segmentation": Case(same, info(), pictures),
    "infer_super_resolution": Case(same, info(), pictures),
}
"""A new task needs a line here."""

names = pytest.mark.parametrize("name", tasks.names())
reading = pytest.mark.parametrize("name", [name for name in CASES if name != "infer_auto"])


def prepared(name: str, folder: Path, **changes: Any) -> Executor:
    """The task's executor on data in `folder`; `changes`: of its entry, None takes a key away."""
    case, settings = CASES[name], {}
    for key in ("iteration", "batch_size"):
        if key in changes:
            settings[key] = changes.pop(key)
    net = changes.pop("net", case.net)
    entry = case.fill(folder / "data")
    entries = () if entry is None else ({k: v for k, v in (entry | changes).items() if v is not None},)
    return executor(net, *entries, inputs=(case.input,), **settings)


def test_every_task_has_a_case() -> None:
    assert set(CASES) == set(tasks.names())


@names
def test_its_file_says_what_it_is_for(name: str) -> None:
    infer = tasks.get(name)
    text = (sys.modules[infer.__module__].__doc__ or "").splitlines()[0]
    assert text and len(text) <= 110
    assert infer.__doc__
    assert list(inspect.signature(infer).parameters) == ["executor"]


@names
def test_it_feeds_the_model_and_gives_a_number_or_nothing(name: str, tmp_path: Path) -> None:
    run = prepared(name, tmp_path, iteration=SAMPLES)
    metric = tasks.get(name)(run)
    assert metric is None or isinstance(metric, float)
    assert run.calls == run.samples == SAMPLES


@names
@pytest.mark.parametrize("iteration", [1, 3])
def test_iterations_are_forward_calls(name: str, iteration: int, tmp_path: Path) -> None:
    run = prepared(name, tmp_path, iteration=iteration)
    tasks.get(name)(run)
    assert run.calls == iteration


@names
def test_it_stops_when_more_samples_would_change_nothing(name: str, tmp_path: Path) -> None:
    runs: list[Executor] = []

    def net(*arrays: np.ndarray) -> list[np.ndarray]:
        runs[0].early_stop_flag = True
        return CASES[name].net(*arrays)

    runs.append(prepared(name, tmp_path, iteration=SAMPLES, net=net))
    tasks.get(name)(runs[0])
    assert runs[0].calls == 1


@names
def test_the_same_data_give_the_same_samples(name: str, tmp_path: Path) -> None:
    fed: list[list[bytes]] = []
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        seen: list[bytes] = []
        fed.append(seen)

        def net(x: np.ndarray, seen: list[bytes] = seen) -> list[np.ndarray]:
            seen.append(x.tobytes())
            return CASES[name].net(x)

        tasks.get(name)(prepared(name, tmp_path / folder, iteration=SAMPLES, net=net))
    assert fed[0] == fed[1] and len(fed[0]) == SAMPLES


@names
def test_what_goes_wrong_in_the_model_is_not_kept_back(name: str, tmp_path: Path) -> None:
    class Broken(Exception):
        pass

    def net(*arrays: np.ndarray) -> list[np.ndarray]:
        raise Broken

    with pytest.raises(ModelError, match=r"sample 1: the model cannot be run: Broken"):
        tasks.get(name)(prepared(name, tmp_path, net=net))


def told(name: str, folder: Path, kind: type[KnightError], **changes: Any) -> str:
    with pytest.raises(kind) as caught:
        tasks.get(name)(prepared(name, folder, **changes))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@reading
def test_an_unknown_key_is_refused_by_name(name: str, tmp_path: Path) -> None:
    assert "input-configs[0].interpolatoin" in told(name, tmp_path, ConfigError, interpolatoin="nearest")


@reading
def test_a_value_of_the_wrong_kind_is_refused_by_name(name: str, tmp_path: Path) -> None:
    assert "input-configs[0].calculate_acc" in told(name, tmp_path, ConfigError, calculate_acc="perhaps")


@reading
def test_data_dir_has_to_be_given(name: str, tmp_path: Path) -> None:
    assert "data_dir" in told(name, tmp_path, ConfigError, data_dir=None)


@reading
@pytest.mark.parametrize("there", [False, True])
def test_a_data_dir_without_data_is_named(name: str, there: bool, tmp_path: Path) -> None:
    place = tmp_path / "some place"
    if there:
        place.mkdir()
    assert str(place) in told(name, tmp_path, DataError, data_dir=str(place))


@reading
def test_entries_may_not_be_missing(name: str) -> None:
    case = CASES[name]
    with pytest.raises(ConfigError) as caught:
        tasks.get(name)(executor(case.net, inputs=(case.input,)))
    assert "input-configs" in str(caught.value) and "\n" not in str(caught.value)


@reading
def test_a_task_that_says_how_its_entries_are_read_reads_its_own(name: str, tmp_path: Path) -> None:
    read = reader_of(tasks.get(name))
    entry = CASES[name].fill(tmp_path / "data")
    assert entry is not None
    if read is not None:
        (found,) = read([entry])
        assert found.data_dir == entry["data_dir"]
        unknown: Mapping[str, Any] = entry | {"interpolatoin": "nearest"}
        with pytest.raises(ConfigError, match="interpolatoin"):
            read([unknown])


def test_tasks_of_pictures_say_how_their_entries_are_read() -> None:
    known = {name for name in tasks.names() if reader_of(tasks.get(name)) is not None}
    assert known >= {"infer_default", "infer_segmentation", "infer_super_resolution"}
