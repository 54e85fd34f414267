"""What training scripts put beside the weights is read as nothing; what executes, or might hold the weights, is not."""

import argparse
import collections
import datetime
import functools
import operator
import pathlib
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.weights_files import saved, state
from tests.worker.ingest.checkpointed import refusal
from worker.ingest import weights
from worker.ingest.watch import DiskWatch
from worker.runtime.contract import Failure
from worker.runtime.recorder import Recorder


class Options:
    """As a script's own class of options."""

    def __init__(self) -> None:
        self.lr, self.path = 0.1, pathlib.Path("x")


class Config(dict[str, Any]):
    """As MMEngine's and easydict's: a dict whose keys are attributes, too."""


class Steps(list[int]):
    pass


class Averager:
    """As a script's own class of averages, which keeps weights."""

    def __init__(self) -> None:
        self.shadow = state()


INERT: dict[str, Any] = {
    "namespace": argparse.Namespace(lr=0.1, data=pathlib.Path("/data"), names=["a"]),
    "numpy scalar": np.float64(0.5),
    "numpy integer": np.int64(3),
    "numpy array": np.arange(6).reshape(2, 3),
    "numpy's random state": np.random.RandomState(0).get_state(),  # what old scripts save
    "path": pathlib.PurePosixPath("a/b"),
    "date": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    "duration": datetime.timedelta(seconds=3),
    "defaultdict": collections.defaultdict(list, {"a": [1]}),
    "deque": collections.deque([1, 2], maxlen=3),
    "class": torch.optim.SGD,
    "own options": Options(),
    "configuration": Config(lr=0.1, model=Config(depth=18)),
    "list of its own kind": Steps([1, 2]),
    "scheduler": torch.optim.lr_scheduler.StepLR(torch.optim.SGD([nn.Parameter(torch.ones(1))], 0.1), 3).state_dict(),
    "namespace of types": types.SimpleNamespace,
    "frozen set": frozenset({1}),
    "range": range(3),
}


def read(folder: Path, data: bytes) -> dict[str, torch.Tensor]:
    path = folder / "file"
    path.write_bytes(data)
    return weights.read(path, DiskWatch(Recorder()))


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", INERT)
def test_what_is_no_weight_is_read_as_nothing(tmp_path: Path, kind: str, legacy: bool) -> None:
    content = {"before": INERT[kind], "state_dict": state(), "after": [INERT[kind], {"deep": (INERT[kind],)}]}
    found = read(tmp_path, saved(content, legacy=legacy))
    assert found.keys() == {f"state_dict.{name}" for name in state()}
    assert all(torch.equal(found[f"state_dict.{name}"], tensor) for name, tensor in state().items())


def test_weights_in_a_kind_of_dict_are_weights(tmp_path: Path) -> None:
    for name, content in {"own": Config(state()), "default": collections.defaultdict(int, state())}.items():
        found = read(tmp_path, saved({name: content}))
        assert found.keys() == {f"{name}.{tensor}" for tensor in state()}


class Calls:
    """Unpickled, it calls a function."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call[0], self.call[1:]


CALLING = {
    "attribute": Calls(getattr, Path, "touch"),
    "evaluation": Calls(eval, "1"),
    "partial": functools.partial(print),
    "item": operator.itemgetter(1),
    "import": Calls(__import__, "os"),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", CALLING)
def test_whatever_else_is_called_is_refused(tmp_path: Path, kind: str, legacy: bool) -> None:
    with pytest.raises(Failure) as failed:
        read(tmp_path, saved({"state_dict": state(), "x": CALLING[kind]}, legacy=legacy))
    assert failed.value.code == "unsafe_pickle"
    assert "state_dict()" in failed.value.message


@pytest.mark.parametrize("content", [Averager(), nn.Linear(2, 2)], ids=["own", "module"])
def test_an_object_that_holds_tensors_is_refused_by_its_name(tmp_path: Path, content: Any) -> None:
    """They might be the weights that count."""
    failure = refusal(tmp_path, saved({"model": state(), "ema": content}))
    assert failure.code == "unsafe_pickle"
    assert type(content).__name__ in failure.message
    assert "tensors" in failure.message


def test_no_constructor_of_the_file_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def called(*_: object) -> None:
        raise AssertionError("it was made")

    data = saved({"state_dict": state(), "options": Options()})
    monkeypatch.setattr(Options, "__new__", called)
    monkeypatch.setattr(Options, "__setstate__", called, raising=False)
    assert len(read(tmp_path, data)) == len(state())
