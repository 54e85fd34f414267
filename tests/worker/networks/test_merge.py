"""Merged weights against closed forms and hand-computed vectors; batch norm's statistics against the data's."""

import numpy as np
import pytest
import torch
from torch import nn

from worker.networks import merge
from worker.training import batch_norm


def weights(seed, **more):
    generator = torch.Generator().manual_seed(seed)
    tensors = {"a": torch.randn(4, 3, generator=generator), "b": torch.randn(5, generator=generator)}
    return tensors | more


def test_a_uniform_soup_of_two_is_their_mean():
    one, two = weights(1), weights(2)
    found = merge.mean([one, two])
    for name in one:
        torch.testing.assert_close(found[name], (one[name] + two[name]) / 2)
        assert found[name].dtype == torch.float32


def test_whole_numbers_are_not_averaged():
    """Trap 11: `num_batches_tracked`."""
    one, two = weights(1, n=torch.tensor(7)), weights(2, n=torch.tensor(100))
    found = merge.mean([one, two])["n"]
    assert (found.dtype, found.item()) == (torch.int64, 7)
    assert merge.between(one, two, 0.25)["n"].item() == 7
    assert merge.between(one, two, 0.75)["n"].item() == 100


def test_the_ends_between_two_are_these_bit_for_bit():
    one, two = weights(1), weights(2)
    for alpha, end in ((0.0, one), (1.0, two)):
        assert all(torch.equal(merge.between(one, two, alpha)[name], end[name]) for name in end)
    torch.testing.assert_close(merge.between(one, two, 0.3)["a"], 0.7 * one["a"] + 0.3 * two["a"])


def test_one_task_vector_at_scale_one_is_the_tuned_network():
    ancestor, tuned = weights(1), weights(2)
    found = merge.add(ancestor, merge.total([merge.task_vector(ancestor, tuned)]), 1.0)
    for name in tuned:
        torch.testing.assert_close(found[name], tuned[name], rtol=0, atol=1e-7)


def test_task_vectors_add_up_and_are_taken_away():
    ancestor, one, two = weights(1), weights(2), weights(3)
    vector = merge.total([merge.task_vector(ancestor, one), merge.task_vector(ancestor, two)])
    expected = ancestor["b"] - 0.5 * (one["b"] - ancestor["b"] + two["b"] - ancestor["b"])
    torch.testing.assert_close(merge.add(ancestor, vector, -0.5)["b"], expected)


def vector(*values):
    return {"w": torch.tensor(values, dtype=torch.float64)}


def test_ties_by_hand():
    """Half of six entries stay in each; then signs by the larger total, and means over those that have them."""
    one = vector(1.0, -0.9, 0.1, 0.0, 0.8, 0.2)  # trimmed: 1, -.9, 0, 0, .8, 0
    two = vector(0.5, 2.0, -0.1, 0.3, -0.8, 0.0)  # trimmed: .5, 2, 0, 0, -.8, 0
    three = vector(3.0, -0.2, 0.1, 0.0, 0.6, -0.5)  # trimmed: 3, 0, 0, 0, .6, -.5
    found = merge.ties([one, two, three], keep=0.5)["w"]
    assert found.tolist() == pytest.approx([4.5 / 3, 2.0, 0.0, 0.0, 1.4 / 2, -0.5])


def test_trimming_is_over_all_tensors_together():
    found = merge.trim({"small": torch.tensor([0.1, -0.2]), "large": torch.tensor([[5.0], [-4.0]])}, keep=0.5)
    assert found["small"].tolist() == [0, 0]
    assert found["large"].tolist() == [[5], [-4]]
    assert merge.trim(vector(1, -2, 3), keep=1.0)["w"].tolist() == [1, -2, 3]
    assert merge.trim(vector(1, -2, 3), keep=0.01)["w"].tolist() == [0, 0, 3]


