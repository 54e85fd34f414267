"""`compile`: the same training through `torch.compile`, which survives a resume like any other."""

import itertools
import shutil

import pytest
import torch

from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.runtime.contract import Interrupted, Note

pytestmark = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("c++")), reason="PyTorch compiles with g++")

METHOD = {"name": "fine_tune", "epochs": 3, "batch_size": 8, "compile": True}


def test_a_compiled_training_resumes_bit_for_bit(tmp_path):
    case = Setting(METHOD, tasks.source(tmp_path / "source"), tasks.dataset(tmp_path / "data", 10))
    whole = tasks.run(case, tmp_path / "whole")
    assert not [note for note in whole.recorder.of(Note) if note.type == "not_compiled"]
    calls = itertools.count()
    with pytest.raises(Interrupted):
        tasks.run(case, tmp_path / "part", lambda recorder: "shutdown" if next(calls) == 9 else None)
    [snapshot] = (tmp_path / "part").glob("snapshot-*")
    rest = tasks.run(case, tmp_path / "rest", snapshot=snapshot)
    assert all(torch.equal(tensor, rest.weights[name]) for name, tensor in whole.weights.items())


def test_its_losses_are_those_without(tmp_path):
    source, data = tasks.source(tmp_path / "source"), tasks.dataset(tmp_path / "data", 10)
    probe = {"name": "linear_probe", "augmentation": [{"name": "random_crop"}]}  # no dropout, which draws otherwise
    method = METHOD | {"epochs": 1} | probe
    compiled = tasks.run(Setting(method, source, data), tmp_path / "compiled")
    eager = tasks.run(Setting(method | {"compile": False}, source, data), tmp_path / "eager")
    assert compiled.trace == pytest.approx(eager.trace, abs=1e-5)
