"""What compares domains or predictions, against closed forms, NumPy, and other libraries' computations."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from worker.terms import adversarial
from worker.terms.adversarial import Discriminator, Multilinear
from worker.terms.confusion import class_confusion
from worker.terms.coral import coral
from worker.terms.mmd import joint_mmd, mmd, squared


def drawn(*shape, seed=0, shift=0.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def gradients(function, *inputs):
    """Automatic against numerical differentiation."""
    assert torch.autograd.gradcheck(function, tuple(x.clone().requires_grad_() for x in inputs))


# --- MMD


def numpy_kernel(x_ND):
    distance_NN = cdist(x_ND, x_ND, "sqeuclidean")
    width = distance_NN[~np.eye(len(x_ND), dtype=bool)].mean()
    return np.sum([np.exp(-distance_NN / (2 * m * width)) for m in (1 / 8, 1 / 4, 1 / 2, 1, 2)], axis=0)


def numpy_mmd(kernel_NN, n):
    """The double sums of Gretton et al. 2012, eq. 3, one pair at a time."""
    m = len(kernel_NN) - n
    ours = [kernel_NN[i, j] for i in range(n) for j in range(n) if i != j]
    theirs = [kernel_NN[n + i, n + j] for i in range(m) for j in range(m) if i != j]
    between = [kernel_NN[i, n + j] for i in range(n) for j in range(m)]
    return np.mean(ours) + np.mean(theirs) - 2 * np.mean(between)


def test_mmd_against_its_double_sums():
    source_SD, target_TD = drawn(7, 5), drawn(9, 5, seed=1, shift=0.7)
    expected = numpy_mmd(numpy_kernel(torch.cat((source_SD, target_TD)).numpy()), 7)
    assert mmd(source_SD, target_TD).item() == pytest.approx(expected, rel=1e-5)
    assert expected > 0
    single = mmd(source_SD.float(), target_TD.float()).item()
    assert single == pytest.approx(expected, rel=1e-5)


def test_joint_mmd_against_its_double_sums():
    source_SD, target_TD = drawn(7, 5), drawn(9, 5, seed=1, shift=0.7)
    source_SK, target_TK = drawn(7, 3, seed=2).softmax(1), drawn(9, 3, seed=3).softmax(1)
    p_NK = torch.cat((source_SK, target_TK)).numpy()
    of_predictions_NN = np.exp(-cdist(p_NK, p_NK, "sqeuclidean") / 1.68)
    expected = numpy_mmd(numpy_kernel(torch.cat((source_SD, target_TD)).numpy()) * of_predictions_NN, 7)
    assert joint_mmd((source_SD, source_SK), (target_TD, target_TK)).item() == pytest.approx(expected, rel=1e-5)


def test_mmd_is_zero_on_average_where_nothing_differs():
    """Over all ways to call half of the examples the source: exactly, since it is unbiased."""
    x_ND = drawn(8, 3)
    halves = [list(half) for half in itertools.combinations(range(8), 4)]
    values = [mmd(x_ND[half], x_ND[[i for i in range(8) if i not in half]]).item() for half in halves]
    assert np.mean(values) == pytest.approx(0, abs=1e-12)
    assert min(values) < -0.01


def test_mmd_of_equal_rows_and_its_gradient():
    same_ND = torch.ones(4, 3, requires_grad=True)
    value = mmd(same_ND, torch.ones(4, 3))
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(same_ND.grad).all()


def test_a_step_along_the_gradient_brings_the_domains_together():
    source_SD, target_TD = drawn(20, 3), drawn(20, 3, seed=1, shift=1.0).requires_grad_()
    mmd(source_SD, target_TD).backward()
    assert (target_TD.grad.mean(0) > 0).all()  # down the gradient is towards the source, which lies lower


class Largest(TorchDispatchMode):
    """How many numbers the largest tensor has that any operation within gives, backward passes included."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        tensors = [one for one in tree_leaves(made) if isinstance(one, torch.Tensor)]
        self.numbers = max([self.numbers, *(one.numel() for one in tensors)])
        return made


