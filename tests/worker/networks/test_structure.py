"""Head, features and stages, over networks of many kinds."""

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from tests.worker.networks.families import OWN
from worker.networks import build
from worker.networks.structure import Structure
from worker.runtime.contract import Failure
from worker.training import freezing
from worker.training.freezing import Freezer

CLASSES = 10
SMALL = InputSpec(size=(64, 64), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)

# name: head, features, separable, number of stages, first stage, last stage
NETWORKS: dict[str, tuple[str, int, bool, int, tuple[str, ...], tuple[str, ...]]] = {
    "cnn3": ("fc3", 512, True, 5, ("conv1",), ("fc2",)),
    "torchvision/alexnet": ("classifier.6", 4096, True, 7, ("features.0",), ("classifier.4",)),
    "torchvision/vgg11_bn": ("classifier.6", 4096, True, 10, ("features.0", "features.1"), ("classifier.3",)),
    "torchvision/resnet18": ("fc", 512, True, 5, ("conv1", "bn1"), ("layer4",)),
    "torchvision/densenet121": (
        *("classifier", 1024, True, 8),
        ("features.conv0", "features.norm0"),
        ("features.denseblock4", "features.norm5"),
    ),
    "torchvision/mobilenet_v3_small": ("classifier.3", 1024, True, 14, ("features.0",), ("classifier.0",)),
    "torchvision/efficientnet_b0": ("classifier.1", 1280, True, 9, ("features.0",), ("features.8",)),
    "torchvision/squeezenet1_1": ("classifier.1", 512, False, 9, ("features.0",), ("features.12",)),
    "torchvision/shufflenet_v2_x0_5": ("fc", 1024, True, 5, ("conv1",), ("conv5",)),
    "torchvision/regnet_y_400mf": ("fc", 440, True, 5, ("stem",), ("trunk_output.block4",)),
    "torchvision/mnasnet0_5": ("classifier.1", 1280, True, 10, ("layers.0", "layers.1"), ("layers.14", "layers.15")),
    "torchvision/googlenet": ("fc", 1024, True, 12, ("conv1",), ("inception5b",)),
    "torchvision/convnext_tiny": ("classifier.2", 768, True, 8, ("features.0",), ("features.7", "classifier.0")),
    "torchvision/swin_t": ("head", 768, True, 8, ("features.0",), ("features.7", "norm")),
    "torchvision/vit_b_16": (
        *("heads.head", 768, True, 13),
        ("conv_proj",),
        ("encoder.layers.encoder_layer_11", "encoder.ln"),
    ),
    "timm/resnet10t": ("fc", 512, True, 5, ("conv1", "bn1"), ("layer4",)),
    "timm/resnetv2_50": ("head.fc", 2048, False, 5, ("stem",), ("stages.3", "norm")),
    "timm/mobilenetv3_small_050": ("classifier", 1024, True, 8, ("conv_stem", "bn1"), ("conv_head",)),
    "timm/efficientnet_lite0": ("classifier", 1280, True, 9, ("conv_stem", "bn1"), ("conv_head", "bn2")),
    "timm/convnext_atto": ("head.fc", 320, True, 5, ("stem",), ("stages.3", "head.norm")),
    "timm/vit_tiny_patch16_224": ("head", 192, True, 13, ("patch_embed",), ("blocks.11", "norm")),
    "timm/swin_tiny_patch4_window7_224": ("head.fc", 768, True, 5, ("patch_embed",), ("layers.3", "norm")),
    "timm/test_convnext": ("head.fc", 64, True, 5, ("stem",), ("stages.3", "head.norm")),
}

ONE_HEAD = list(dict.fromkeys([*NETWORKS, *OWN]))
SEVERAL_HEADS = {
    "timm/deit_tiny_distilled_patch16_224": (("head", "head_dist"), 2 * 192),
    "timm/levit_128s": (("head.linear", "head_dist.linear"), 2 * 384),
    "timm/crossvit_9_240": (("head.0", "head.1"), 128 + 256),
}


@cache
def studied(name: str) -> tuple[nn.Module, Structure, InputSpec]:
    torch.manual_seed(0)
    spec = NetworkSpec(name=name, num_classes=CLASSES)
    usual = build.usual_input(spec)
    assert usual is not None
    input = usual if name.startswith(("timm/swin", "timm/levit", "timm/crossvit")) or name in OWN else SMALL
    network = build.build(spec, input).eval()
    return network, Structure.of(network, input), input


