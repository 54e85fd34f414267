"""Dropout acts wherever something learns before or behind it, and nowhere in what is frozen throughout."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.methods.supervised.lora import Lora
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.methods.supervised import lora
from worker.networks import build
from worker.networks.classifier import Classifier
from worker.networks.structure import Structure
from worker.runtime.contract import Note
from worker.training.freezing import Freezer

COMMON = {"epochs": 3, "batch_size": 8}
FINE_TUNE = {"name": "fine_tune", **COMMON}
AS_IT_IS = {"augmentation": "none"}


@pytest.fixture
def go(tmp_path):
    source, data = tasks.source(tmp_path / "source"), tasks.dataset(tmp_path / "data", 10)
    numbers = iter(range(100))
    return lambda method: tasks.run(Setting(method, source, data), tmp_path / f"run{next(numbers)}")


@contextmanager
def dropping() -> Iterator[list[bool]]:
    """Of every training step, whether the dropout before the head took something away."""
    dropped: list[bool] = []

    def look(module: nn.Module, given: Any, made: Any) -> None:
        if type(module) is nn.Dropout and torch.is_grad_enabled() and len(given[0]) == COMMON["batch_size"]:
            dropped.append(not torch.equal(given[0], made))

    hook = nn.modules.module.register_module_forward_hook(look)
    try:
        yield dropped
    finally:
        hook.remove()


@pytest.mark.parametrize(
    "method",
    [
        FINE_TUNE | {"trainable": "head"},
        FINE_TUNE | {"trainable": "head"} | AS_IT_IS,
        FINE_TUNE | {"trainable": "last_stages"},
        FINE_TUNE | {"trainable": "last_stages"} | AS_IT_IS,
        FINE_TUNE | {"frozen_epochs": 2},
        FINE_TUNE | {"unfreeze_every": 1},
        {"name": "lora", "targets": "convolutions", "dropout": 0.0, **COMMON},
        {"name": "lora", "dropout": 0.1, **COMMON},
    ],
    ids=["head", "cached head", "last", "cached last", "frozen at first", "gradually", "lora", "lora with dropout"],
)
def test_the_dropout_before_the_head_acts_at_every_step(go, method):
    with dropping() as dropped:
        outcome = go(method)
    assert len(dropped) >= 3 * 40 / 8
    assert all(dropped)
    cached = any(note.type == "frozen_once" for note in outcome.recorder.of(Note))
    assert cached == ("augmentation" in method)


def test_a_linear_probe_learns_on_what_is_evaluated(go):
    """With and without augmentation, by which its features are computed once or at every step."""
    for method in ({"name": "linear_probe", **COMMON}, {"name": "linear_probe", "augmentation": [], **COMMON}):
        with dropping() as dropped:
            go(method)
        assert not any(dropped)


def test_the_dropout_of_lora_changes_what_is_learnt(go):
    without, with_it = (go({"name": "lora", "dropout": p, **COMMON}) for p in (0.0, 0.5))
    assert without.trace != with_it.trace


def test_lora_drops_out_as_peft_does():
    """One training step's scores, against a model that `peft` wraps itself and puts into training mode."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    input = InputSpec.model_validate(tasks.INPUT)
    network = build.build(NetworkSpec.model_validate(tasks.network(10)), input)
    learner = Classifier(network, Structure.of(network, input), input, None)
    params = Lora(rank=2, dropout=0.5)
    config = LoraConfig(
        r=2,
        lora_alpha=8,
        lora_dropout=0.5,
        target_modules=lora.targets(network, params, ("head",)),
        modules_to_save=["head"],
    )
    reference = get_peft_model(deepcopy(network), config)
    lora._inject(learner, params)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if "lora_" in name:
                tensor.normal_(0, 0.3)
                reference.state_dict()[f"base_model.model.{name}"].copy_(tensor)
    Freezer(network).train(lora.trainable(learner))
    reference.train()
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    x_BCHW = torch.randn(8, 1, tasks.SIDE, tasks.SIDE)
    scores = []
    for model in (network, reference):
        torch.manual_seed(1)
        scores.append(model(x_BCHW))
    torch.testing.assert_close(scores[0], scores[1])
    assert not torch.allclose(scores[0], network.eval()(x_BCHW))
    learns = [
        sorted(n.split("base_model.model.")[-1] for n, p in m.named_parameters() if p.requires_grad)
        for m in (network, reference)
    ]
    assert [name.replace("head.modules_to_save.default.", "head.") for name in learns[1]] == learns[0]
