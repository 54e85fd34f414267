"""Who cuts parts from images sees them with the pixels that are stored, not with those that the network takes."""

import itertools

import pytest
import torch
from torch import nn

from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.runtime.contract import Interrupted

CUT = [{"name": "random_resized_crop", "scale": [0.25, 0.25], "ratio": [1, 1]}]
METHOD = {"name": "fine_tune", "epochs": 2, "batch_size": 8}
VIEWS = {"name": "simclr", "hidden": 16, "dimensions": 8, "epochs": 2, "batch_size": 8}


@pytest.fixture
def case(tmp_path, monkeypatch):
    """Noise of twice the network's size: what the network takes of the whole is a mean of four pixels."""
    monkeypatch.setattr(tasks, "SIDE", 16)
    return Setting(METHOD, tasks.source(tmp_path / "source"), tasks.dataset(tmp_path / "data", 10))


def run(case, workdir, order=None, snapshot=None, **method):
    changed = Setting(case.method | method, case.source, case.target)
    return tasks.run(changed, workdir, order, snapshot=snapshot)


@pytest.fixture
def contrast():
    """The mean deviation within the images that networks have learned from, and their sizes."""
    found, sizes = [], set()

    def look(module, given):
        if isinstance(module, nn.Conv2d) and module.in_channels == 1 and module.training:
            sizes.add(tuple(given[0].shape[2:]))
            found.append(float(given[0].std((1, 2, 3)).mean()))

    hook = nn.modules.module.register_module_forward_pre_hook(look)
    yield lambda: (sum(found) / len(found), sizes, found.clear())[:2]
    hook.remove()


@pytest.mark.parametrize("method", [METHOD, VIEWS], ids=lambda method: method["name"])
def test_parts_are_as_sharp_as_what_is_stored(case, tmp_path, contrast, method):
    whole = [{"name": "horizontal_flip"}]
    run(case, tmp_path / "whole", **method | {"augmentation": whole})
    of_whole, sizes = contrast()
    run(case, tmp_path / "parts", **method | {"augmentation": CUT})
    of_parts, _ = contrast()
    run(case, tmp_path / "late", **method | {"augmentation": whole + CUT})
    of_late, _ = contrast()
    assert sizes == {(8, 8)}
    assert of_parts > 1.3 * of_whole > 1.3 * of_late  # cut from the network's own pixels, parts are blurred


def test_a_resumed_run_equals_an_uninterrupted_one(case, tmp_path):
    whole = run(case, tmp_path / "run", augmentation=CUT)
    asked = itertools.count()
    with pytest.raises(Interrupted):
        run(case, tmp_path / "part", lambda recorder: "shutdown" if next(asked) == 6 else None, augmentation=CUT)
    [snapshot] = (tmp_path / "part").glob("snapshot-*")
    rest = run(case, tmp_path / "rest", snapshot=snapshot, augmentation=CUT)
    assert all(torch.equal(tensor, rest.weights[name]) for name, tensor in whole.weights.items())
