"""The loop: what it computes, what it reports, how it stops, and that it goes on as if it had never stopped."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from app.contract.augmentation import HorizontalFlip, RandomCrop
from app.contract.inputs import InputSpec
from app.methods.training import Schedule
from worker.data import batches as data
from worker.data import transforms
from worker.networks.classifier import Classifier
from worker.networks.structure import Structure
from worker.runtime import device
from worker.runtime.contract import Failure, Interrupted, Metric, Progress, Snapshot
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run
from worker.training import evaluate, schedules
from worker.training.freezing import Scope
from worker.training.optimizers import Optimiser, groups
from worker.training.protocols import Validation
from worker.training.trainer import Trainer

CPU = torch.device("cpu")
SPEC = InputSpec(size=(6, 6), channels=1, mean=(0.5,), std=(0.25,))
EPOCHS, COUNT, BATCH = 5, 22, 8


class Network(nn.Module):
    """With everything that has state: batch norm's buffers, and dropout, which draws from the global generator."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten())
        self.head = nn.Linear(64, 3)

    def forward(self, x):
        return self.head(self.body(x))


class Ramp:
    """A term with explicit state: a random map, and an average of what it has seen."""

    def __init__(self):
        self.map = torch.randn(3, 3)
        self.mean = torch.zeros(3)

    def __call__(self, logits):
        self.mean = 0.9 * self.mean + 0.1 * logits.detach().mean(0)
        return ((logits - self.mean) @ self.map).square().mean()

    def state_dict(self):
        return {"map": self.map, "mean": self.mean}

    def load_state_dict(self, state):
        self.map, self.mean = state["map"], state["mean"]


def pool():
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (COUNT, 6, 6, 1), dtype=torch.uint8, generator=generator)
    return data.Images(pixels, torch.randint(3, (COUNT,), generator=generator))


def classifier(network):
    return Classifier(network, Structure(("head",), (), 64, separable=True), SPEC, None)


def train(workdir, order=None, snapshot=None, every_s=1e9, kind="sgd", loss=None, validation=True, seed=3):
    """A run as a method makes it; returns (network, fitted, recorder)."""
    workdir.mkdir(exist_ok=True)
    recorder = Recorder(order)
    run = Run(recorder, workdir, seed=seed, snapshot=snapshot, snapshot_every_s=every_s)
    images, prepare = pool(), data.Prepare(SPEC, CPU, torch.channels_last)
    with device.reproducible(CPU, seed, run.threads):
        network, term = Network(), Ramp()
        device.place(network, CPU)
        steps = transforms.compose([RandomCrop(padding=1), HorizontalFlip()])
        batches = data.image_batches(run, images, prepare=prepare, batch_size=BATCH, augment=steps)
        schedule = Schedule(
            epochs=EPOCHS,
            batch_size=BATCH,
            learning_rate=0.02,
            weight_decay=0.01,
            optimizer=kind,
            warmup_epochs=2 / batches.per_epoch,
        )
        scope = Scope(lambda epoch: ["head"] if epoch == 0 else None)

        def objective(batch, moment):
            logits = network(batch.x)
            r = term(logits)
            return {"loss": F.cross_entropy(logits, batch.y_B) + moment.progress * r, "r": r}

        fitted = Trainer(run, classifier(network), schedule, scope, stateful={"term": term}).fit(
            batches,
            loss or objective,
            evaluate.validator(run, network, lambda: evaluate.image_batches(run, images, prepare))
            if validation
            else None,
        )
    return network, fitted, recorder


def same(first, second):
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def at_batch(number, command):
    """Gives `command` before batch `number` (from 0) of this process."""
    asked = iter(range(1_000_000))
    return lambda recorder: command if next(asked) == number else None


def test_same_seed_same_bytes(tmp_path):
    first, _, a = train(tmp_path / "a")
    second, _, b = train(tmp_path / "b")
    other, _, _ = train(tmp_path / "c", seed=4)
    assert same(first, second)
    assert [e for e in a.events if isinstance(e, Metric)] == [e for e in b.events if isinstance(e, Metric)]
    assert not same(first, other)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("command", ["pause", "shutdown"])
