"""Features brought to one scale, and a linear layer that takes that up."""

import pytest
import torch
from torch import nn

from worker.training.conditioning import CURVATURE, Scaling
from worker.training.features import Features


@pytest.fixture(params=[(200, 6), (5, 40)], ids=["many images", "few images"])
def features(request):
    images, size = request.param
    draws = torch.Generator().manual_seed(0)
    x_ND = (torch.randn(images, size, generator=draws) * torch.rand(size, generator=draws) * 30 + 50).relu()
    return Features(x_ND, torch.zeros(images, dtype=torch.int64))


def test_scaled_features_have_no_mean_and_one_curvature(features):
    z_ND = Scaling.of(features.x_ND).apply(features).x_ND.double()
    torch.testing.assert_close(z_ND.mean(0), torch.zeros(z_ND.shape[1], dtype=torch.float64), atol=1e-4, rtol=0)
    assert torch.linalg.matrix_norm(z_ND, 2) ** 2 / len(z_ND) == pytest.approx(CURVATURE, rel=1e-4)


def test_a_layer_takes_the_scaling_up_exactly(features):
    layer, scaling = nn.Linear(features.x_ND.shape[1], 3), Scaling.of(features.x_ND)
    before, scores = [p.clone() for p in layer.parameters()], layer(features.x_ND)
    with scaling.within(layer):
        torch.testing.assert_close(layer(scaling.apply(features).x_ND), scores, atol=1e-3, rtol=1e-4)
        with torch.no_grad():
            layer.weight += 0.01
            learnt = layer(scaling.apply(features).x_ND)
    torch.testing.assert_close(layer(features.x_ND), learnt, atol=1e-3, rtol=1e-4)
    with scaling.within(layer):
        pass
    assert not torch.equal(layer.weight, before[0])


def test_features_that_are_all_alike_are_centred():
    x_ND = torch.full((4, 3), 7.0)
    scaling = Scaling.of(x_ND)
    assert scaling.size == 1.0
    assert not scaling.apply(Features(x_ND, torch.zeros(4))).x_ND.any()