def batch(input: InputSpec, count: int = 2) -> Tensor:
    return torch.randn(count, input.channels, *input.size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_head_features_and_stages_are_found(name: str) -> None:
    head, features, separable, stages, first, last = NETWORKS[name]
    found = studied(name)[1]
    assert (found.heads, found.features, found.separable) == ((head,), features, separable)
    assert (len(found.stages), found.stages[0], found.stages[-1]) == (stages, first, last)


@pytest.mark.parametrize("name", ONE_HEAD)
def test_the_network_is_its_head_on_its_features(name: str) -> None:
    network, found, input = studied(name)
    x = batch(input)
    with torch.no_grad():
        logits, features = found.forward(network, x)
        assert torch.equal(logits, network(x))
        assert features.shape == (2, found.features)
        assert torch.equal(found.extract(network, x), features)
        if found.separable:
            assert torch.equal(network.get_submodule(found.head)(features), logits)


@pytest.mark.parametrize("name", ONE_HEAD)
def test_stages_and_heads_hold_the_weights_each_once(name: str) -> None:
    """But for what a transformer holds between its blocks: tokens and places."""
    network, found, _ = studied(name)
    paths = [path for stage in found.stages for path in stage] + list(found.heads)
    owners = {n: [p for p in paths if n.startswith(f"{p}.")] for n, _ in network.named_parameters()}
    assert all(len(owner) <= 1 for owner in owners.values())
    loose = [n.rpartition(".")[2] for n, owner in owners.items() if not owner]
    assert set(loose) <= {"class_token", "cls_token", "pos_embedding", "pos_embed"}


@pytest.mark.parametrize("name", ONE_HEAD)
def test_stages_are_in_order_of_execution(name: str) -> None:
    network, found, input = studied(name)
    entered: list[str] = []

    def watched() -> Iterator[Any]:
        for stage in found.stages:
            for path, module in network.get_submodule(stage[0]).named_modules():
                if not any(True for _ in module.children()):
                    yield module.register_forward_pre_hook(lambda *_, stage=stage[0], path=path: entered.append(stage))

    hooks = list(watched())
    with torch.no_grad():
        network(batch(input))
    for hook in hooks:
        hook.remove()
    assert list(dict.fromkeys(entered)) == [stage[0] for stage in found.stages]


@pytest.mark.parametrize("name", ["torchvision/resnet18", "torchvision/vit_b_16", "timm/convnext_atto"])
def test_the_last_stages_learn_and_nothing_else(name: str) -> None:
    network, found, input = studied(name)
    network = copy.deepcopy(network)
    chosen = found.last(2)
    assert set(chosen) == {*found.stages[-1], *found.stages[-2], *found.heads}
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    Freezer(network).train(chosen)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.1)
    network(batch(input)).square().sum().backward()
    optimiser.step()
    frozen = freezing.entries(network, chosen)
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert not changed & frozen


@pytest.mark.parametrize("name", [*ONE_HEAD, *SEVERAL_HEADS])
def test_a_new_head_has_other_classes(name: str) -> None:
    network, found, input = studied(name)
    network = copy.deepcopy(network)
    found.replace_head(network, 23)
    with torch.no_grad():
        logits, features = found.forward(network, batch(input))
    assert logits.shape == (2, 23)
    assert features.shape == (2, found.features)
    assert Structure.of(network, input) == found


@pytest.mark.parametrize("name", SEVERAL_HEADS)
def test_several_heads_are_found(name: str) -> None:
    heads, features = SEVERAL_HEADS[name]
    network, found, input = studied(name)
    assert (found.heads, found.features, found.separable) == (heads, features, False)
    with torch.no_grad():
        assert found.extract(network, batch(input)).shape == (2, features)


@pytest.mark.parametrize(
    "name", ["torchvision/resnet18", "torchvision/vit_b_16", "timm/deit_tiny_distilled_patch16_224"]
)
def test_a_shell_has_the_same_structure(name: str) -> None:
    _, found, input = studied(name)
    assert Structure.of(build.shell(NetworkSpec(name=name, num_classes=CLASSES), input), input) == found


@pytest.mark.parametrize("name", ["cnn3", "torchvision/mobilenet_v3_small", "timm/levit_128s"])
def test_studying_leaves_no_trace(name: str) -> None:
    network, found, input = studied(name)
    network = copy.deepcopy(network).requires_grad_(False)
    network.get_submodule(found.stages[1][0]).train()
    modes = [module.training for module in network.modules()]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert Structure.of(network, input) == found
    assert modes == [module.training for module in network.modules()]
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_studying_before_loading_leaves_nothing_of_the_old_weights() -> None:
    """LeViT keeps a table that it makes of its weights, for as long as it is not trained."""
    trained, _, input = studied("timm/levit_128s")
    network = build.build(NetworkSpec(name="timm/levit_128s", num_classes=CLASSES), input)
    trained = copy.deepcopy(trained)
    for name, parameter in trained.named_parameters():
        if name.endswith("attention_biases"):
            parameter.data.normal_()
    Structure.of(network, input)
    network.load_state_dict(trained.state_dict())
    with torch.no_grad():
        assert torch.equal(network.eval()(batch(input)), trained.eval()(batch(input)))


