"""Labelled source and unlabelled target: what is read, what is kept, and what is said of it."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.contract.specs import DatasetSpec
from app.methods.cross_domain.cdan import Cdan
from app.methods.cross_domain.coral import Coral
from app.methods.cross_domain.dann import Dann
from app.methods.cross_domain.family import Selecting
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.data.batches import Batch
from worker.data.parallel import Together
from worker.methods import selection
from worker.methods.cross_domain import family as cross_domain
from worker.methods.cross_domain.dann import Adversary
from worker.methods.cross_domain.family import AlignmentObjective
from worker.methods.task import Domain, Source, Task
from worker.networks import build
from worker.networks.classifier import Classifier
from worker.networks.structure import Structure
from worker.runtime.contract import Failure, Interrupted, Note
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run
from worker.terms.adversarial import Discriminator
from worker.training.protocols import Moment

COMMON = {"epochs": 2, "batch_size": 8}
UNLABELLED = ["dann", "cdan", "dan", "jan", "coral", "mcc", "adda"]


def case(folder, method, **changes):
    common = Setting(
        COMMON | method,
        tasks.source(folder / "source"),
        tasks.dataset(folder / "target", 10),
        tasks.dataset(folder / "source_data", 10, seed=5),
    )
    return replace(common, **changes)


def relabelled(data, folder, splits, change):
    """The same images in the same splits, with other labels in some splits."""
    folder.mkdir()
    index = folder / "index.npz"
    with np.load(data.index) as arrays:
        found = dict(arrays)
    of_splits = np.isin(found["split"], splits)
    found["label"][of_splits] = change(found["label"][of_splits])
    np.savez(index, **found)
    return replace(data, index=index)


def classifier(seed=0, classes=10):
    torch.manual_seed(seed)
    input = InputSpec.model_validate(tasks.INPUT)
    network = build.build(NetworkSpec.model_validate(tasks.network(classes)), input)
    return Classifier(network, Structure.of(network, input), input, [str(k) for k in range(classes)])


def batch(count, seed):
    x = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return Batch(x + seed, torch.arange(count) % 10, torch.arange(count))


# --- The target's labels are sealed


@pytest.mark.parametrize("name", UNLABELLED)
def test_other_labels_of_the_target_change_no_bit(tmp_path, name):
    """Trap 1: shuffled in training and validation, they leave the weights as they are."""
    whole = case(tmp_path, {"name": name})
    shuffled = relabelled(whole.target, tmp_path / "other", (0, 1), lambda label_N: label_N[::-1])
    first, second = tasks.run(whole, tmp_path / "a"), tasks.run(replace(whole, target=shuffled), tmp_path / "b")
    assert first.sha256 == second.sha256
    assert first.document["evaluation"] == second.document["evaluation"]
    assert "none of the target's" in first.document["evaluation"]["labels_used"]


def test_but_they_do_where_the_selection_is_by_them_and_it_is_said(tmp_path):
    whole = case(tmp_path, {"name": "coral", "selection": "target_validation"})
    shuffled = relabelled(whole.target, tmp_path / "other", (1,), lambda label_N: label_N[::-1])
    first, second = tasks.run(whole, tmp_path / "a"), tasks.run(replace(whole, target=shuffled), tmp_path / "b")
    told = [outcome.document["transfer"]["selection"] for outcome in (first, second)]
    assert told[0]["labels"] == "the target's validation labels"
    assert told[0]["values"] != told[1]["values"]
    assert "20 validation labels" in first.document["evaluation"]["labels_used"]


def test_a_target_without_labels_gives_a_model_without_figures(tmp_path):
    whole = case(tmp_path, {"name": "mcc"})
    bare = relabelled(whole.target, tmp_path / "bare", (0, 1, 2), lambda label_N: np.full_like(label_N, -1))
    bare = replace(bare, document=bare.document | {"labelled": False, "classes": None})
    document = tasks.run(replace(whole, target=bare), tmp_path / "run").document
    assert document["evaluation"] is None
    assert document["classes"] == [str(k) for k in range(10)]


def test_classes_are_matched_by_name_and_some_may_be_missing(tmp_path):
    partial = tasks.dataset(tmp_path / "partial", 4)
    evaluation = tasks.run(case(tmp_path, {"name": "mcc"}, target=partial), tmp_path / "run").document["evaluation"]
    assert evaluation["target"]["classes"] == ["0", "1", "2", "3"]


# --- The domains' batches


def test_reversal_reaches_the_features_with_the_other_sign():
    """Trap 2, through network and objective: the alignment's part of the gradient turns with the strength's sign."""
    learner = classifier()
    torch.manual_seed(1)
    term = Adversary(Discriminator(learner.structure.features, 16))
    seen = Together({"source": batch(8, 0), "target": batch(8, 1)})
    weight = learner.module.get_submodule("block.0").weight

    def gradient(strength):
        learner.module.eval()
        views = cross_domain.forward(learner, seen.of["source"], seen.of["target"], "joint")
        learner.module.zero_grad()
        loss = term(*views, strength)["alignment"]
        loss.backward()
        return weight.grad.clone()

    plain = gradient(-1.0)  # reversed twice: the discriminator's own
    assert plain.norm() > 1e-4
    torch.testing.assert_close(gradient(1.0), -plain)
    torch.testing.assert_close(gradient(0.25), -0.25 * plain)


def test_the_reversal_grows_with_the_progress_of_the_run():
    params = Dann(weight=2.0)
    assert params.strength(0.0) == 0
    assert params.strength(0.5) == pytest.approx(2 * (2 / (1 + np.exp(-5)) - 1))
    assert params.strength(1.0) == pytest.approx(2 * 0.9999092, rel=1e-6)
    assert Coral(weight=3.0, ramp=None).strength(0.0) == 3.0


def test_the_objective_is_what_it_says():
    learner = classifier()
    torch.manual_seed(1)
    term = Adversary(Discriminator(learner.structure.features, 16))
    seen = Together({"source": batch(8, 0), "target": batch(6, 1)})
    learner.module.eval()
    found = AlignmentObjective(learner, Dann(), term)(seen, Moment(0, 0, 0.3))
    logits_BK = learner.module(seen.of["source"].x)
    expected = nn.functional.cross_entropy(logits_BK, seen.of["source"].y_B)
    assert found["cross_entropy"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert found["loss"].item() == pytest.approx((found["cross_entropy"] + found["alignment"]).item(), rel=1e-6)
    assert found["strength"].item() == pytest.approx(Dann().strength(0.3))


def test_joint_and_separate_batches_are_different_models():
    """Trap 6: the running statistics are the mixture's, or the target's alone."""
    statistics = {}
    for policy in ("joint", "separate"):
        learner = classifier()
        learner.module.train()
        cross_domain.forward(learner, batch(8, 0), batch(8, 1), policy)
        statistics[policy] = learner.module.get_submodule("features.1").running_mean.clone()
        assert learner.module.get_submodule("features.1").track_running_stats
    target_only = classifier()
    target_only.module.train()
    target_only.module(batch(8, 1).x)
    torch.testing.assert_close(
        statistics["separate"], target_only.module.get_submodule("features.1").running_mean, rtol=0, atol=0
    )
    assert not torch.allclose(statistics["joint"], statistics["separate"])


def test_source_images_come_as_the_checkpoint_takes_them(tmp_path):
    """Trap 9: what fits the target's images does not touch the source's."""
    whole = case(tmp_path, {"name": "dann"})
    task = opened(whole, tmp_path)
    params = Dann(input={"margin": 2, "fit": "pad"})
    begun = cross_domain.start(task, params)
    seen = cross_domain.domains(task, begun.learner)
    own = InputSpec.model_validate(tasks.INPUT)
    packed = task.source_domain.images
    assert torch.equal(seen.source.pixels_NHWC, torch.from_numpy(packed.fitted(packed.rows("train"), own)))
    assert not seen.target.pixels_NHWC[:, :2].any()
    assert seen.source.pixels_NHWC[:, :2].any()
    assert (seen.target.label_N == -1).all()
    assert begun.learner.input.margin == 2


def test_adda_keeps_the_head_and_moves_the_rest(tmp_path):
    whole = case(tmp_path, {"name": "adda", "selection": "last"})
    outcome = tasks.run(whole, tmp_path / "run")
    before = load_file(whole.source[1])
    assert torch.equal(outcome.weights["head.weight"], before["head.weight"])
    assert not torch.equal(outcome.weights["features.0.weight"], before["features.0.weight"])
    assert outcome.document["method"]["pretrain_epochs"] == 0


def test_adda_learns_the_source_first_where_the_head_is_new(tmp_path):
    names = {"prefix": "class "}
    whole = case(
        tmp_path,
        {"name": "adda", "selection": "last"},
        target=tasks.dataset(tmp_path / "t", 10, **names),
        source_dataset=tasks.dataset(tmp_path / "s", 10, seed=5, **names),
    )
    outcome = tasks.run(whole, tmp_path / "run")
    assert outcome.document["method"]["pretrain_epochs"] == 2
    assert outcome.recorder.series("pretrain/loss", "train")


def test_adda_interrupted_between_its_phases_goes_on_exactly(tmp_path):
    """The second phase draws on from where the first left its augmentation."""
    whole = case(tmp_path, {"name": "adda", "pretrain_epochs": 1, "epochs": 1, "selection": "last"})
    alone = tasks.run(whole, tmp_path / "alone")
    between = 0
    for moment in range(4, 40):
        with pytest.raises(Interrupted):
            tasks.run(whole, tmp_path / f"part{moment}", shutdown_at(moment))
        [snapshot] = (tmp_path / f"part{moment}").glob("snapshot-*")
        state = torch.load(snapshot, weights_only=True)
        if state["live"] is not None or not state["done"]:
            continue
        between += 1
        rest = tasks.run(whole, tmp_path / f"rest{moment}", snapshot=snapshot)
        assert rest.sha256 == alone.sha256
        break
    assert between


def shutdown_at(moment):
    calls = itertools.count()
    return lambda recorder: "shutdown" if next(calls) == moment else None


def test_a_random_map_is_drawn_where_the_product_is_long(tmp_path):
    assert Cdan().randomised is None
    found = tasks.run(case(tmp_path, {"name": "cdan", "randomised": True, "dimension": 8}), tmp_path / "run")
    assert found.recorder.series("domain_accuracy", "train")


# --- Selection


def opened(setting, folder):
    target, source = (
        Domain.open(DatasetSpec.load(data.document), data.pixels, data.index)
        for data in (setting.target, setting.source_dataset)
    )
    document, weights = setting.source
    known = Source(
        NetworkSpec.model_validate(document["network"]),
        InputSpec.model_validate(document["input"]),
        document["classes"],
        None,
        weights,
    )
    return Task(Run(Recorder(), folder, seed=1), target, known, source)


class Fixed(nn.Module):
    """A network that says the same of every image."""

    def __init__(self, logits_K):
        super().__init__()
        self.logits_K = nn.Parameter(torch.tensor(logits_K))

    def forward(self, x):
        return self.logits_K.expand(len(x), -1)


def test_entropy_and_predicted_classes_against_closed_forms():
    run = Run(Recorder(), None)
    even = selection.confidence(run, Fixed([0.0] * 4), iter([(torch.zeros(3, 1), None), (torch.zeros(2, 1), None)]))
    assert even == pytest.approx({"entropy": np.log(4), "predicted_classes": 4})
    sure = selection.confidence(run, Fixed([50.0, 0.0, 0.0, 0.0]), iter([(torch.zeros(3, 1), None)]))
    assert sure == pytest.approx({"entropy": 0, "predicted_classes": 1}, abs=1e-12)
    p_K = np.array([0.7, 0.2, 0.1])
    found = selection.confidence(run, Fixed(np.log(p_K).tolist()), iter([(torch.zeros(3, 1), None)]))
    assert found["entropy"] == pytest.approx(-(p_K * np.log(p_K)).sum())


def chooser(tmp_path, how):
    task = opened(case(tmp_path, {"name": "mcc"}), tmp_path)
    begun = cross_domain.start(task, Coral())
    seen = cross_domain.domains(task, begun.learner)
    begun.learner.module.eval()
    return task, begun, selection.selector(task, begun.learner, Selecting(selection=how), seen.held_out)


VALUES = {"entropy": 1.0, "predicted_classes": 9.0, "accuracy": 0.5, "loss": 1.0}
VALUES |= {f"source_{name}": VALUES[name] for name in ("accuracy", "loss")}


@pytest.mark.parametrize(
    ("how", "better"),
    [
        ("entropy", {"entropy": 0.9, "accuracy": 0.1, "source_accuracy": 0.1}),
        ("source_validation", {"entropy": 2.0, "source_accuracy": 0.6}),
        ("source_validation", {"source_loss": 0.9}),
        ("target_validation", {"entropy": 2.0, "accuracy": 0.6}),
        ("target_validation", {"loss": 0.9}),
    ],
)
def test_what_ranks_higher(tmp_path, how, better):
    _, _, chosen = chooser(tmp_path, how)
    assert chosen.rank(VALUES | better) > chosen.rank(VALUES)


def test_a_collapsed_network_is_not_the_surest(tmp_path):
    """Trap 12: all images in one class are no certainty."""
    _, _, chosen = chooser(tmp_path, "entropy")
    assert chosen.rank(VALUES | {"entropy": 0.0, "predicted_classes": 1.1}) < chosen.rank(VALUES)


def test_the_unchanged_source_is_kept_where_nothing_was_better(tmp_path):
    task, begun, chosen = chooser(tmp_path, "entropy")
    before = {name: tensor.clone() for name, tensor in begun.learner.module.state_dict().items()}
    with torch.no_grad():
        begun.learner.module.get_submodule("head").weight.zero_()  # says nothing: all classes alike
        begun.learner.module.get_submodule("head").bias.zero_()
    told = chosen.settle(7)
    assert (told["kept"], told["epoch"]) == ("unchanged", None)
    assert told["values"]["entropy"] == pytest.approx(np.log(10))
    assert told["unchanged"]["entropy"] < np.log(10)
    assert all(torch.equal(tensor, before[name]) for name, tensor in begun.learner.module.state_dict().items())
    [note] = task.run._channel.of(Note)
    assert (note.type, note.level) == ("selection", "warning")


@pytest.mark.parametrize(
    "method",
    [{"name": "dann", "label_smoothing": 0.9}, {"name": "adda", "learning_rate": 0.03}],
    ids=lambda method: method["name"],
)
def test_by_the_sources_labels_an_epoch_is_kept_though_the_source_knows_them_better(tmp_path, method):
    foreign = tasks.dataset(tmp_path / "foreign", 10, per_class=64, seed=5)
    source = knowing(tmp_path, foreign)
    forgets = method | {"selection": "source_validation", "epochs": 3}
    whole = case(tmp_path, forgets, source=source, source_dataset=foreign)
    found = tasks.run(whole, tmp_path / "run").document["transfer"]["selection"]
    assert found["unchanged"]["source_loss"] < found["values"]["source_loss"]
    assert found["unchanged"]["source_accuracy"] >= found["values"]["source_accuracy"]
    assert (found["kept"], found["epoch"] in (1, 2, 3)) == ("adapted", True)


def knowing(folder, data):
    """A source that was trained on `data`."""
    method = {"name": "fine_tune", "backbone_factor": 1.0, "epochs": 8, "batch_size": 16}
    made = tasks.run(Setting(method, tasks.source(folder / "start"), data), folder / "knowing")
    document = {name: made.document[name] for name in ("network", "input", "classes", "recipe")}
    return document, made.weights_file


def inverted(data, folder):
    """The same images with dark for bright, and darker."""
    folder.mkdir()
    pixels = folder / "pixels"
    pixels.write_bytes(bytes((255 - value) // 3 for value in data.pixels.read_bytes()))
    return replace(data, pixels=pixels, document=data.document | {"sha256": "e" * 64})


@pytest.mark.parametrize("method", [{"name": "dann", "batch_norm": "separate"}, {"name": "adda"}], ids=["dann", "adda"])
def test_separate_statistics_are_the_sources_where_its_labels_are_asked(tmp_path, method):
    """By PyTorch's own running means over the source's training images; what is kept has the target's."""
    foreign = tasks.dataset(tmp_path / "foreign", 10, per_class=64, seed=5)
    target = inverted(foreign, tmp_path / "inverted")
    source = knowing(tmp_path, foreign)
    gently = method | {"selection": "source_validation", "weight": 0.0, "learning_rate": 1e-6}
    outcome = tasks.run(case(tmp_path, gently, source=source, target=target, source_dataset=foreign), tmp_path / "run")
    told = outcome.document["transfer"]["selection"]["values"]["source_accuracy"]
    network = classifier().module
    network.load_state_dict(outcome.weights)
    as_kept = source_accuracy(network, foreign)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    images, _ = split(foreign, "train")
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        network(images)
    assert told == pytest.approx(source_accuracy(network, foreign), abs=0.02)
    assert told > as_kept + 0.2


