"""Batch norm's statistics, estimated anew, against NumPy."""

from copy import deepcopy

import numpy as np
import torch
from torch import nn

from worker.training import statistics


def network():
    torch.manual_seed(0)
    layers = [nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(64, 5), nn.BatchNorm1d(5))


def images(count=23):
    return torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(1)) * 3 + 5


def test_the_first_layers_are_those_of_the_whole_however_it_is_cut():
    x_BCHW, found = images(), network()
    statistics.estimate(found, x_BCHW.split([7, 14, 2]))
    x_CM = x_BCHW.numpy().astype(np.float64).transpose(1, 0, 2, 3).reshape(3, -1)
    np.testing.assert_allclose(found[0].running_mean, x_CM.mean(1), rtol=1e-6)
    np.testing.assert_allclose(found[0].running_var, x_CM.var(1, ddof=1), rtol=1e-6)


def test_in_one_batch_every_layer_is_normalised_as_in_training():
    """PyTorch's own estimate, with the momentum that keeps nothing of before; dropout draws nothing."""
    x_BCHW, found, reference = images(), network(), network()
    state = torch.get_rng_state()
    statistics.estimate(found, [x_BCHW])
    assert torch.equal(state, torch.get_rng_state())
    reference.eval()
    for norm in statistics.norms(reference).values():
        norm.momentum = 1.0
        norm.train()
    reference(x_BCHW)
    for path, norm in statistics.norms(found).items():
        expected = reference.get_submodule(path)
        torch.testing.assert_close(norm.running_mean, expected.running_mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(norm.running_var, expected.running_var, rtol=1e-5, atol=1e-6)
    assert not any(module.training for module in found.modules())


def test_a_prior_counts_as_so_many_images():
    x_BCHW, plain, mixed = images(20), network(), network()
    before = deepcopy(mixed[0])
    statistics.estimate(plain, [x_BCHW])
    statistics.estimate(mixed, [x_BCHW], prior=60)
    for name in ("running_mean", "running_var"):
        expected = 0.75 * getattr(before, name) + 0.25 * getattr(plain[0], name)
        torch.testing.assert_close(getattr(mixed[0], name), expected)


def test_weights_stay_and_norms_without_statistics_are_left_alone():
    found = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.BatchNorm2d(4))
    before = deepcopy(dict(found.named_parameters()))
    assert list(statistics.norms(found)) == ["2"]
    statistics.estimate(found, images().split(8))
    assert all(torch.equal(before[name], parameter) for name, parameter in found.named_parameters())