def layers(*described: dict[str, Any], classes: int = CLASSES) -> nn.Module:
    spec = NetworkSpec(name="layers", num_classes=classes, options={"layers": list(described)})
    return build.build(spec, SMALL)


def linear(width: int) -> dict[str, Any]:
    return {"type": "Linear", "out_features": width}


def test_a_layer_of_the_same_width_that_feeds_the_head_is_no_head() -> None:
    network = layers({"type": "Flatten"}, linear(10), linear(10), linear(10))
    found = Structure.of(network, SMALL)
    assert found.heads == ("3",)
    assert (found.features, found.separable) == (10, True)


@pytest.mark.parametrize("inplace", [False, True])
def test_what_is_done_to_the_scores_makes_a_network_inseparable(inplace: bool) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, CLASSES), nn.ReLU(inplace=inplace))
    assert not Structure.of(network, SMALL).separable


def test_norms_before_everything_belong_to_what_follows() -> None:
    pool = {"type": "AdaptiveAvgPool2d", "output_size": 1}
    conv = {"type": "Conv2d", "out_channels": 4, "kernel_size": 3}
    network = layers(
        {"type": "BatchNorm2d"}, conv, conv, {"type": "BatchNorm2d"}, pool, {"type": "Flatten"}, linear(10)
    )
    assert Structure.of(network, SMALL).stages == (("0", "1"), ("2", "3"))


class Twice(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 10), Twice()), "one vector"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten()), "no classification head"),
        (nn.Sequential(nn.Conv2d(1, 4, 1), nn.Flatten()), "64×64 colour"),
        (nn.Sequential(nn.Flatten(), nn.Linear(100, 10)), "64×64 colour"),
    ],
    ids=["two outputs", "no head", "other channels", "other size"],
)
def test_a_network_of_no_use_is_refused(network: nn.Module, words: str) -> None:
    with pytest.raises(Failure) as failed:
        Structure.of(network, SMALL)
    assert failed.value.code == "does_not_fit"
    assert words in failed.value.message


def test_an_image_too_small_is_refused_with_its_size() -> None:
    input = InputSpec(size=(32, 32), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    spec = NetworkSpec(name="torchvision/alexnet", num_classes=CLASSES)
    with pytest.raises(Failure) as failed:
        Structure.of(build.build(spec, input), input)
    assert failed.value.code == "does_not_fit"
    assert "32×32" in failed.value.message


class Declared(nn.Module):
    """Its dropouts are declared before the layers that they stand between; one of them is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.often, self.between = nn.Dropout(0.5), nn.Dropout(0.5)
        self.conv, self.norm, self.fc1, self.fc2 = (
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.Linear(4, 8),
            nn.Linear(8, 10),
        )
        self.inner = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.often(self.norm(self.conv(x))).mean((2, 3))
        x = self.inner(self.between(self.fc1(x)))
        return self.fc2(self.often(x))


@pytest.mark.parametrize(
    ("learning", "live"),
    [
        (["fc2"], ["often"]),
        (["inner", "fc2"], ["between", "inner.0", "often"]),
        (["fc1", "fc2"], ["between", "inner.0", "often"]),
        (["inner.1"], ["between", "inner.0", "often"]),
        (["conv"], ["between", "inner.0", "often"]),
        ([], []),
    ],
)
def test_dropout_behind_what_is_frozen_stays_live_by_order_of_execution(learning, live):
    structure = Structure.of(Declared(), SMALL)
    assert structure.live(learning) == live


@pytest.mark.parametrize(
    ("name", "dropout"),
    [
        ("torchvision/efficientnet_b0", ["classifier.0"]),
        ("torchvision/mobilenet_v3_small", ["classifier.2"]),
        ("torchvision/alexnet", []),
        ("timm/vit_tiny_patch16_224", ["head_drop"]),
        ("timm/convnext_atto", ["head.drop"]),
    ],
)
def test_the_dropout_before_the_head_of_a_known_network_stays_live(name, dropout):
    network, structure, _ = studied(name)
    live = structure.live(structure.heads)
    assert [path for path in live if isinstance(network.get_submodule(path), nn.Dropout)] == dropout
