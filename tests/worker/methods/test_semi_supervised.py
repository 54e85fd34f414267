"""Few labels and many images: what is read of which images, and what is said of it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from app.methods.registry import METHODS, parse
from app.methods.semi_supervised.family import SemiSupervised
from app.methods.semi_supervised.fixmatch import FixMatch
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from tests.worker.methods.test_domains import classifier, relabelled
from worker.data.batches import Batch
from worker.data.parallel import Together
from worker.methods.semi_supervised.family import ConsistencyObjective, Space
from worker.methods.semi_supervised.fixmatch import FixedThreshold
from worker.runtime.contract import Failure, Note
from worker.training.protocols import Moment

COMMON = {"epochs": 2, "batch_size": 8, "threshold": 0.2}
NEW = {"network": tasks.network(10), "input": tasks.INPUT}
FIXMATCH = {"name": "fixmatch", **COMMON, **NEW}
FAMILY = [name for name, method in METHODS.items() if issubclass(method, SemiSupervised)]


def named(name):
    return {key: value for key, value in (FIXMATCH | {"name": name}).items() if key in METHODS[name].model_fields}


def elsewhere(data):
    return {"ds_elsewhere": data}


@pytest.mark.parametrize("name", FAMILY)
def test_labels_of_the_images_without_are_sealed(tmp_path, name):
    target, others = tasks.dataset(tmp_path / "target", 10), tasks.dataset(tmp_path / "others", 10, seed=5)
    shuffled = relabelled(others, tmp_path / "shuffled", (0, 1, 2), lambda label_N: label_N[::-1])
    method = named(name) | {"unlabelled": "ds_elsewhere"}
    first, second = (
        tasks.run(Setting(method, None, target, environments=elsewhere(data)), tmp_path / where)
        for where, data in (("a", others), ("b", shuffled))
    )
    assert first.sha256 == second.sha256
    assert "40 training labels and 20 validation labels" in first.document["evaluation"]["labels_used"]


def test_the_images_are_those_of_the_dataset_that_is_named(tmp_path):
    target, others = tasks.dataset(tmp_path / "target", 10), tasks.dataset(tmp_path / "others", 10, 16, seed=5)
    here = tasks.run(Setting(FIXMATCH, None, target), tmp_path / "a")
    there = tasks.run(
        Setting(FIXMATCH | {"unlabelled": "ds_elsewhere"}, None, target, environments=elsewhere(others)),
        tmp_path / "b",
    )
    assert [run.document["transfer"]["unlabelled"]["images"] for run in (here, there)] == [40, 80]
    assert here.sha256 != there.sha256


def test_images_of_the_dataset_that_have_no_label_are_learnt_from(tmp_path):
    """Half of the training images have none; with the labels of the other half all 40 images are learnt from."""
    whole = tasks.dataset(tmp_path / "target", 10)
    target = relabelled(whole, tmp_path / "half", (0,), lambda label_N: np.where(np.arange(40) % 2, label_N, -1))
    document = tasks.run(Setting(FIXMATCH, None, target), tmp_path / "run").document
    assert "20 training labels and 20 validation" in document["evaluation"]["labels_used"]
    assert document["transfer"]["unlabelled"]["images"] == 40


def test_the_label_budget_holds_for_labels_alone(tmp_path):
    target = tasks.dataset(tmp_path / "target", 10)
    document = tasks.run(Setting(FIXMATCH | {"labels_per_class": 1}, None, target), tmp_path / "run").document
    assert "10 training labels and 10 validation" in document["evaluation"]["labels_used"]
    assert document["transfer"]["unlabelled"]["images"] == 40


def test_it_is_said_where_nothing_was_sure(tmp_path):
    target = tasks.dataset(tmp_path / "target", 10)
    unsure, sure = (
        tasks.run(Setting(FIXMATCH | {"threshold": threshold}, None, target), tmp_path / str(threshold))
        for threshold in (1.0, 0.0)
    )
    assert [run.document["transfer"]["unlabelled"]["sure"] for run in (unsure, sure)] == [0, 1]
    assert [
        [note.level for note in run.recorder.of(Note) if note.type == "nothing_sure"] for run in (unsure, sure)
    ] == [
        ["warning"],
        [],
    ]


def test_a_dataset_without_training_images_is_refused(tmp_path):
    target = tasks.dataset(tmp_path / "target", 10)
    others = tasks.dataset(tmp_path / "others", 10, splits=(1, 1, 1, 1, 1, 1, 2, 2))
    method = FIXMATCH | {"unlabelled": "ds_elsewhere"}
    with pytest.raises(Failure, match="empty"):
        tasks.run(Setting(method, None, target, environments=elsewhere(others)), tmp_path / "run")


def test_closed_defaults_are_parameters_again():
    """The longest weak augmentation, followed by what makes it strong."""
    steps = [{"name": "horizontal_flip"}] * 16
    closed = parse({"name": "fixmatch", **NEW, "augmentation": steps}).resolve(400, (8, 8))
    assert isinstance(closed, FixMatch)
    again = parse(closed.document())
    assert again == closed == again.resolve(400, (8, 8))
    assert [step.name for step in closed.strong[-2:]] == ["rand_augment", "random_erasing"]


@pytest.mark.parametrize(("images", "steps"), [(100, 1000), (4_000, 1008), (1_000_000, 44_650)])
def test_runs_on_defaults_are_of_a_thousand_steps_or_ten_epochs(images, steps):
    closed = parse({"name": "fixmatch", **NEW}).resolve(images, (8, 8))
    assert closed.steps(images) == steps


def test_the_objective_is_cross_entropy_on_labels_plus_that_of_the_strong_views():
    """Sohn et al. 2020, eq. 3 and 4, with λ 3 and a threshold that one of two images reaches."""
    learner = classifier()
    learner.module.eval()
    params = FixMatch(**NEW, unlabelled_weight=3.0)
    x = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    logits_NK = learner.module(x)
    weak_MK, strong_MK = logits_NK[2:4].detach(), logits_NK[4:]
    confidence = weak_MK.softmax(1).amax(1)
    threshold = float(confidence.mean())
    objective = ConsistencyObjective(learner, params, FixedThreshold(Space(10, torch.device("cpu")), threshold))
    y_B, sure = torch.tensor([3, 7]), int(confidence.argmax())
    seen = Together({"labelled": Batch(x[:2], y_B, y_B), "unlabelled": Batch(x[2:], torch.tensor([-1, -1]), y_B)})
    losses = objective(seen, Moment(0, 0, 0.0))
    on_labels = F.cross_entropy(logits_NK[:2], y_B)
    on_images = F.cross_entropy(strong_MK[sure][None], weak_MK[sure].argmax()[None]) / 2
    assert losses["loss"].item() == pytest.approx((on_labels + 3 * on_images).item())
    assert losses["sure"].item() == objective.sure.mean == 0.5