@pytest.mark.parametrize("joint", [False, True], ids=["mmd", "joint_mmd"])
def test_no_tensor_of_all_pairs_and_features_is_made(joint):
    """256 examples of 512 features: the largest is [N,D] or five kernels of [N,N], and not [N,N,D]."""
    source_SD, target_TD = drawn(128, 512).float().requires_grad_(), drawn(128, 512, seed=1).float()
    even = torch.full((128, 3), 1 / 3)
    with Largest() as largest:
        value = joint_mmd((source_SD, even), (target_TD, even)) if joint else mmd(source_SD, target_TD)
        value.backward()
    assert 256 * 256 <= largest.numbers <= 5 * 256 * 256


def test_distances_far_from_the_origin_keep_their_digits():
    """In single precision, where ‖x‖² is a million times the distances."""
    x_ND = drawn(12, 64)
    expected = cdist(x_ND.numpy(), x_ND.numpy(), "sqeuclidean")
    found_NN = squared((x_ND + 1000).float())
    np.testing.assert_allclose(found_NN.numpy(), expected, rtol=1e-3)
    assert not found_NN.diagonal().any()


# --- CORAL


def test_coral_against_numpy():
    source_SD, target_TD = drawn(7, 5), 2 * drawn(9, 5, seed=1)
    gap_DD = np.cov(source_SD.numpy(), rowvar=False) - np.cov(target_TD.numpy(), rowvar=False)
    expected = np.linalg.norm(gap_DD, "fro") ** 2 / (4 * 5**2)
    assert coral(source_SD, target_TD).item() == pytest.approx(expected, rel=1e-5)


def test_coral_says_nothing_of_the_means():
    """Trap 13."""
    x_ND = drawn(6, 4)
    assert coral(x_ND, x_ND + 100).item() == pytest.approx(0, abs=1e-20)


def test_gradients_of_coral():
    gradients(coral, drawn(5, 3), drawn(6, 3, seed=1))


# --- MCC


def numpy_confusion(logits_BK, temperature):
    scaled_BK = np.exp(logits_BK / temperature)
    p_BK = scaled_BK / scaled_BK.sum(1, keepdims=True)
    weight_B = np.array([1 + math.exp(sum(p * math.log(p) for p in row)) for row in p_BK])
    weight_B *= len(p_BK) / weight_B.sum()
    confusion_KK = sum(w * np.outer(p, p) for w, p in zip(weight_B, p_BK, strict=True))
    confusion_KK = np.array([row / row.sum() for row in confusion_KK])
    return (confusion_KK.sum() - np.trace(confusion_KK)) / len(confusion_KK)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_confusion_against_numpy(temperature):
    logits_BK = 3 * drawn(8, 4)
    expected = numpy_confusion(logits_BK.numpy(), temperature)
    assert class_confusion(logits_BK, temperature).item() == pytest.approx(expected, rel=1e-5)


def test_confusion_is_zero_for_sure_and_all_for_even_predictions():
    assert class_confusion(100 * torch.eye(4), 2.5).item() == pytest.approx(0, abs=1e-6)
    assert class_confusion(torch.zeros(8, 4), 2.5).item() == pytest.approx(3 / 4)


# --- Discriminators


def test_a_reversed_gradient_is_the_gradient_times_minus_the_coefficient():
    """Trap 2: it is there, and it points the other way."""
    torch.manual_seed(0)
    discriminator = Discriminator(5, 16).double()
    source_SD, target_TD = drawn(6, 5), drawn(7, 5, seed=1, shift=1.0)

    def of(times):
        features = [x.clone().requires_grad_() for x in (source_SD, target_TD)]
        discriminator.zero_grad()
        seen = features if times is None else [adversarial.reverse(x, times) for x in features]
        adversarial.domain_loss(*map(discriminator, seen)).backward()
        return [x.grad for x in features], [p.grad.clone() for p in discriminator.parameters()]

    plain, learned = of(None)
    reversed_, still_learned = of(0.3)
    for one, other in zip(plain, reversed_, strict=True):
        assert one.norm() > 1e-4
        torch.testing.assert_close(other, -0.3 * one)
    for one, other in zip(learned, still_learned, strict=True):
        torch.testing.assert_close(one, other)
        assert one.norm() > 0