def test_thinning_drops_that_share_and_keeps_the_mean():
    found = merge.thinned({"w": torch.ones(10_000, dtype=torch.float64)}, 0.75, torch.Generator().manual_seed(0))["w"]
    assert set(found.tolist()) == {0.0, 4.0}
    assert found.mean().item() == pytest.approx(1, abs=0.05)
    assert merge.thinned(vector(1, -2), 0.0, torch.Generator())["w"].tolist() == [1, -2]


def test_weighed_by_hand():
    members, weights = [vector(1, 2, 3), vector(3, 6, 5)], [vector(1, 3, 0), vector(3, 1, 0)]
    assert merge.weighed(members, weights)["w"].tolist() == [2.5, 3.0, 4.0]  # the last has no weight: the mean


def rows(seed, count=40, features=6):
    return torch.randn(count, features, generator=torch.Generator().manual_seed(seed))


def test_reg_mean_is_least_squares():
    """The weights that come nearest to what each model makes of its own inputs, by NumPy's solver."""
    inputs = [rows(seed) for seed in (1, 2, 3)]
    models = [rows(seed, 4) for seed in (4, 5, 6)]  # [out, in]
    solution = merge.RegMean(1.0, models[0])
    for x_ND, weight_OD in zip(inputs, models, strict=True):
        solution.add(x_ND.double().T @ x_ND.double(), weight_OD)
    stacked = np.concatenate([x_ND.double().numpy() for x_ND in inputs])
    wanted = np.concatenate([(x_ND.double() @ w.double().T).numpy() for x_ND, w in zip(inputs, models, strict=True)])
    expected = np.linalg.lstsq(stacked, wanted, rcond=None)[0].T
    np.testing.assert_allclose(solution.solve().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_reg_mean_without_off_diagonals_weighs_by_energy():
    models, energies = [rows(4, 4), rows(5, 4)], [torch.arange(1.0, 7.0), torch.full((6,), 2.0)]
    solution = merge.RegMean(0.0, models[0])
    for weight_OD, energy_D in zip(models, energies, strict=True):
        solution.add(energy_D.diag() + 0.1, weight_OD)
    energies = [energy_D + 0.1 for energy_D in energies]
    expected = sum(e * w for e, w in zip(energies, models, strict=True)) / sum(energies)
    torch.testing.assert_close(solution.solve().float(), expected)


def test_reg_mean_where_no_image_shows_anything_is_the_mean():
    one, two = rows(4, 4), rows(5, 4)
    dark = merge.RegMean(0.9, one)
    half = merge.RegMean(0.9, one)
    for weight_OD in (one, two):
        dark.add(torch.zeros(6, 6), weight_OD)
        x_ND = rows(1).double()
        x_ND[:, 3] = 0  # a pixel at the border
        half.add(x_ND.T @ x_ND, weight_OD)
    torch.testing.assert_close(dark.solve().float(), (one + two) / 2)
    torch.testing.assert_close(half.solve().float()[:, 3], ((one + two) / 2)[:, 3])


def normed():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, momentum=0.1), nn.Dropout(0.5), nn.Conv2d(3, 2, 1))
    network[1].running_mean.fill_(50)
    return network


def test_statistics_are_those_of_the_images():
    network, generator = normed(), torch.Generator().manual_seed(1)
    batches = [torch.randn(8, 1, 6, 6, generator=generator) for _ in range(5)]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    batch_norm.reestimate(network, batches)
    made = [network[0](x_BCHW).detach().double() for x_BCHW in batches]
    mean = torch.stack([y.mean((0, 2, 3)) for y in made]).mean(0)
    var = torch.stack([y.var((0, 2, 3)) for y in made]).mean(0)
    norm = network[1]
    torch.testing.assert_close(norm.running_mean.double(), mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(norm.running_var.double(), var, atol=1e-5, rtol=1e-5)
    assert (norm.momentum, network.training, norm.training) == (0.1, False, False)
    same = [name for name in before if not name.startswith("1.running") and not name.endswith("tracked")]
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in same)


def test_a_norm_without_statistics_is_left_alone():
    network = nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False), nn.BatchNorm1d(2))
    assert list(batch_norm.layers(network)) == ["1"]
