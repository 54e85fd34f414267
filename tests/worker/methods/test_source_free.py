"""`shot`, `aad`, `adabn`, `tent`, `eata`, `sar`: a source and images without labels, nothing else."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.imaging.packed import PackedImages
from app.methods.registry import parse
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.networks import build
from worker.runtime.contract import Failure, Note

SHOT = {"name": "shot", "epochs": 4, "batch_size": 8}
AAD = {"name": "aad", "epochs": 4, "batch_size": 8}
ADABN = {"name": "adabn", "batch_size": 16}
TENT = {"name": "tent", "epochs": 4, "batch_size": 20}
EATA = {"name": "eata", "epochs": 4, "batch_size": 20, "entropy_margin": 0.99, "cosine_margin": 0.98}
SAR = {"name": "sar", "epochs": 4, "batch_size": 20, "entropy_margin": 0.99}
ALL = pytest.mark.parametrize("method", [SHOT, AAD, ADABN, TENT, EATA, SAR], ids=lambda method: method["name"])


def case(folder, method, classes=10, target_classes=10, **target):
    return Setting(
        method,
        tasks.source(folder / "source", classes),
        tasks.dataset(folder / "target", target_classes, per_class=16, **target),
    )


def adapt(folder, method, **options):
    return tasks.run(case(folder, method, **options), folder / "run")


def relabelled(data, folder, label):
    """The same images; `label` (labels, splits) gives them other labels."""
    with np.load(data.index) as arrays:
        found = dict(arrays)
    path = folder / "relabelled.npz"
    np.savez(path, **(found | {"label": label(found["label"].copy(), found["split"])}))
    return replace(data, index=path)


def shuffled(label_N, split_N):
    for split in (0, 1):
        rows = np.flatnonzero(split_N == split)
        label_N[rows] = np.random.default_rng(7).permutation(label_N[rows])
    return label_N


def none(label_N, split_N):
    return np.full_like(label_N, -1)


def weights(outcome):
    return outcome.weights_file.read_bytes()


@ALL
def test_labels_of_the_target_are_never_read(tmp_path, method):
    """Whatever the labels of the training and the validation split are: the same document, the same bytes."""
    known = case(tmp_path, method)
    plain = tasks.run(known, tmp_path / "plain")
    other = tasks.run(replace(known, target=relabelled(known.target, tmp_path, shuffled)), tmp_path / "other")
    assert weights(plain) == weights(other)
    assert plain.document == other.document
    assert "none of the target's" in plain.document["evaluation"]["labels_used"]


@ALL
def test_a_target_without_labels_gives_the_same_weights_and_no_evaluation(tmp_path, method):
    known = case(tmp_path, method)
    bare = relabelled(known.target, tmp_path, none)
    bare = replace(bare, document=bare.document | {"labelled": False, "classes": None})
    plain, found = tasks.run(known, tmp_path / "plain"), tasks.run(replace(known, target=bare), tmp_path / "bare")
    assert weights(plain) == weights(found)
    assert found.document["evaluation"] is None
    assert found.document["classes"] == [str(k) for k in range(10)]


@pytest.mark.parametrize(
    ("method", "learns"),
    [
        (SHOT | {"weight_decay": 0.1}, ("features.", "block.")),
        (ADABN, ("features.1.running", "features.1.num", "block.1.running", "block.1.num")),
        (TENT, ("features.1.", "block.1.")),
        (EATA, ("features.1.", "block.1.")),
        (SAR, ("features.1.", "block.1.")),
    ],
    ids=["shot", "adabn", "tent", "eata", "sar"],
)
def test_what_is_not_adapted_changes_in_no_bit(tmp_path, method, learns):
    found, before = adapt(tmp_path, method).weights, load_file(tmp_path / "source" / "source.safetensors")
    assert found.keys() == before.keys()
    changed = [name for name in before if not torch.equal(found[name], before[name])]
    assert all(name.startswith(learns) for name in changed)
    assert all(any(name.startswith(prefix) for name in changed) for prefix in learns)


@ALL
def test_the_source_unchanged_is_measured_beside(tmp_path, method):
    evaluation = adapt(tmp_path, method).document["evaluation"]
    unchanged = tasks.run(case(tmp_path, {"name": "evaluate"}), tmp_path / "unchanged").document
    [line] = evaluation["guard"]["against"]
    assert line["name"] == "unchanged"
    assert line["accuracy"] == unchanged["evaluation"]["target"]["accuracy"]
    assert line["difference"] == pytest.approx(evaluation["target"]["accuracy"] - line["accuracy"])
    assert "against the unchanged source" in evaluation["guard"]["verdict"]


@ALL
def test_classes_that_the_source_does_not_know_are_refused(tmp_path, method):
    with pytest.raises(Failure, match=r"does not know: \['10', '11'\]") as refused:
        adapt(tmp_path, method, target_classes=12)
    assert refused.value.code == "does_not_fit"


def trained(folder, norm):
    """A source in whose place of batch norm there is `norm`, a layer as data, or nothing."""
    network = deepcopy(tasks.network(10))
    for block in network["options"]["layers"]:
        if "layers" in block:
            there = [norm if layer["type"] == "BatchNorm2d" else layer for layer in block["layers"]]
            block["layers"] = [layer for layer in there if layer is not None]
    train = {"name": "train", "network": network, "input": tasks.INPUT, "epochs": 1}
    made = tasks.run(Setting(train, None, tasks.dataset(folder / "data", 10)), folder / "made")
    document = {key: made.document[key] for key in ("network", "input", "classes", "recipe")}
    return document, made.weights_file


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (ADABN, "none that keeps statistics"),
        (TENT, "none that keeps statistics"),
        (EATA, "norms' scales and shifts, and the network has none"),
        (SAR, "norms' scales and shifts, and the network has none"),
    ],
    ids=["adabn", "tent", "eata", "sar"],
)
def test_networks_without_norms_are_refused(tmp_path, method, message):
    source = trained(tmp_path, None)
    known = replace(case(tmp_path, method), source=source)
    with pytest.raises(Failure, match=message) as refused:
        tasks.run(known, tmp_path / "run")
    assert refused.value.code == "does_not_fit"
    shot = tasks.run(replace(known, method=SHOT), tmp_path / "shot")
    assert shot.document["classes"] == source[0]["classes"]


ON_ANY_NORM = pytest.mark.parametrize("method", [EATA, SAR], ids=lambda method: method["name"])


@ON_ANY_NORM
def test_norms_of_any_kind_will_do_and_small_batches_with_them(tmp_path, method):
    """Without batch norm nothing is taken from a batch but the mean of a loss; scales and shifts alone change."""
    document, weights_file = trained(tmp_path, {"type": "GroupNorm", "num_groups": 2})
    known = replace(case(tmp_path, method | {"batch_size": 8}), source=(document, weights_file))
    found, before = tasks.run(known, tmp_path / "run"), load_file(weights_file)
    changed = {name for name in before if not torch.equal(found.weights[name], before[name])}
    assert changed == {"features.1.weight", "features.1.bias", "block.1.weight", "block.1.bias"}
    assert found.document["transfer"]["collapse"] is None
    with pytest.raises(Failure, match="none that keeps statistics"):
        tasks.run(replace(known, method=TENT), tmp_path / "tent")


def distance(found, before, names=("features.1.weight", "features.1.bias", "block.1.weight", "block.1.bias")):
    return sum(float((found.weights[name] - before[name]).square().sum()) for name in names)


def test_eata_holds_the_weights_on_which_the_sources_answers_hang(tmp_path):
    """Niu et al. 2022, eq. 7: the farther, the more each counts; by the source's own images, where these are known."""
    known, before = case(tmp_path, EATA), load_file(tmp_path / "source" / "source.safetensors")
    free, held = (
        tasks.run(replace(known, method=EATA | {"anti_forgetting": weight}), tmp_path / f"run{weight}")
        for weight in (0.0, 1e4)
    )
    assert distance(held, before) < 0.5 * distance(free, before)
    assert free.document["transfer"].get("information") is None
    assert held.document["transfer"]["information"] == {"of": "dataset", "images": 80}
    source_data = tasks.dataset(tmp_path / "source_data", 10, seed=5)
    near = tasks.run(replace(known, method=EATA | {"images": 7}, source_dataset=source_data), tmp_path / "near")
    assert near.document["transfer"]["information"] == {"of": "source_dataset", "images": 7}


