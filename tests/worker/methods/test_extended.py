"""`adaptformer` and `vpt` against their equations, block by block, on the networks of both libraries."""

from copy import deepcopy

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from app.contract.extended import AdapterParts, PromptParts
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.networks import build, extended
from worker.runtime.contract import Failure

ADAPTERS = AdapterParts(dimensions=6, scale=0.5)
TRAINED = {"epochs": 3, "batch_size": 8, "learning_rate": 0.01, "weight_decay": 0.5}
SIZES = {"timm/test_vit": 64, "timm/deit_tiny_distilled_patch16_224": 224, "torchvision/vit_b_16": 224}


def made(name, size=None, **options):
    torch.manual_seed(0)
    size = size or SIZES[name]
    input = InputSpec(size=(size, size), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    network = build.build(NetworkSpec(name=name, num_classes=5, options=options), input).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return network, torch.randn(2, 3, size, size)


def filled(network, paths):
    """What is new has numbers of its own, as a training leaves it."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for path in paths:
            for parameter in network.get_submodule(path).parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


def blocks(network):
    return list(network.blocks if hasattr(network, "blocks") else network.encoder.layers)


def by_hand(network, forward):
    """The network with `forward(number, block, x)` in the place of each block."""
    for number, block in enumerate(blocks(network)):
        block.forward = lambda x, number=number, block=block, **_: forward(number, block, x)
    return network


def attended(block, x):
    """x + attention, and what the MLP is given of that."""
    if hasattr(block, "self_attention"):
        normed = block.ln_1(x)
        x = x + block.self_attention(normed, normed, normed, need_weights=False)[0]
        return x, block.ln_2(x)
    x = x + block.ls1(block.attn(block.norm1(x)))
    return x, block.norm2(x)


@pytest.mark.parametrize("name", ["timm/test_vit", "torchvision/vit_b_16"])
def test_an_adapter_is_beside_the_mlp(name):
    """Chen et al. 2022, eq. 4 and 5: x + MLP(LN(x)) + s·ReLU(LN(x)·W_down)·W_up."""
    network, x_BCHW = made(name)
    reference, _ = made(name)
    with torch.no_grad():
        plain = network(x_BCHW)
        paths = extended.insert(network, ADAPTERS)
        assert len(paths) == len(blocks(network))
        assert torch.equal(network(x_BCHW), plain)  # W_up is zero at first
        filled(network, paths)
        adapters = [network.get_submodule(path) for path in paths]

        def forward(number, block, x):
            adapter = adapters[number]
            x, normed = attended(block, x)
            low = torch.relu(normed @ adapter.down.weight.T + adapter.down.bias)
            return x + block.mlp(normed) + 0.5 * (low @ adapter.up.weight.T + adapter.up.bias)

        expected = by_hand(reference, forward)(x_BCHW)
        assert (expected - plain).abs().max() > 0.1 * plain.abs().max()
        torch.testing.assert_close(network(x_BCHW), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("deep", [True, False])
def test_prompts_are_tokens_among_the_others(name, deep):
    """Jia et al. 2022, eq. 4 to 7, where they stand behind the class token: that they stand elsewhere here is the
    same."""
    network, x_BCHW = made(name)
    reference, _ = made(name)
    with torch.no_grad():
        plain = network(x_BCHW)
        paths = extended.insert(network, PromptParts(tokens=3, deep=deep))
        assert len(paths) == (len(blocks(network)) if deep else 1)
        filled(network, paths)
        tokens = [network.get_submodule(path).token_PD.expand(2, -1, -1) for path in paths]
        originals = [type(block).forward.__get__(block) for block in blocks(reference)]
        last = len(originals) - 1

        def forward(number, block, x):
            if deep:
                x = torch.cat([x[:, :1], tokens[number], x[:, 1:]], dim=1)
            elif number == 0:
                x = torch.cat([x[:, :1], tokens[0], x[:, 1:]], dim=1)
            x = originals[number](x)
            return torch.cat([x[:, :1], x[:, 4:]], dim=1) if deep or number == last else x

        expected = by_hand(reference, forward)(x_BCHW)
        assert (expected - plain).abs().max() > 0.01 * plain.abs().max()
        torch.testing.assert_close(network(x_BCHW), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("parts", [ADAPTERS, PromptParts(tokens=2, deep=True)], ids=["adapters", "prompts"])
def test_a_copy_has_parts_of_its_own(parts):
    network, x_BCHW = made("timm/test_vit")
    paths = extended.insert(network, parts)
    copy = deepcopy(network)
    with torch.no_grad():
        before = network(x_BCHW)
        filled(copy, paths)
        assert torch.equal(network(x_BCHW), before)
        assert (copy(x_BCHW) - before).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("method", "kind"),
    [({"name": "adaptformer", "dimensions": 4}, "adapter"), ({"name": "vpt", "tokens": 2}, "prompt")],
    ids=["adapters", "prompts"],
)
def test_the_parts_and_the_head_learn_and_nothing_else(tmp_path, method, kind):
    source = tasks.source(tmp_path / "source", of=tasks.transformer)
    outcome = tasks.run(Setting(method | TRAINED, source, tasks.dataset(tmp_path / "target", 10)), tmp_path / "run")
    before, document = load_file(source[1]), outcome.document
    new = outcome.weights.keys() - before.keys()
    assert new
    assert all(f".{kind}." in name for name in new)
    changed = {name for name in before if not torch.equal(outcome.weights[name], before[name])}
    assert changed == {"head.weight", "head.bias"}
    assert document["network"]["name"] == "extended"
    assert document["network"]["options"]["base"]["name"] == "timm/test_vit"
    assert new <= set(document["transfer"]["tensors"]["initialised"])
    rebuilt = build.build(NetworkSpec.model_validate(document["network"]), InputSpec.model_validate(document["input"]))
    assert rebuilt.state_dict().keys() == outcome.weights.keys()


def test_forgetting_is_measured_with_the_parts(tmp_path):
    """On other classes: the source's head on what the adapted network makes of the source's own images."""
    source = tasks.source(tmp_path / "source", of=tasks.transformer)
    target = tasks.dataset(tmp_path / "target", 4, prefix="class ")
    own = tasks.dataset(tmp_path / "own", 10, seed=5)
    method = {"name": "adaptformer", "dimensions": 16, "scale": 10.0} | TRAINED | {"learning_rate": 0.1}
    outcome = tasks.run(Setting(method, source, target, own), tmp_path / "run")
    measured = outcome.document["evaluation"]["source"]
    assert measured["head"] == "source"
    assert measured["nll"] != measured["before"]["nll"]  # the source's own tensors are as they were
    network = deepcopy(outcome.measured.adapted.classifier.module).eval()
    head, before = nn.Linear(64, 10), load_file(source[1])
    head.load_state_dict({name: before[f"head.{name}"] for name in ("weight", "bias")})
    network.head = head
    from app.imaging.packed import PackedImages

    packed = PackedImages.open(own.pixels, own.index)
    rows = packed.rows("test")
    pixels = torch.from_numpy(packed.fitted(rows, InputSpec.model_validate(tasks.TRANSFORMED)))
    with torch.no_grad():
        logits = network((pixels.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25)
    nll = nn.functional.cross_entropy(logits, torch.from_numpy(packed.label[rows]).long())
    assert measured["nll"] == pytest.approx(float(nll), rel=1e-3)


@pytest.mark.parametrize(
    "name", ["timm/swin_tiny_patch4_window7_224", "timm/beit_base_patch16_224", "torchvision/resnet18"]
)
def test_other_networks_are_refused(name):
    network, _ = made(name, 224)
    with pytest.raises(Failure, match="is no plain vision transformer") as refused:
        extended.insert(network, ADAPTERS)
    assert refused.value.code == "does_not_fit"


def test_parts_are_put_in_once(tmp_path):
    network, _ = made("timm/test_vit")
    extended.insert(network, ADAPTERS)
    extended.insert(network, PromptParts(tokens=1, deep=False))
    with pytest.raises(Failure, match="has adapters already"):
        extended.insert(network, ADAPTERS)
