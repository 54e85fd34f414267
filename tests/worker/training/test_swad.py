"""Dense averaging, against algorithm 1 of Cha et al. 2021 written out over all the weights there were."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from app.contract.inputs import InputSpec
from app.methods.training import Schedule, Swad
from worker.data import batches as data
from worker.networks.classifier import Classifier
from worker.networks.structure import Structure
from worker.runtime.contract import Failure, Interrupted, Note
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run
from worker.training.freezing import Scope
from worker.training.protocols import Validation
from worker.training.swad import DenseAverage
from worker.training.trainer import Trainer

STEPS = 3  # in an epoch
CPU = torch.device("cpu")
SPEC = InputSpec(size=(4, 4), channels=1, mean=(0.5,), std=(0.25,))


def algorithm(losses, optimum, overfit, tolerance):
    """The first and the last epoch (from 1) of the average; None where there is no minimum."""
    start, end, limit = None, len(losses), None
    for i in range(1, len(losses) + 1):
        if limit is None:
            window = losses[max(0, i - optimum) : i]
            if len(window) == optimum and window[0] == min(window):
                start, limit = i - optimum + 1, tolerance * sum(window) / optimum
        elif limit < min(losses[max(0, i - overfit) : i]):
            return start, i - overfit
    return None if start is None else (start, end)


def averaged(losses, params):
    """What `DenseAverage` makes of a weight that is 1, 2, 3, … after the steps."""
    layer = nn.Linear(1, 1, bias=False)
    dense, step = DenseAverage(layer, params), 0
    for epoch, loss in enumerate(losses, 1):
        for _ in range(STEPS):
            step += 1
            with torch.no_grad():
                layer.weight.fill_(step)
            dense.update()
        if dense.validated(epoch, loss):
            break
        again = DenseAverage(layer, params)
        again.load_state_dict(dense.state_dict())
        dense = again
    return dense.result(), dense.found


@pytest.mark.parametrize("seed", range(300))
def test_it_is_the_mean_from_the_minimum_to_where_it_overfits(seed):
    """A weight that is its step's number, losses at random that mostly fall and then rise, and a resume every epoch."""
    draw = random.Random(seed)
    optimum = draw.randint(1, 4)
    overfit, tolerance = draw.randint(optimum, 6), draw.choice([1.0, 1.1, 1.3])
    params = Swad(optimum_patience=optimum, overfit_patience=overfit, tolerance=tolerance)
    falling, epochs = draw.randint(0, 12), draw.randint(1, 30)
    losses = [1 + 0.1 * abs(i - falling) + draw.uniform(0, 0.2) for i in range(epochs)]
    expected = algorithm(losses, params.optimum_patience, params.overfit_patience, params.tolerance)
    segment, found = averaged(losses, params)
    assert found == (expected is not None)
    first, last = expected or (epochs, epochs)
    steps = range((first - 1) * STEPS + 1, last * STEPS + 1)
    assert (segment.first, segment.last, segment.steps) == (first, last, len(steps))
    assert segment.mean["weight"].item() == pytest.approx(sum(steps) / len(steps), rel=1e-5)


def test_patience_may_end_among_the_first_epochs():
    """Shorter than that for the minimum: what rises within these is left out."""
    segment, _ = averaged([1.0, 2.0, 3.0, 1.0], Swad(optimum_patience=3, overfit_patience=1, tolerance=1.0))
    assert (segment.first, segment.last) == (1, 2)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.4), nn.Linear(8, 3))


