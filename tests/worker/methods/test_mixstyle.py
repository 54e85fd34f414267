"""Where styles are mixed, and by what: seen at the layers that come next, in networks as people have them."""

import numpy as np
import pytest
import torch

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.methods.generalisation.mixstyle import MixStyle
from tests.worker.methods import tasks
from worker.methods.generalisation import mixstyle
from worker.networks import build
from worker.networks.classifier import Classifier
from worker.networks.structure import Structure

COLOUR = InputSpec(size=(32, 32), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
GREY = InputSpec.model_validate(tasks.INPUT)


def classifier(network, input=COLOUR):
    torch.manual_seed(0)
    made = build.build(NetworkSpec.model_validate(network), input)
    return Classifier(made, Structure.of(made, input), input, None)


def inputs(learner, paths, x_BCHW, seed):
    """What the modules at `paths` are given in training."""
    seen = {}
    hooks = [
        learner.module.get_submodule(path).register_forward_hook(
            lambda module, given, made, path=path: seen.update({path: given[0].detach().clone()})
        )
        for path in paths
    ]
    torch.manual_seed(seed)
    learner.module.train()(x_BCHW)
    for hook in hooks:
        hook.remove()
    return seen


def naive(x_BCHW, partner_B, share_B):
    """Zhou et al. 2021, eq. 4 to 6, image by image and channel by channel."""
    x, made = x_BCHW.double().numpy(), np.empty(x_BCHW.shape)
    for b, (partner, share) in enumerate(zip(partner_B, share_B, strict=True)):
        for c in range(x.shape[1]):
            mean, std = x[b, c].mean(), np.sqrt(x[b, c].var() + 1e-6)
            of_mean, of_std = x[partner, c].mean(), np.sqrt(x[partner, c].var() + 1e-6)
            gamma, beta = share * std + (1 - share) * of_std, share * mean + (1 - share) * of_mean
            made[b, c] = gamma * (x[b, c] - mean) / std + beta
    return made


def test_a_resnet_is_mixed_after_its_first_two_residual_stages():
    """And not at the norm of its stem, before the activation."""
    learner = classifier({"name": "torchvision/resnet18", "num_classes": 4})
    params = MixStyle(environments=["ds_here", "ds_there"], p=1.0, alpha=0.5)
    x_BCHW = torch.randn(6, 3, 32, 32)
    paths = ["layer1", "layer2", "layer3"]
    plain = inputs(learner, paths, x_BCHW, 1)
    with mixstyle.mixing(learner, params=params):
        mixed = inputs(learner, paths, x_BCHW, 1)
    torch.testing.assert_close(mixed["layer1"], plain["layer1"])
    torch.manual_seed(1)
    torch.rand(())
    partner_B = torch.randperm(6)
    share_B = torch.distributions.Beta(0.5, 0.5).sample((6,))
    expected = naive(plain["layer2"], partner_B.tolist(), share_B.tolist())
    np.testing.assert_allclose(mixed["layer2"].numpy(), expected, rtol=1e-3, atol=1e-4)
    with mixstyle.mixing(learner, params=params.model_copy(update={"stages": 1})):
        once = inputs(learner, paths, x_BCHW, 1)
    torch.testing.assert_close(once["layer2"], mixed["layer2"])
    assert not torch.allclose(once["layer3"], mixed["layer3"], atol=1e-2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("torchvision/resnet50", ["layer1", "layer2"]),
        ("timm/resnet18", ["layer1", "layer2"]),
        ("torchvision/mobilenet_v3_small", ["features.1", "features.2"]),
    ],
)
def test_the_stem_is_left_out(name, expected):
    with torch.device("meta"):
        learner = classifier({"name": name, "num_classes": 4})
    learner.module.to_empty(device="cpu")
    for tensor in learner.module.state_dict().values():
        tensor.zero_()
    assert mixstyle.places(learner)[:2] == [(path, "output") for path in expected]


@pytest.mark.parametrize(
    ("network", "input"), [({"name": "cnn3", "num_classes": 4}, COLOUR), (tasks.network(10), GREY)], ids=["cnn3", "own"]
)
def test_bare_layers_are_mixed_after_their_activation(network, input):
    """What is mixed is what the next convolution would be given, with nothing below zero."""
    learner = classifier(network, input)
    first = mixstyle.places(learner)[0]
    assert first.of == "input"
    [given] = inputs(learner, [first.path], torch.randn(6, input.channels, *input.size), 0).values()
    assert given.ndim == 4
    assert (given >= 0).all()
    assert (given > 0).any()