def test_a_discriminator_learns_and_what_it_looks_at_unlearns():
    """Descending on both at once, the discriminator alone tells domains apart; the features, reversed, end alike."""
    torch.manual_seed(0)
    source_SD, target_TD = drawn(64, 2).float(), drawn(64, 2, seed=1, shift=2.0).float()

    def accuracy(times):
        discriminator, shift = Discriminator(2, 16), nn.Parameter(torch.zeros(2))
        optimiser = torch.optim.Adam([*discriminator.parameters(), shift], 0.02)
        for _ in range(300):
            logits = [
                discriminator(source_SD),
                discriminator(adversarial.reverse(target_TD + shift, times)),
            ]
            optimiser.zero_grad()
            adversarial.domain_loss(*logits).backward()
            optimiser.step()
        return adversarial.domain_accuracy(*logits).item(), shift.detach()

    alone, still = accuracy(0.0)
    against, moved = accuracy(1.0)
    assert alone > 0.9
    assert not still.any()
    assert against < alone
    assert (moved < -1).all()


def test_domain_loss_against_its_definition():
    source_S, target_T, weight_S = drawn(4), drawn(6, seed=1), torch.tensor([0.5, 1.5, 1.0, 1.0], dtype=torch.float64)
    own = -(weight_S * source_S.sigmoid().log()).mean()
    other = -(1 - target_T.sigmoid()).log().mean()
    torch.testing.assert_close(adversarial.domain_loss(source_S, target_T, weight_S), (own + other) / 2)


def test_the_map_is_the_outer_product():
    conditioned = Multilinear(5, 3, 8, torch.Generator(), randomised=False)
    features_BD, p_BK = drawn(4, 5), drawn(4, 3, seed=1).softmax(1)
    expected = np.stack([np.outer(p, f).ravel() for p, f in zip(p_BK.numpy(), features_BD.numpy(), strict=True)])
    np.testing.assert_allclose(conditioned(features_BD, p_BK).numpy(), expected, rtol=1e-5)
    assert conditioned.out_features == expected.shape[1]


def test_random_maps_keep_inner_products():
    """⟨T(f, p), T(f', p')⟩ ≈ ⟨f, f'⟩ ⟨p, p'⟩ (Long et al. 2018, theorem 1), and the maps are state."""
    conditioned = Multilinear(5, 3, 200_000, torch.Generator().manual_seed(0), randomised=True)
    features_BD, p_BK = drawn(2, 5).float(), drawn(2, 3, seed=1).softmax(1).float()
    one, other = conditioned(features_BD, p_BK)
    expected = (features_BD[0] @ features_BD[1]) * (p_BK[0] @ p_BK[1])
    scale = features_BD.norm(dim=1).prod() * p_BK.norm(dim=1).prod()
    assert (one @ other / scale).item() == pytest.approx((expected / scale).item(), abs=0.03)
    assert set(conditioned.state_dict()) == {"of_features", "of_predictions"}


def test_certainty_against_its_definition():
    p_BK = drawn(5, 4).softmax(1)
    expected = np.array([1 + math.exp(sum(p * math.log(p) for p in row)) for row in p_BK.tolist()])
    np.testing.assert_allclose(adversarial.certainty(p_BK).numpy(), expected / expected.mean(), rtol=1e-9)
    sure = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(adversarial.certainty(sure), torch.ones(3, dtype=torch.float64))
