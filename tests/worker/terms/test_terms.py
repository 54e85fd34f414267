"""Each R, value and gradient, against an independent reference: a closed form, finite differences, or NumPy."""

import math
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.methods.terms import registry
from app.methods.terms.attention_transfer import AttentionTransfer
from app.methods.terms.bss import Bss
from app.methods.terms.co_tuning import CoTuning
from app.methods.terms.delta import Delta
from app.methods.terms.distillation import Distillation
from app.methods.terms.feature_hint import FeatureHint
from app.methods.terms.l2_sp import L2Sp
from app.methods.terms.lwf import Lwf
from worker.data import inputs
from worker.data.batches import Batch
from worker.networks import build
from worker.networks.classifier import Classifier
from worker.networks.structure import Structure
from worker.runtime.contract import Failure
from worker.terms import attention_transfer, bss, co_tuning, delta, distillation, feature_hint
from worker.terms.base import Setting
from worker.terms.registry import TERMS
from worker.terms.softened import softened_kl

INPUT = InputSpec(size=(8, 8), channels=1, mean=(0.5,), std=(0.25,))
CLASSES = ["a", "b", "c", "d"]


def described(classes, width=4):
    layers = [
        {
            "name": "one",
            "layers": [{"type": "Conv2d", "out_channels": width, "kernel_size": 3, "padding": 1}, {"type": "Tanh"}],
        },
        {"name": "pool", "type": "AvgPool2d", "kernel_size": 2},
        {
            "name": "two",
            "layers": [{"type": "Conv2d", "out_channels": width, "kernel_size": 3, "padding": 1}, {"type": "Tanh"}],
        },
        {"name": "flatten", "type": "Flatten"},
        {"name": "head", "type": "Linear", "out_features": classes},
    ]
    return NetworkSpec(name="layers", num_classes=classes, options={"layers": layers})


def classifier(classes=CLASSES, seed=0, width=4, input=INPUT):
    torch.manual_seed(seed)
    network = build.build(described(len(classes), width), input).double()
    return Classifier(network, study(network, input), input, list(classes))


def study(network, input):
    structure = Structure.of(network.float(), input)
    network.double()
    return structure


def frozen(found):
    return Classifier(deepcopy(found.module).requires_grad_(False).eval(), found.structure, found.input, found.classes)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(6, 1, 8, 8, generator=generator, dtype=torch.float64)
    return Batch(x, torch.tensor([0, 1, 2, 3, 0, 1]), torch.arange(6))


def setting(student, source=None, teacher=None, batch=None):
    return Setting(
        student=student,
        source=source,
        teacher=lambda teacher_id: teacher or source,
        examples=lambda: iter([(batch.x, batch.y_B)]),
    )


def differentiable(term, student, batch):
    return term(batch, student.forward(batch.x, term.watches))


def value(term, student, batch):
    return differentiable(term, student, batch).item()