@pytest.mark.parametrize("batch", [0, 1, 3, 4, 7, 13, 17])
def test_resume_is_exact(tmp_path, batch, command, kind):
    """At the start, within an epoch, at its end before and after validation, with and without a best state (trap 3)."""
    whole, fitted, recorder = train(tmp_path / "whole", kind=kind)
    with pytest.raises(Interrupted) as interrupted:
        train(tmp_path / "part", at_batch(batch, command), kind=kind)
    assert interrupted.value.command == command
    snapshot = max((tmp_path / "part").iterdir())
    rest, fitted_rest, rest_recorder = train(tmp_path / "rest", snapshot=snapshot, kind=kind)
    assert same(whole, rest)
    assert fitted == fitted_rest
    points = [event for event in recorder.events if isinstance(event, Metric)]
    rest_points = [event for event in rest_recorder.events if isinstance(event, Metric)]
    assert points[-len(rest_points) :] == rest_points


def test_a_chain_of_snapshots_is_exact(tmp_path):
    """Interrupted at every single batch, also within validations, the run ends as if it had never been."""
    whole, fitted, _ = train(tmp_path / "whole")
    snapshot, times = None, 0
    while True:
        try:
            last, fitted_last, _ = train(tmp_path / f"{times}", at_batch(1, "shutdown"), snapshot=snapshot)
            break
        except Interrupted:
            [snapshot] = (tmp_path / f"{times}").iterdir()
            times += 1
    assert times > EPOCHS * 3
    assert same(whole, last)
    assert fitted == fitted_last


def test_periodic_snapshots_lead_to_the_same_end(tmp_path):
    whole, _, recorder = train(tmp_path / "a", every_s=0)
    snapshots = recorder.of(Snapshot)
    assert len({event.path for event in snapshots}) == len(snapshots) > 10
    for event in (snapshots[4], snapshots[-1]):
        assert same(train(tmp_path / f"from{event.step}", snapshot=event.path)[0], whole)


def test_a_finished_phase_is_not_run_again(tmp_path):
    def after_fit(recorder):
        done = any(isinstance(event, Progress) and event.step == event.total_steps for event in recorder.events)
        return "shutdown" if done else None

    first, fitted, recorder = train(tmp_path / "a")
    run = Run(Recorder(after_fit), tmp_path)
    done = {
        "network": first.state_dict(),
        "beside": {},
        "fitted": vars(fitted),
        "random": {"cpu": torch.get_rng_state()},
    }
    run.done("train", done, fitted.steps)
    run._save()
    [snapshot] = tmp_path.glob("*.pt")
    again, fitted_again, recorder = train(tmp_path / "b", snapshot=snapshot)
    assert same(first, again)
    assert fitted_again == fitted
    assert not recorder.of(Metric)


def test_cancel_stops_at_once_and_keeps_nothing(tmp_path):
    with pytest.raises(Interrupted) as interrupted:
        train(tmp_path / "a", at_batch(2, "cancel"))
    assert interrupted.value.command == "cancel"
    assert not list((tmp_path / "a").iterdir())


@pytest.mark.parametrize("bad_step", [1, 5, 12])
def test_divergence_is_told_with_its_step(tmp_path, bad_step):
    def loss(batch, moment):
        value = math.nan if moment.step + 1 == bad_step else 1.0
        return {"loss": torch.tensor(value, requires_grad=True)}

    with pytest.raises(Failure, match=f"step {bad_step}:") as failure:
        train(tmp_path / "a", loss=loss, validation=False)
    assert failure.value.code == "diverged"


def test_progress_runs_to_its_end(tmp_path):
    _, fitted, recorder = train(tmp_path / "a")
    told = recorder.of(Progress)
    assert (told[0].step, told[0].total_steps) == (0, 15)
    assert told[1].eta_s is not None
    assert (told[-1].step, told[-1].total_steps, told[-1].eta_s) == (15, 15, 0.0)
    assert (fitted.steps, fitted.epochs) == (15, EPOCHS)


