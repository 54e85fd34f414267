"""`ssf` against its equation: γ·y + β behind every layer by hooks, on the source's own weights."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.networks import build, scale_and_shift
from worker.networks.structure import Structure

NETWORKS = {
    "timm/test_vit": 160,
    "timm/test_convnext": 64,
    "torchvision/mobilenet_v3_small": 64,
    "torchvision/resnet18": 64,
    "timm/beit_base_patch16_224": 224,
    "torchvision/vit_b_16": 224,
}


def made(name):
    torch.manual_seed(0)
    size = NETWORKS[name]
    input = InputSpec(size=(size, size), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    network = build.build(NetworkSpec(name=name, num_classes=5, options={}), input).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return network, list(Structure.of(network, input).heads), torch.randn(2, 3, size, size)


def drawn(network, seed=1):
    """Scales around 1 and shifts around 0, as a training might leave them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for path in scale_and_shift.parts(network):
            for parameter in network.get_submodule(path).parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def by_hooks(network, heads, other):
    """γ·y + β for what every layer of `network` gives, with those of `other`; of what was called by its forward."""
    for path, module in network.named_modules():
        parts = getattr(other.get_submodule(path), "parametrizations", None)
        if parts is None or path in heads or "weight" not in parts:
            continue
        scale = parts["weight"][0].scale_O
        shift = parts["bias"][0].shift_O if "bias" in parts else torch.zeros_like(scale)

        def corrected(module, inputs, output, scale=scale, shift=shift):
            channels = (1, -1, 1, 1) if "2d" in type(module).__name__ else (-1,)
            return output * scale.view(channels) + shift.view(channels)

        module.register_forward_hook(corrected)


@pytest.mark.parametrize(
    "name", ["timm/test_vit", "timm/test_convnext", "torchvision/mobilenet_v3_small", "torchvision/resnet18"]
)
def test_it_is_a_scale_and_a_shift_behind_every_layer(name):
    network, heads, x_BCHW = made(name)
    reference, _, _ = made(name)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with torch.no_grad():
        plain = network(x_BCHW)
        corrected = scale_and_shift.insert(network, aside=heads)
        assert len(corrected) == sum(
            isinstance(module, nn.Linear | nn.Conv2d) or "norm" in type(module).__name__.lower()
            for path, module in reference.named_modules()
            if path not in heads and any(True for _ in module.parameters(False))
        )
        torch.testing.assert_close(network(x_BCHW), plain)
        drawn(network)
        by_hooks(reference, heads, network)
        expected = reference(x_BCHW)
        assert (expected - plain).abs().max() > 0.1 * plain.abs().max()
        torch.testing.assert_close(network(x_BCHW), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
        scale_and_shift.merge(network)
        torch.testing.assert_close(network(x_BCHW), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert network.state_dict().keys() == before.keys()


@pytest.mark.parametrize("name", ["timm/beit_base_patch16_224", "torchvision/vit_b_16"])
def test_weights_that_attention_reads_by_itself_are_scaled_too(name):
    network, heads, x_BCHW = made(name)
    with torch.no_grad():
        scale_and_shift.insert(network, aside=heads)
        parts = scale_and_shift.parts(network)
        attention = [path for path in parts if "qkv" in path or "in_proj" in path]
        assert len(attention) >= 12
        before = network(x_BCHW)
        for path in attention:
            for parameter in network.get_submodule(path).parameters():
                parameter.mul_(1.5)
        after = network(x_BCHW)
        assert (after - before).abs().max() > 0
        scale_and_shift.merge(network)
        torch.testing.assert_close(network(x_BCHW), after)
        assert not scale_and_shift.parts(network)


def test_what_learns_is_one_scale_and_one_shift_a_channel(tmp_path):
    """W′ = γW and b′ = γb + β; statistics stay, layers without a bias get none, and the head is its own."""
    source = tasks.source(tmp_path / "source")
    method = {"name": "ssf", "epochs": 4, "batch_size": 8, "learning_rate": 0.01, "weight_decay": 0.5}
    outcome = tasks.run(Setting(method, source, tasks.dataset(tmp_path / "target", 10)), tmp_path / "run")
    before = load_file(source[1])
    assert outcome.weights.keys() == before.keys()
    for path in ("features.0", "block.0"):
        ratio = outcome.weights[f"{path}.weight"] / before[f"{path}.weight"]
        scale_O = ratio.flatten(1).mean(1)
        assert scale_O.std() > 1e-3
        torch.testing.assert_close(ratio, scale_O.view(-1, 1, 1, 1).expand_as(ratio), rtol=1e-4, atol=1e-5)
        assert not torch.equal(outcome.weights[f"{path}.bias"], before[f"{path}.bias"])
    still = [name for name in before if "running" in name or "tracked" in name]
    assert len(still) == 6
    assert all(torch.equal(outcome.weights[name], before[name]) for name in still)
    assert outcome.document["transfer"]["corrected"] == ["features.0", "features.1", "block.0", "block.1"]