def split(data, name):
    """Images as the network takes them, and labels."""
    domain = Domain.open(DatasetSpec.load(data.document), data.pixels, data.index)
    images = domain.examples(domain.labelled(name), InputSpec.model_validate(tasks.INPUT), domain.classes)
    return (images.pixels_NHWC.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25, images.label_N


def source_accuracy(network, data):
    images, label_N = split(data, "validation")
    with torch.no_grad():
        return float((network.eval()(images).argmax(1) == label_N).double().mean())


def test_last_keeps_the_last_and_warns_of_a_collapse(tmp_path):
    task, begun, chosen = chooser(tmp_path, "last")
    with torch.no_grad():
        begun.learner.module.get_submodule("head").weight.zero_()
        begun.learner.module.get_submodule("head").bias.zero_()[0] = 50.0
    told = chosen.settle(2)
    assert (chosen.keep, told["kept"], told["epoch"]) == ("last", "adapted", 2)
    [note] = task.run._channel.of(Note)
    assert "collapsed" in note.message


def test_there_is_nothing_to_select_by(tmp_path):
    no_validation = (0, 0, 0, 0, 0, 0, 2, 2)
    for how, bare in (("source_validation", "source_dataset"), ("target_validation", "target")):
        data = tasks.dataset(tmp_path / bare / "bare", 10, splits=no_validation)
        method = {"name": "mcc", "selection": how}
        with pytest.raises(Failure, match="there are none"):
            tasks.run(case(tmp_path, method, **{bare: data}), tmp_path / how)


def test_a_regression_against_the_unchanged_source_is_flagged(tmp_path):
    """A source that knows its target, and a run that forgets it."""
    target = tasks.dataset(tmp_path / "target", 10, per_class=64)
    train = {"name": "fine_tune", "backbone_factor": 1.0, "epochs": 8, "batch_size": 16}
    start = tasks.source(tmp_path / "start")
    knowing = tasks.run(Setting(train, start, target), tmp_path / "knowing")
    source = {name: knowing.document[name] for name in ("network", "input", "classes", "recipe")}
    foreign = tasks.dataset(tmp_path / "foreign", 10, seed=5)
    method = {"name": "dan", "weight": 0.0, "learning_rate": 0.1, "selection": "last", "epochs": 4, "batch_size": 40}
    outcome = tasks.run(Setting(method, (source, knowing.weights_file), target, foreign), tmp_path / "forgetting")
    guard = outcome.document["evaluation"]["guard"]
    assert [line["name"] for line in guard["against"]] == ["unchanged"]
    assert (guard["helped"], guard["regressions"]) == (False, ["unchanged"])
    [note] = [note for note in outcome.recorder.of(Note) if note.type == "regression"]
    assert note.message == guard["verdict"]