def test_metrics(tmp_path):
    _, _, recorder = train(tmp_path / "a")
    assert len(recorder.series("loss", "train")) == len(recorder.series("r", "train")) == 15
    assert len(recorder.series("accuracy", "validation")) == EPOCHS
    rates = recorder.series("learning_rate", "train")
    assert rates == pytest.approx([0.02 * schedules.factor("cosine", 15, 2)(step) for step in range(15)])
    assert {event.epoch for event in recorder.of(Metric) if event.split == "validation"} == {1, 2, 3, 4, 5}


def scripted(ranks):
    """A validation that finds the given ranks in turn, and keeps the weights that it saw."""
    found = iter(ranks)

    def validate():
        rank = next(found)
        return Validation({"accuracy": rank}, (rank,))

    return validate


def scripted_fit(tmp_path, ranks, *, epochs, patience=None, **options):
    network = nn.Linear(2, 2)
    seen = []
    run = Run(Recorder(), tmp_path)
    batches = data.row_batches(run, torch.randn(6, 2), torch.zeros(6, dtype=torch.int64), batch_size=3)

    def validate(inner=scripted(ranks)):
        seen.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return inner()

    schedule = Schedule(
        epochs=epochs, batch_size=3, learning_rate=0.1, weight_decay=0.0, scheduler="constant", patience=patience
    )
    fitted = Trainer(run, classifier(network), schedule).fit(
        batches, lambda batch, moment: {"loss": F.cross_entropy(network(batch.x), batch.y_B)}, validate, **options
    )
    return network, fitted, seen


def equal(state, network):
    return all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


def test_the_best_weights_are_kept(tmp_path):
    network, fitted, seen = scripted_fit(tmp_path, [0.1, 0.8, 0.5], epochs=3)
    assert (fitted.best_epoch, fitted.best) == (2, {"accuracy": 0.8})
    assert equal(seen[1], network)


def test_what_was_validated_before_the_turn_is_not_kept(tmp_path):
    """Two steps an epoch: the turn at step 3 is in the second epoch, so the third is the first of the new objective."""
    ranks = [0.9, 0.8, 0.1, 0.3, 0.2]
    network, fitted, seen = scripted_fit(tmp_path, ranks, epochs=5, restart_at=3)
    assert fitted.best_epoch == 2
    network, fitted, seen = scripted_fit(tmp_path, ranks, epochs=5, restart_at=4)
    assert fitted.best_epoch == 4
    assert equal(seen[3], network)


def test_at_the_turn_the_optimiser_starts_afresh():
    """Under a constant gradient momentum makes the second step longer than the first, unless it is forgotten."""
    weight = nn.Parameter(torch.zeros(1, 1))
    module = nn.ParameterList([weight])
    schedule = Schedule(epochs=1, batch_size=1, learning_rate=0.1, weight_decay=0.0)
    optimiser = Optimiser(groups(module, lambda name: 1.0, 0.0), schedule, schedules.factor("constant", 9))
    lengths = []
    for step in range(3):
        if step == 2:
            optimiser.forget()
        optimiser.zero_grad()
        before = weight.item()
        weight.sum().backward()
        optimiser.prepare()
        optimiser.step(step)
        lengths.append(before - weight.item())
    assert lengths[1] > lengths[0]
    assert lengths[2] == pytest.approx(lengths[0])


def test_or_the_last(tmp_path):
    network, fitted, seen = scripted_fit(tmp_path, [0.1, 0.8, 0.5], epochs=3, keep="last")
    assert fitted.best_epoch == 2
    assert equal(seen[2], network)


def test_early_stopping_counts_epochs_without_improvement(tmp_path):
    ranks = [0.1, 0.3, 0.3, 0.2, 0.9]
    network, fitted, seen = scripted_fit(tmp_path, ranks, epochs=5, patience=2)
    assert (fitted.epochs, fitted.best_epoch, fitted.stopped_early) == (4, 2, True)
    assert equal(seen[1], network)


def test_the_network_ends_in_evaluation_mode(tmp_path):
    network, _, _ = train(tmp_path / "a")
    assert not any(module.training for module in network.modules())