@ON_ANY_NORM
def test_where_no_prediction_is_sure_it_is_said(tmp_path, method):
    found = adapt(tmp_path, method | {"entropy_margin": 1e-6})
    assert found.document["transfer"]["taken"] == 0
    assert "`entropy_margin`" in notes(found, "nothing_sure")[0].message


def test_fewer_classes_than_the_source_knows(tmp_path):
    """Pseudo-labels and the even use of classes are of the target's classes alone; the head keeps them all."""
    options = {"classes": 10, "target_classes": 3}
    found = adapt(tmp_path, SHOT | {"epochs": 60, "learning_rate": 0.05}, **options)
    document = found.document
    assert document["classes"] == [str(k) for k in range(10)]
    assert document["evaluation"]["target"]["classes"] == ["0", "1", "2"]
    before, after = (document["transfer"]["predictions"][when]["shares"] for when in ("before", "after"))
    assert sum(before[3:]) > 0.3
    assert sum(after[3:]) < 0.05
    assert min(after[:3]) > 0.1


def test_statistics_are_the_targets(tmp_path):
    """Of all its training images, however they were cut into batches."""
    known = case(tmp_path, ADABN)
    found = tasks.run(known, tmp_path / "run").weights
    packed = PackedImages.open(known.target.pixels, known.target.index)
    pixels_NHWC = packed.fitted(packed.rows("train"), tasks.InputSpec.model_validate(tasks.INPUT))
    x_N1HW = (torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    source = load_file(known.source[1])
    made_NCHW = torch.nn.functional.conv2d(x_N1HW, source["features.0.weight"], source["features.0.bias"], padding=1)
    torch.testing.assert_close(found["features.1.running_mean"], made_NCHW.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["features.1.running_var"], made_NCHW.var((0, 2, 3)), rtol=1e-4, atol=1e-5)


def notes(outcome, kind="collapse"):
    return [note for note in outcome.recorder.of(Note) if note.type == kind]


def test_tent_lowers_entropy(tmp_path):
    found = adapt(tmp_path, TENT | {"epochs": 20})
    assert found.trace[-1] < found.trace[0]
    assert found.document["transfer"]["collapse"] is None
    assert not notes(found)


def test_tent_stops_where_batches_are_tiny(tmp_path):
    found = adapt(tmp_path, TENT | {"batch_size": 8})
    collapse = found.document["transfer"]["collapse"]
    assert (collapse["reason"], collapse["kept"]) == ("tiny_batches", "source")
    assert [note.level for note in notes(found)] == ["warning"]
    before = load_file(tmp_path / "source" / "source.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in found.weights.items())


def test_tent_stops_where_all_images_are_of_one_class(tmp_path):
    """The source is sure that they are; batch norm's statistics of these alone would make them look like any."""
    source = tasks.run(
        Setting(
            {"name": "train", "network": tasks.network(10), "input": tasks.INPUT, "epochs": 20, "learning_rate": 0.01},
            None,
            tasks.dataset(tmp_path / "source_data", 10, per_class=16),
        ),
        tmp_path / "train",
    )
    document = {key: source.document[key] for key in ("network", "input", "classes", "recipe")}
    target = tasks.dataset(tmp_path / "target", 1, per_class=80)
    known = Setting(TENT, (document, source.weights_file), target)
    found = tasks.run(known, tmp_path / "run")
    collapse = found.document["transfer"]["collapse"]
    assert (collapse["reason"], collapse["kept"]) == ("one_class", "source")
    assert all(torch.equal(tensor, source.weights[name]) for name, tensor in found.weights.items())
    adabn = tasks.run(replace(known, method=ADABN), tmp_path / "adabn")
    assert "of one class" in notes(adabn)[0].message


def test_tent_stops_where_predictions_collapse(tmp_path):
    """At a learning rate that is far too great, before one epoch is over: what is left is what `adabn` gives."""
    found = adapt(tmp_path, TENT | {"learning_rate": 10.0})
    collapse = found.document["transfer"]["collapse"]
    assert (collapse["reason"], collapse["kept"]) == ("one_class", "statistics")
    assert notes(found)[0].message == collapse["message"]
    assert found.recorder.series("classes", "validation")[0] < 4
    adabn = tasks.run(case(tmp_path, ADABN | {"batch_size": 20}), tmp_path / "adabn")
    assert all(torch.equal(tensor, adabn.weights[name]) for name, tensor in found.weights.items())


def test_sar_leaves_the_last_stages_as_they_are(tmp_path):
    """But batch norm's statistics are the target's there, too."""
    found, before = adapt(tmp_path, SAR | {"frozen_stages": 1}), load_file(tmp_path / "source" / "source.safetensors")
    changed = {name for name in before if not torch.equal(found.weights[name], before[name])}
    assert {"features.1.weight", "features.1.bias", "block.1.running_mean", "block.1.running_var"} <= changed
    assert not changed & {"block.1.weight", "block.1.bias"}
    assert found.document["transfer"]["trainable"] == ["features.1"]
    assert found.document["method"]["frozen_stages"] == 1
    with pytest.raises(Failure, match="All norms are in the last 2 stages"):
        tasks.run(case(tmp_path / "all", SAR | {"frozen_stages": 2}), tmp_path / "all" / "run")


def test_sar_begins_anew_where_the_loss_falls_too_low(tmp_path):
    """Every loss is below the margin here: it comes back to where it began after every step, and says so."""
    known = case(tmp_path, SAR | {"entropy_margin": 1.0, "recovery_margin": 0.999})
    found = tasks.run(known, tmp_path / "run")
    adabn = tasks.run(replace(known, method=ADABN | {"batch_size": 20}), tmp_path / "adabn")
    assert found.document["transfer"]["recoveries"] == 16
    assert notes(found, "recovered")[0].message.startswith("16 times")
    names = ("features.1.weight", "features.1.bias", "block.1.weight", "block.1.bias")
    assert all(torch.equal(found.weights[name], adabn.weights[name]) for name in names)
    never = tasks.run(replace(known, method=SAR | {"recovery_margin": 0.0}), tmp_path / "never")
    assert never.document["transfer"]["recoveries"] == 0
    assert not notes(never, "recovered")


NORMS = ("features.1.weight", "features.1.bias", "block.1.weight", "block.1.bias")
STEP = {"batch_size": 80, "optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.5}


def by_hand(tmp_path, method):
    """A case with group norm, its network, its scales and shifts, and all its training images as one batch."""
    document, weights_file = trained(tmp_path, {"type": "GroupNorm", "num_groups": 2})
    known = replace(case(tmp_path, method), source=(document, weights_file))
    packed = PackedImages.open(known.target.pixels, known.target.index)
    pixels_NHWC = packed.fitted(packed.rows("train"), tasks.InputSpec.model_validate(tasks.INPUT))
    x_N1HW = (torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    spec, input = (kind.model_validate(document[key]) for kind, key in ((NetworkSpec, "network"), (InputSpec, "input")))
    network = build.build(spec, input).eval()
    network.load_state_dict(load_file(weights_file))
    learnt = [dict(network.named_parameters())[name] for name in NORMS]
    return known, network, learnt, x_N1HW


def test_steps_of_eata_are_those_of_the_paper(tmp_path):
    """Niu et al. 2022, eq. 2 to 8, by hand: at the first step nothing is far from the source, at the second it is."""
    known, network, learnt, x_N1HW = by_hand(tmp_path, EATA)
    source = [parameter.detach().clone() for parameter in learnt]
    information = [torch.zeros_like(parameter) for parameter in learnt]
    for x_1HW in x_N1HW:
        log_p_K = network(x_1HW[None]).log_softmax(1)[0]
        for total, slope in zip(information, torch.autograd.grad(-log_p_K.max(), learnt), strict=True):
            total += slope**2 / len(x_N1HW)
    with torch.no_grad():
        p_NK = network(x_N1HW).softmax(1)
    entropy_N = -(p_NK * p_NK.log()).sum(1)
    margin, beta = float(entropy_N.quantile(0.8)), 300.0
    mean_K = p_NK[entropy_N < margin].mean(0)
    cosine = float(torch.cosine_similarity(p_NK, mean_K[None]).quantile(0.5))
    mean_K, taken = None, []
    for _ in range(2):
        p_NK = network(x_N1HW).softmax(1)
        entropy_N = -(p_NK * p_NK.log()).sum(1)
        taken_N = entropy_N < margin
        if mean_K is not None:
            taken_N &= torch.cosine_similarity(p_NK, mean_K[None]) < cosine
        now_K = p_NK[taken_N].mean(0).detach()
        mean_K = now_K if mean_K is None else 0.9 * mean_K + 0.1 * now_K
        weight_N = 1 / torch.exp(entropy_N.detach() - margin)
        far = sum((w * (p - p0) ** 2).sum() for w, p, p0 in zip(information, learnt, source, strict=True))
        loss = (weight_N * entropy_N)[taken_N].mean() + beta * far
        taken.append(float(taken_N.float().mean()))
        with torch.no_grad():
            for parameter, slope in zip(learnt, torch.autograd.grad(loss, learnt), strict=True):
                parameter -= 0.5 * slope
    assert 0 < taken[1] < taken[0] < 1
    options = {"epochs": 2, "cosine_margin": cosine, "entropy_margin": margin / np.log(10), "anti_forgetting": beta}
    found = tasks.run(replace(known, method=EATA | STEP | options), tmp_path / "run")
    for name, parameter in zip(NORMS, learnt, strict=True):
        torch.testing.assert_close(found.weights[name], parameter.detach(), rtol=1e-4, atol=1e-6)
    assert found.document["transfer"]["taken"] == pytest.approx(sum(taken) / 2)
    free = tasks.run(replace(known, method=EATA | STEP | options | {"anti_forgetting": 0.0}), tmp_path / "free")
    assert not torch.allclose(free.weights[NORMS[0]], found.weights[NORMS[0]], rtol=1e-3, atol=1e-5)
    assert found.recorder.series("forgetting", "train")[1] == pytest.approx(float(far.detach()), rel=1e-3)


def test_a_step_of_sar_is_that_of_the_paper(tmp_path):
    """Niu et al. 2023, eq. 2 to 4, by hand: one batch of all images, one step of plain SGD."""
    known, network, learnt, x_N1HW = by_hand(tmp_path, SAR)

    def entropies():
        p_NK = network(x_N1HW).softmax(1)
        return -(p_NK * p_NK.log()).sum(1)

    margin = float(entropies().detach().quantile(0.6))
    options = {"epochs": 1, "rho": 0.5, "entropy_margin": margin / np.log(10)}
    found = tasks.run(replace(known, method=SAR | STEP | options), tmp_path / "run")
    sure_N = entropies() < margin
    slopes = torch.autograd.grad(entropies()[sure_N].mean(), learnt)
    length = torch.cat([slope.flatten() for slope in slopes]).norm()
    before = [parameter.detach().clone() for parameter in learnt]
    with torch.no_grad():
        for parameter, slope in zip(learnt, slopes, strict=True):
            parameter += 0.5 * slope / length
    still_N = sure_N & (entropies() < margin)
    assert 0 < int(still_N.sum()) < int(sure_N.sum()) < len(sure_N)
    up = torch.autograd.grad(entropies()[still_N].mean(), learnt)
    for name, start, slope in zip(NORMS, before, up, strict=True):
        torch.testing.assert_close(found.weights[name], start - 0.5 * slope, rtol=1e-4, atol=1e-6)
    assert found.document["transfer"]["taken"] == pytest.approx(float(sure_N.float().mean()))


@pytest.mark.parametrize(
    ("network", "said", "rate"),
    [
        ("timm/resnet18", {}, 0.001),
        ("torchvision/resnet18", {}, 0.001),
        ("torchvision/resnet18", {"learning_rate": 0.02}, 0.02),
        ("cifar_resnet", {}, 0.01),
    ],
)
def test_shot_moves_networks_of_photographs_less(network, said, rate):
    """As published: those of ImageNet at a tenth of the rate of those of digits."""
    spec = NetworkSpec(name=network, num_classes=3)
    method = parse({"name": "shot"} | said).starting_from(spec).resolve(60, (32, 32))
    assert method.document()["learning_rate"] == rate
