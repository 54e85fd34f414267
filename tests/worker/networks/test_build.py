"""Networks by name: what is built, and what is refused."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from tests.worker.networks.families import OWN
from worker.networks import build, from_torchvision
from worker.runtime.contract import Failure


def spec(name: str, classes: int = 10, **options: Any) -> NetworkSpec:
    return NetworkSpec(name=name, num_classes=classes, options=options)


def images(height: int, width: int, channels: int = 3) -> InputSpec:
    return InputSpec(size=(height, width), channels=channels, mean=(0.0,) * channels, std=(1.0,) * channels)


def scores(network: nn.Module, input: InputSpec) -> torch.Tensor:
    with torch.no_grad():
        output: torch.Tensor = network.eval()(torch.randn(2, input.channels, *input.size))
    return output


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("torchvision/resnet18", (32, 32)),
        ("torchvision/mobilenet_v3_small", (32, 40)),
        ("torchvision/densenet121", (32, 32)),
        ("torchvision/squeezenet1_1", (32, 32)),
        ("torchvision/vit_b_16", (32, 32)),
        ("torchvision/swin_t", (32, 32)),
        ("torchvision/googlenet", (64, 64)),
        ("torchvision/inception_v3", (75, 75)),
        ("timm/resnet10t", (32, 32)),
        ("timm/test_vit", (64, 64)),
        ("timm/test_efficientnet", (40, 32)),
        ("timm/convnext_atto", (32, 32)),
        ("cnn3", (28, 35)),
        *((name, usual.size) for name, usual in OWN.items()),
    ],
)
def test_channels_and_size_follow_the_input(name: str, size: tuple[int, int], channels: int) -> None:
    input = images(*size, channels)
    assert scores(build.build(spec(name, 7), input), input).shape == (2, 7)


def test_for_colour_a_network_is_what_torchvision_builds() -> None:
    torch.manual_seed(0)
    ours = build.build(spec("torchvision/resnet18"), images(32, 32)).state_dict()
    torch.manual_seed(0)
    theirs = models.resnet18(num_classes=10).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("name", ["torchvision/resnet18", "timm/test_vit", "torchvision/googlenet", *OWN])
def test_weights_come_from_the_global_generator_alone(name: str) -> None:
    def drawn() -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        return dict(build.build(spec(name), images(64, 64)).state_dict())

    first, second = drawn(), drawn()
    assert all(torch.equal(first[tensor], second[tensor]) for tensor in first)


def test_cnn3_is_the_one_that_was_asked_for() -> None:
    network = build.build(spec("cnn3", 100), images(32, 32))
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items() if name.endswith("weight")}
    assert shapes == {
        "conv1.weight": [32, 3, 3, 3],
        "conv2.weight": [64, 32, 3, 3],
        "conv3.weight": [128, 64, 3, 3],
        "fc1.weight": [1024, 128 * 4 * 4],
        "fc2.weight": [512, 1024],
        "fc3.weight": [100, 512],
    }


def test_cnn3_on_digits() -> None:
    network = build.build(spec("cnn3"), images(28, 28, 1))
    assert list(network.state_dict()["conv1.weight"].shape) == [32, 1, 3, 3]
    assert list(network.state_dict()["fc1.weight"].shape) == [1024, 128 * 3 * 3]


def test_options_of_timm() -> None:
    network = build.build(spec("timm/resnet10t", drop_rate=0.3), images(32, 32))
    assert network.drop_rate == 0.3


def test_an_image_size_of_timm_s_is_that_of_the_input() -> None:
    vit = spec("timm/test_vit", img_size=[64, 32], in_chans=1, drop_path_rate=0.1)
    input = build.usual_input(vit)
    assert input is not None
    assert (input.size, input.channels, input.mean) == ((64, 32), 1, (0.5,))
    network = build.build(vit, input)
    assert network.patch_embed.img_size == (64, 32)
    assert network.patch_embed.proj.in_channels == 1
    rates = [block.drop_path1.drop_prob for block in network.blocks if hasattr(block.drop_path1, "drop_prob")]
    assert max(rates) == pytest.approx(0.1)
    network = build.build(spec("timm/resnet10t", img_size=48), images(48, 48))  # which takes any, and no such keyword
    assert scores(network, images(48, 48)).shape == (2, 10)


@pytest.mark.parametrize(
    ("network", "input", "code", "words"),
    [
        (spec("resnet18"), images(32, 32), "unknown_network", "resnet18"),
        (spec("torchvision/resnet19"), images(32, 32), "unknown_network", "resnet19"),
        (spec("torchvision/fasterrcnn_resnet50_fpn"), images(32, 32), "unknown_network", "fasterrcnn"),
        (spec("torchvision/resnet18", norm="x"), images(32, 32), "does_not_fit", "norm"),
        (spec("torchvision/vit_b_16"), images(32, 48), "does_not_fit", "square"),
        (spec("torchvision/vit_b_16"), images(30, 30), "does_not_fit", "30×30"),
        (spec("timm/resnet10t", drop_rate=2), images(32, 32), "does_not_fit", "drop_rate"),
        (spec("timm/vgg11", drop_path_rate=0.1), images(32, 32), "does_not_fit", "drop_path_rate"),
        (spec("timm/test_vit", img_size=96), images(64, 64), "does_not_fit", "img_size"),
        (spec("timm/resnet10t", in_chans=1), images(64, 64), "does_not_fit", "in_chans"),
        (spec("timm/resnet10t", img_size=0), images(64, 64), "does_not_fit", "img_size"),
        (spec("cnn3"), images(7, 32), "does_not_fit", "7×32"),
        (spec("layers"), images(7, 32), "does_not_fit", "layers"),
    ],
)
def test_what_cannot_be_built_is_explained(network: NetworkSpec, input: InputSpec, code: str, words: str) -> None:
    with pytest.raises(Failure) as failed:
        build.build(network, input)
    assert failed.value.code == code
    assert words in failed.value.message


@pytest.mark.parametrize(
    ("network", "size", "mean"),
    [
        (spec("torchvision/resnet18"), (224, 224), 0.485),
        (spec("torchvision/inception_v3"), (299, 299), 0.5),  # it would map its input itself
        (spec("torchvision/googlenet"), (224, 224), 0.5),
        (spec("torchvision/swin_v2_t"), (256, 256), 0.485),
        (spec("timm/vit_tiny_patch16_224"), (224, 224), 0.5),
        (spec("timm/resnet10t"), (176, 176), 0.485),
        (spec("cnn3"), (32, 32), 0.5),
        (spec("layers", input=[3, 20, 30], layers=[{"type": "Flatten"}]), (20, 30), 0.0),
    ],
)
def test_the_usual_input(network: NetworkSpec, size: tuple[int, int], mean: float) -> None:
    input = build.usual_input(network)
    assert input is not None
    assert (input.size, input.channels, input.mean[0]) == (size, 3, mean)


def test_layers_without_an_input_have_no_usual_one() -> None:
    assert build.usual_input(spec("layers", layers=[{"type": "Flatten"}])) is None


@pytest.mark.parametrize("name", [n for n in from_torchvision.names() if n.endswith(("_v2_s", "18", "11", "_t", "v3"))])
def test_a_shell_has_all_names_and_shapes_and_no_memory(name: str) -> None:
    network, input = spec(f"torchvision/{name}"), build.usual_input(spec(f"torchvision/{name}"))
    assert input is not None
    shell = build.shell(network, input)
    assert all(tensor.is_meta for tensor in shell.state_dict().values())
    whole = build.build(network, input).state_dict()
    assert {n: t.shape for n, t in shell.state_dict().items()} == {n: t.shape for n, t in whole.items()}


@pytest.mark.parametrize(
    "name", ["timm/swin_tiny_patch4_window7_224", "timm/eva02_tiny_patch14_224", "timm/beit_base_patch16_224"]
)
@pytest.mark.slow
def test_what_is_beside_the_weights_is_never_lost(name: str) -> None:
    """Buffers that are not saved must not stay on the meta device."""
    input = build.usual_input(spec(name))
    assert input is not None
    torch.manual_seed(0)
    whole = build.build(spec(name), input)
    shell = build.shell(spec(name), input)
    shell.load_state_dict(whole.state_dict(), assign=True)
    x = torch.randn(1, 3, *input.size)
    with torch.no_grad():
        assert torch.equal(shell.eval()(x), whole.eval()(x))


PLUGIN = '''
"""A package that brings a network."""
from torch import nn

def tiny(num_classes, input, width=4):
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(nn.Conv2d(input.channels, width, 1), pool, nn.Flatten(), nn.Linear(width, num_classes))
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with an entry point, as pip installs it."""
    (tmp_path / "acme_networks.py").write_text(PLUGIN)
    info = tmp_path / "acme_networks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-networks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[regraft.networks]\nacme/tiny = acme_networks:tiny\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "acme_networks", raising=False)


@pytest.mark.usefixtures("plugin")
def test_a_plugin_is_built_with_its_options() -> None:
    network = build.build(spec("acme/tiny", 5, width=6), images(16, 16, 1))
    assert network[0].weight.shape == (6, 1, 1, 1)
    assert scores(network, images(16, 16, 1)).shape == (2, 5)
    assert build.usual_input(spec("acme/tiny")) is None
    with pytest.raises(Failure) as failed:
        build.build(spec("acme/tiny", 5, depth=6), images(16, 16))
    assert failed.value.code == "does_not_fit"