def fit(folder, losses, order=None, snapshot=None, learning=None, validation=True, behind=0):
    """Train with these validation losses, `behind` epochs being done; returns the network, the weights before
    every step, the batches, the notes."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (20, 4, 4, 1), dtype=torch.uint8, generator=generator)
    images = data.Images(pixels, torch.randint(3, (20,), generator=generator))
    recorder, net = Recorder(order), network()
    run = Run(recorder, folder, seed=3, snapshot=snapshot, snapshot_every_s=1e9)
    batches = data.image_batches(run, images, prepare=data.Prepare(SPEC, CPU, torch.contiguous_format), batch_size=10)
    epochs = behind + len(losses)
    params = Swad(optimum_patience=2, overfit_patience=2, tolerance=1.1)
    schedule = Schedule(epochs=epochs, batch_size=10, learning_rate=0.1, weight_decay=0.01, swad=params)
    seen, before, given = [], [], iter(losses)

    def loss(batch, moment):
        seen.append(batch.x)
        before.append({name: tensor.detach().clone() for name, tensor in net.state_dict().items()})
        return {"loss": F.cross_entropy(net(batch.x), batch.y_B)}

    def validate():
        value = next(given)
        return Validation({"loss": value}, (-value,))

    torch.manual_seed(5)
    classifier = Classifier(net, Structure(("4",), (), 8, separable=True), SPEC, None)
    scope = Scope() if learning is None else Scope(lambda epoch: learning)
    Trainer(run, classifier, schedule, scope).fit(batches, loss, validate if validation else None)
    return net, before, seen, [note for note in recorder.events if isinstance(note, Note)]


def test_the_network_is_the_average_under_statistics_of_its_own(tmp_path):
    """Epochs 2 to 4 of two steps each; then batch norm's means over one more epoch under these weights, no dropout."""
    net, before, seen, notes = fit(tmp_path, [0.9, 0.5, 0.6, 0.5, 0.8, 0.9, 0.1])
    assert [note.message for note in notes] == ["The weights are the mean over all steps of the epochs 2 to 4."]
    assert len(seen) == 6 * 2 + 2  # stopped after the sixth; two batches for the statistics
    for name, parameter in net.named_parameters():
        mean = torch.stack([weights[name] for weights in before[3:9]]).mean(0)  # each is what the step before left
        torch.testing.assert_close(parameter.detach(), mean, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        inputs = [net[1](net[0](x)) for x in seen[-2:]]
    torch.testing.assert_close(net[2].running_mean, torch.stack([x.mean(0) for x in inputs]).mean(0))
    torch.testing.assert_close(net[2].running_var, torch.stack([x.var(0) for x in inputs]).mean(0))
    assert not net.training


def test_without_a_minimum_it_is_the_last_epoch_and_said(tmp_path):
    _, _, _, [note] = fit(tmp_path, [0.9, 0.8, 0.7])
    assert (note.type, note.level) == ("swad", "warning")
    assert "the mean over the last epoch" in note.message


def test_what_is_frozen_stays_bit_for_bit(tmp_path):
    before = network().state_dict()
    net, *_ = fit(tmp_path, [0.9, 0.5, 0.6, 0.5, 0.8, 0.9], learning=["4"])
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"4.weight", "4.bias"}


LOSSES = [0.9, 0.5, 0.6, 0.5, 0.8, 0.9]


@pytest.mark.parametrize("moment", [3, 9, 12, 13])
def test_a_resume_is_exact_while_the_statistics_are_taken_too(tmp_path, moment):
    """The last two moments are among the batches after the end."""
    whole, *_ = fit(tmp_path / "whole", LOSSES)
    asked = iter(range(1000))
    (tmp_path / "part").mkdir()
    with pytest.raises(Interrupted):
        fit(tmp_path / "part", LOSSES, lambda recorder: "shutdown" if next(asked) == moment else None)
    [snapshot] = (tmp_path / "part").glob("snapshot-*")
    behind = min(moment, 12) // 2
    rest, *_ = fit(tmp_path / "rest", LOSSES[behind:], snapshot=snapshot, behind=behind)
    assert all(torch.equal(tensor, rest.state_dict()[name]) for name, tensor in whole.state_dict().items())


def test_without_validation_it_is_refused(tmp_path):
    with pytest.raises(Failure, match="no validation images") as refused:
        fit(tmp_path, [0.9], validation=False)
    assert refused.value.code == "does_not_fit"