def check_gradient(term, student, batch, parameter):
    """Central differences in float64, along a random direction."""
    student.module.zero_grad()
    differentiable(term, student, batch).backward()
    direction = torch.randn(parameter.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = float((parameter.grad * direction).sum())
    eps = 1e-6
    with torch.no_grad():
        parameter += eps * direction
        above = value(term, student, batch)
        parameter -= 2 * eps * direction
        below = value(term, student, batch)
        parameter += eps * direction
    assert found == pytest.approx((above - below) / (2 * eps), rel=1e-5, abs=1e-9)
    return found


def moved(student, by=0.1, seed=5):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in student.module.parameters():
            parameter += by * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return student


ALL = {name: term.model_validate({"name": name}) for name, term in registry.TERMS.items()} | {"bss": Bss(k=2)}


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_those_of_finite_differences(name, batch):
    student = classifier()
    source = frozen(student)
    moved(student)
    term = TERMS[name](ALL[name], setting(student, source, frozen(classifier(seed=9)), batch))
    if term.module is not None:
        term.module.double()
    found = check_gradient(term, student, batch, student.module.two[0].weight)
    assert found != 0
    assert all(parameter.grad is None for parameter in source.module.parameters())


# --- L2-SP


def test_l2_sp_is_its_definition_and_zero_only_at_the_source(batch):
    student = classifier()
    term = TERMS["l2_sp"](L2Sp(head=0), setting(student, frozen(student)))
    assert value(term, student, batch) == 0
    before = {name: p.detach().clone().numpy() for name, p in student.module.named_parameters()}
    moved(student)
    after = {name: p.detach().numpy() for name, p in student.module.named_parameters()}
    expected = 0.5 * sum(((after[n] - before[n]) ** 2).sum() for n in before if not n.startswith("head"))
    assert value(term, student, batch) == pytest.approx(expected)
    assert expected > 0


def test_l2_sp_draws_a_new_head_to_zero(batch):
    student = classifier()
    term = TERMS["l2_sp"](L2Sp(head=2.0), setting(student, frozen(student)))
    expected = sum(float(p.detach().square().sum()) for n, p in student.module.named_parameters() if "head" in n)
    assert value(term, student, batch) == pytest.approx(expected)


def test_l2_sp_does_not_follow_the_student(batch):
    """Trap 10: against an aliased w0 it is zero for ever."""
    student = classifier()
    source = Classifier(student.module, student.structure, INPUT, CLASSES)
    term = TERMS["l2_sp"](L2Sp(head=0), setting(student, source))
    assert value(term, moved(student), batch) > 0


def test_its_gradient_is_w_minus_w0(batch):
    student = classifier()
    source = frozen(student)
    moved(student)
    differentiable(TERMS["l2_sp"](L2Sp(), setting(student, source)), student, batch).backward()
    for name, parameter in student.module.named_parameters():
        w0 = 0 if name.startswith("head") else dict(source.module.named_parameters())[name]
        torch.testing.assert_close(parameter.grad, parameter.detach() - w0)


# --- DELTA


def test_delta_is_its_definition(batch):
    student = classifier()
    source = frozen(student)
    term = delta.build(Delta(layers=["one.1", "two.1"], head=0), setting(student, source))
    assert value(term, student, batch) == 0
    moved(student)
    here = student.forward_frozen(batch.x, INPUT, ["one.1", "two.1"]).watched
    there = source.forward_frozen(batch.x, INPUT, ["one.1", "two.1"]).watched
    expected = 0.0
    for layer in here:
        gap = (here[layer] - there[layer]).numpy()
        images, _, height, width = gap.shape
        expected += (gap**2).sum() / (images * height * width)
    assert value(term, student, batch) == pytest.approx(expected)


def test_delta_draws_a_new_head_to_zero(batch):
    """The paper's Ω'': ½‖w‖² over the weights that the source has not, which weight decay no longer shrinks."""
    student = classifier()
    term = delta.build(Delta(head=3.0), setting(student, frozen(student)))
    head = student.module.head
    expected = 1.5 * sum((p.detach().numpy() ** 2).sum() for p in (head.weight, head.bias))
    assert value(term, student, batch) == pytest.approx(float(expected))
    differentiable(term, student, batch).backward()
    torch.testing.assert_close(head.weight.grad, 3.0 * head.weight.detach())


def test_delta_refuses_a_layer_that_is_not_there(batch):
    student = classifier()
    with pytest.raises(Failure, match="no module nowhere"):
        delta.build(Delta(layers=["nowhere"]), setting(student, frozen(student)))


# --- BSS


@pytest.mark.parametrize("k", [1, 2, 3])
def test_bss_is_the_smallest_eigenvalues_of_the_gram_matrix(k, batch):
    student = classifier()
    term = bss.build(Bss(k=k), setting(student))
    features = student.forward_frozen(batch.x, INPUT).features_BD.numpy()
    eigenvalues = np.linalg.eigvalsh(features @ features.T)  # ascending, as many as images
    assert value(term, student, batch) == pytest.approx(eigenvalues[:k].sum(), rel=1e-3)


# --- distillation


def test_kd_is_its_definition(batch):
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(5, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    T = 3.0
    p, q = (torch.exp(z / T) / torch.exp(z / T).sum(1, keepdim=True) for z in (student, teacher))
    expected = T**2 * float((q * (q / p).log()).sum(1).mean())
    assert float(softened_kl(student, teacher, T)) == pytest.approx(expected)


def test_kd_gradient_keeps_its_size_over_temperature():
    """Trap 4: without T² it would fall some 64 times from 1 to 8."""
    generator = torch.Generator().manual_seed(0)
    teacher = 0.3 * torch.randn(64, 10, generator=generator, dtype=torch.float64)
    norms = []
    for temperature in (1, 2, 4, 8):
        student = 0.3 * torch.randn(64, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        student.requires_grad_()
        softened_kl(student, teacher, temperature).backward()
        norms.append(float(student.grad.norm()))
    assert max(norms) / min(norms) < 1.25


def test_a_teacher_is_matched_by_class_name(batch):
    student, teacher = classifier(), frozen(classifier(["d", "x", "b", "a"], seed=9))
    term = distillation.build(Distillation(temperature=2), setting(student, teacher=teacher))
    ours, theirs = (one.forward_frozen(batch.x, INPUT).logits_BK for one in (student, teacher))
    expected = softened_kl(ours[:, [0, 1, 3]], theirs[:, [3, 2, 0]], 2)
    assert value(term, student, batch) == pytest.approx(float(expected))
    assert term.label_weight == 0.1
    with pytest.raises(Failure, match="share fewer than two"):
        distillation.build(Distillation(), setting(student, teacher=frozen(classifier(["x", "y", "z", "a"]))))


def test_a_teacher_of_another_input_sees_what_it_expects():
    """Values, colour and size: as if the images had been prepared for the teacher in the first place."""
    to = InputSpec(size=(16, 16), channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    pixels = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    x = (pixels - 0.5) / 0.25
    found = inputs.converted(x, INPUT, to)
    big = F.interpolate(pixels, (16, 16), mode="bilinear", antialias=True).expand(-1, 3, -1, -1)
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (to.mean, to.std))
    torch.testing.assert_close(found, (big - mean) / std)
    assert inputs.converted(x, INPUT, INPUT) is x
    torch.testing.assert_close(
        inputs.converted(found, to, to.model_copy(update={"size": (8, 8)})).shape, torch.Size([2, 3, 8, 8])
    )
    grey = inputs.converted(
        torch.rand(1, 3, 4, 4), to.model_copy(update={"size": (4, 4)}), INPUT.model_copy(update={"size": (4, 4)})
    )
    assert grey.shape == (1, 1, 4, 4)


# --- hints and attention


def test_a_hint_is_its_definition(batch):
    student, teacher = classifier(), frozen(classifier(seed=9, width=7))
    term = feature_hint.build(FeatureHint(), setting(student, teacher=teacher, batch=batch))
    term.module.double()
    here = student.forward_frozen(batch.x, INPUT, ["two.0"]).watched["two.0"]
    there = teacher.forward_frozen(batch.x, INPUT, ["two.0"]).watched["two.0"]
    weight, bias = term.module.weight[:, :, 0], term.module.bias
    mapped = torch.einsum("oc,bchw->bohw", weight, here) + bias[:, None, None]
    assert value(term, student, batch) == pytest.approx((mapped - there).square().mean().item())


def test_attention_is_its_definition(batch):
    student, teacher = classifier(), frozen(classifier(seed=9, width=7))
    term = attention_transfer.build(AttentionTransfer(stages=2), setting(student, teacher=teacher, batch=batch))
    expected = []
    for layer in term.watches:
        maps = []
        for one in (student, teacher):
            output = one.forward_frozen(batch.x, INPUT, [layer]).watched[layer].numpy()
            attention = (output**2).mean(1).reshape(len(output), -1)
            maps.append(attention / np.linalg.norm(attention, axis=1, keepdims=True))
        expected.append(0.5 * ((maps[0] - maps[1]) ** 2).sum(1).mean())
    assert value(term, student, batch) == pytest.approx(np.mean(expected))
    own = attention_transfer.build(AttentionTransfer(), setting(student, teacher=frozen(student), batch=batch))
    assert value(own, student, batch) == pytest.approx(0)


def test_without_maps_there_is_no_attention(batch):
    options = {
        "layers": [{"type": "Flatten"}, {"type": "Linear", "out_features": 8}, {"type": "Linear", "out_features": 4}]
    }
    network = build.build(NetworkSpec(name="layers", num_classes=4, options=options), INPUT).double()
    flat = Classifier(network, study(network, INPUT), INPUT, CLASSES)
    with pytest.raises(Failure, match="give maps"):
        attention_transfer.build(AttentionTransfer(), setting(classifier(), teacher=flat, batch=batch))


# --- the source's head


def test_lwf_is_zero_at_the_source_and_learns_the_sources_head(batch):
    source = frozen(classifier(["p", "q", "r"], seed=2))
    student = classifier()
    student.module.load_state_dict(
        {n: t for n, t in source.module.state_dict().items() if "head" not in n}, strict=False
    )
    term = TERMS["lwf"](Lwf(), setting(student, source))
    assert value(term, student, batch) == pytest.approx(0, abs=1e-12)
    differentiable(term, moved(student), batch).backward()
    assert float(term.module.weight.grad.abs().sum()) > 0
    assert value(term, student, batch) > 0


def test_co_tunings_relation_is_the_mean_posterior_of_a_class(batch):
    source, student = frozen(classifier(["p", "q", "r"], seed=2)), classifier([*CLASSES, "never seen"])
    found = co_tuning.relation(setting(student, source, batch=batch))
    posterior = source.forward_frozen(batch.x, INPUT).logits_BK.softmax(1).numpy()
    labels = batch.y_B.numpy()
    for k in range(4):
        np.testing.assert_allclose(found[k], posterior[labels == k].mean(0))
    np.testing.assert_allclose(found[4], 1 / 3)
    np.testing.assert_allclose(found.sum(1), 1)


def test_co_tuning_is_its_definition(batch):
    source, student = frozen(classifier(["p", "q", "r"], seed=2)), classifier()
    term = TERMS["co_tuning"](CoTuning(), setting(student, source, batch=batch))
    head = source.module.head
    features = student.forward_frozen(batch.x, INPUT).features_BD
    log_p = (features @ head.weight.T + head.bias).log_softmax(1)
    relation = co_tuning.relation(setting(student, source, batch=batch))
    expected = -sum(float((relation[y] * log_p[b]).sum()) for b, y in enumerate(batch.y_B.tolist())) / len(log_p)
    assert value(term, student, batch) == pytest.approx(expected)


def test_co_tuning_wants_the_mixture_of_mixed_images(batch):
    """Of one that is 0.7 of its own and 0.3 of another, against loops over images and source classes."""
    source, student = frozen(classifier(["p", "q", "r"], seed=2)), classifier()
    term = TERMS["co_tuning"](CoTuning(), setting(student, source, batch=batch))
    partner_B = [3, 5, 1, 0, 2, 4]
    mixed = replace(batch, partner_y_B=batch.y_B[partner_B], share=0.7)
    relation = co_tuning.relation(setting(student, source, batch=batch)).tolist()
    log_p = source.module.head(student.forward_frozen(batch.x, INPUT).features_BD).log_softmax(1).tolist()
    labels, expected = batch.y_B.tolist(), 0.0
    for b, partner in enumerate(partner_B):
        for s in range(3):
            wanted = 0.7 * relation[labels[b]][s] + 0.3 * relation[labels[partner]][s]
            expected -= wanted * log_p[b][s] / len(labels)
    assert value(term, student, mixed) == pytest.approx(expected)
    assert value(term, student, batch) != pytest.approx(expected, rel=1e-5)


def test_lwf_on_its_default_is_the_published_four_times_the_bare_divergence(batch):
    """Li & Hoiem 2017 have λ = 4 before a loss without T²: cross-entropy of the softened outputs, whose gradient is
    that of KL."""
    source = frozen(classifier(["p", "q", "r"], seed=2))
    student = classifier()
    term = TERMS["lwf"](Lwf(), setting(student, source))
    said = (source.forward_frozen(batch.x, INPUT).logits_BK / 3).softmax(1).numpy()
    here = (source.module.head(student.forward_frozen(batch.x, INPUT).features_BD) / 3).softmax(1).detach().numpy()
    expected = 4 * (said * (np.log(said) - np.log(here))).sum(1).mean()
    assert Lwf().weight * value(term, student, batch) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["l2_sp", "delta", "lwf", "co_tuning"])
def test_what_stays_near_a_source_needs_one(name, batch):
    with pytest.raises(Failure, match="source"):
        TERMS[name](ALL[name], setting(classifier(), batch=batch))


# --- schedules


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", lambda p: 1.0),
        ("ramp", lambda p: min(1.0, p / 0.3)),
        ("cosine", lambda p: (1 + math.cos(math.pi * p)) / 2),
    ],
)
def test_schedules_are_functions_of_progress(schedule, expected):
    term = L2Sp(schedule=schedule)
    for progress in (0.0, 0.1, 0.3, 0.5, 0.99):
        assert term.factor(progress) == pytest.approx(expected(progress))


def test_modules_of_terms_are_not_the_sources(batch):
    """What learns on must not change the frozen source that it is compared with."""
    source, student = frozen(classifier(["p", "q", "r"], seed=2)), classifier()
    for name in ("lwf", "co_tuning"):
        module = TERMS[name](ALL[name], setting(student, source, batch=batch)).module
        assert isinstance(module, nn.Linear)
        assert module.weight.data_ptr() != source.module.head.weight.data_ptr()
