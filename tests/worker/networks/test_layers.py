"""Networks described as data: what PyTorch would make of them, and every fault named by its path."""

import inspect
import json
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from app.contract import layers
from app.contract.inputs import InputSpec
from app.contract.layer_types import Leaf
from app.contract.layers import Joining, Unbuildable
from app.contract.networks import NetworkSpec
from regraft.demo import plan
from worker.networks import layers as builder

FLAT = {"type": "Flatten"}
HEAD = {"type": "Linear", "out_features": 10}
GREY = InputSpec(size=(28, 28), channels=1, mean=(0.0,), std=(1.0,))


def described(*children: dict[str, Any], input: list[int] | None = None, classes: int = 10) -> NetworkSpec:
    options: dict[str, Any] = {"layers": list(children)} | ({"input": input} if input else {})
    return NetworkSpec(name="layers", num_classes=classes, options=options)


def built(spec: NetworkSpec, input: InputSpec = GREY) -> nn.Module:
    torch.manual_seed(0)
    return builder.build(spec, input)


def fault(spec: NetworkSpec, input: InputSpec | None = GREY) -> layers.LayerFault:
    with pytest.raises(Unbuildable) as unbuildable:
        layers.check(spec, input)
    return unbuildable.value.faults[0]


def test_the_demo_s_network_is_what_a_plain_script_would_build():
    spec = NetworkSpec.model_validate(plan.NETWORK)
    input = InputSpec.model_validate(plan.INPUT)
    network = built(spec, input)
    torch.manual_seed(0)
    features = nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU(), nn.MaxPool2d(2)),
    )
    classifier = nn.Sequential(nn.Linear(128 * 2 * 2, 128), nn.ReLU(), nn.Linear(128, 10))
    plain = {f"features.{name}": tensor for name, tensor in features.state_dict().items()}
    plain |= {f"classifier.{name}": tensor for name, tensor in classifier.state_dict().items()}
    assert list(network.state_dict()) == list(plain)
    assert all(torch.equal(tensor, plain[name]) for name, tensor in network.state_dict().items())
    resolved = layers.resolve(spec, input)
    assert resolved.parameters == sum(parameter.numel() for parameter in network.parameters())


LAYERS: list[dict[str, Any]] = [
    {"type": "Conv2d", "out_channels": 6, "kernel_size": [3, 5], "stride": [2, 1], "padding": [1, 2], "bias": False},
    {"type": "Conv2d", "out_channels": 6, "kernel_size": 4, "padding": "same", "dilation": 2, "groups": 3},
    {"type": "Conv2d", "out_channels": 6, "kernel_size": 3, "padding": 2, "padding_mode": "reflect"},
    {"type": "Conv2d", "out_channels": 6, "kernel_size": 3, "padding": 7, "padding_mode": "circular"},
    {"type": "ConvTranspose2d", "out_channels": 6, "kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
    {"type": "BatchNorm2d", "eps": 1e-3, "momentum": None, "affine": False},
    {"type": "InstanceNorm2d", "affine": True, "track_running_stats": True},
    {"type": "GroupNorm", "num_groups": 3},
    {"type": "LayerNorm", "bias": False},
    {"type": "LayerNorm", "normalized_shape": 7},
    {"type": "LayerNorm", "normalized_shape": [8, 7]},
    *({"type": kind, "inplace": True} for kind in ("ReLU", "ReLU6", "SELU", "SiLU", "Mish", "Hardswish")),
    *({"type": kind} for kind in ("Hardsigmoid", "Tanh", "Sigmoid", "Identity", "Softplus", "CELU", "PReLU")),
    {"type": "LeakyReLU", "negative_slope": 0.2},
    {"type": "ELU", "alpha": 0.5},
    {"type": "GELU", "approximate": "tanh"},
    {"type": "PReLU", "num_parameters": 6},
    {"type": "MaxPool2d", "kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2, "ceil_mode": True},
    {"type": "AvgPool2d", "kernel_size": [2, 3], "ceil_mode": True, "count_include_pad": False},
    {"type": "AdaptiveAvgPool2d", "output_size": 1},
    {"type": "AdaptiveMaxPool2d", "output_size": [3, None]},
    {"type": "Dropout", "p": 0.1},
    {"type": "Dropout2d"},
    {"type": "PadChannels", "before": 2, "after": 3},
    {"type": "Subsample", "stride": [3, 2]},
    {"type": "Residual", "layers": [{"type": "Conv2d", "out_channels": 6, "kernel_size": 1}]},
    {"type": "Product", "layers": [{"type": "Tanh"}]},
    {"type": "Product", "layers": [{"type": "GlobalAvgPool2d"}, {"type": "Linear", "out_features": 6}]},
    {"type": "Concatenation", "layers": [{"type": "Conv2d", "out_channels": 2, "kernel_size": 1}, {"type": "ReLU"}]},
    {"type": "Concatenation", "layers": [{"type": "GlobalMaxPool2d"}], "shortcut": [{"type": "GlobalAvgPool2d"}]},
    {
        "type": "Residual",
        "layers": [{"type": "ReLU", "inplace": True}, {"type": "Conv2d", "out_channels": 9, "kernel_size": 1}],
        "shortcut": [{"type": "Conv2d", "out_channels": 9, "kernel_size": 1}, {"type": "BatchNorm2d"}],
    },
]


@pytest.mark.parametrize("layer", LAYERS, ids=json.dumps)
def test_every_layer_comes_out_as_foretold(layer: dict[str, Any]):
    """Shape, number of parameters and names, without having run it."""
    stem = {"type": "Conv2d", "out_channels": 6, "kernel_size": 1}
    input = InputSpec(size=(8, 7), channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
    spec = described(stem, layer, FLAT, HEAD)
    resolved, network = layers.resolve(spec, input), built(spec, input)
    assert network.eval()(torch.zeros(2, 3, 8, 7)).shape == (2, 10)
    assert resolved.parameters == sum(parameter.numel() for parameter in network.parameters())


def test_the_list_is_closed_and_complete():
    listed = {kind for model in get_args(Leaf) for kind in get_args(model.model_fields["type"].annotation)}
    joining = {kind for model in get_args(Joining) for kind in get_args(model.model_fields["type"].annotation)}
    tried = {str(layer["type"]) for layer in [*LAYERS, FLAT, HEAD]} | {"BatchNorm1d"}
    assert listed | joining == tried | {"GlobalAvgPool2d", "GlobalMaxPool2d"}


@pytest.mark.parametrize("model", get_args(Leaf), ids=lambda model: model.__name__)
def test_keywords_are_those_of_torch(model: Any):
    for kind in get_args(model.model_fields["type"].annotation):
        theirs = inspect.signature(builder.OWN.get(kind) or getattr(nn, kind)).parameters
        for name, field in model.model_fields.items():
            if name not in ("name", "type"):
                assert name in theirs, (kind, name)
                if kind not in builder.OWN and not field.is_required() and field.default is not None:
                    assert field.default == theirs[name].default, (kind, name)


sizes = st.integers(1, 6)
pairs = st.one_of(sizes, st.tuples(sizes, sizes).map(list))
zeros = st.integers(0, 4)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["Conv2d", "ConvTranspose2d", "MaxPool2d", "AvgPool2d"]),
    side=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    keywords=st.fixed_dictionaries(
        {"kernel_size": pairs, "stride": pairs, "padding": zeros},
        optional={"dilation": sizes, "ceil_mode": st.booleans(), "output_padding": zeros},
    ),
)
def test_windows_slide_as_pytorch_s(kind: str, side: tuple[int, int], keywords: dict[str, Any]):
    theirs = inspect.signature(builder.OWN.get(kind) or getattr(nn, kind)).parameters
    keywords = {name: value for name, value in keywords.items() if name in theirs}
    layer = {"type": kind, **keywords} | ({"out_channels": 2} if kind.startswith("Conv") else {})
    input = InputSpec(size=side, channels=1, mean=(0.0,), std=(1.0,))
    module = getattr(nn, kind)(
        *((1, 2) if kind.startswith("Conv") else ()),
        **{name: tuple(value) if isinstance(value, list) else value for name, value in keywords.items()},
    )
    try:
        expected = list(module(torch.zeros(1, 1, *side)).shape[1:])
    except RuntimeError:
        expected = None
    spec = described(layer, FLAT, HEAD)
    if expected is None or 0 in expected:
        assert fault(spec, input).param == "layers.0"
    else:
        [first, *_] = layers.resolve(spec, input).layers
        assert list(first.filled((1, *side)).output((1, *side))) == expected


def one(kind: str, **keywords: Any) -> dict[str, Any]:
    return {"type": kind, **keywords}


def before(*children: dict[str, Any]) -> NetworkSpec:
    return described(*children, FLAT, HEAD)


def behind(*children: dict[str, Any]) -> NetworkSpec:
    return described(FLAT, HEAD, *children)


CONV = one("Conv2d", out_channels=4, kernel_size=1)
WIDE = one("Linear", out_features=30_000)
HALF = one("MaxPool2d", kernel_size=2)
MANY = {"layers": [one("ReLU")] * 600}

FAULTS: list[tuple[NetworkSpec, str, str]] = [
    (before(one("Conv3d", out_channels=3, kernel_size=1)), "layers.0", "Conv3d"),
    (before({"out_channels": 3}), "layers.0", "type"),
    (before(one("Conv2d", kernel_size=1)), "layers.0.out_channels", "required"),
    (before({**CONV, "out_channels": 0}), "layers.0.out_channels", "1"),
    (before(one("ReLU", code="x")), "layers.0.code", "not permitted"),
    (before(one("ReLU", name="a.b")), "layers.0.name", "pattern"),
    (before(one("ReLU", name="forward")), "layers.0", "forward"),
    (before(one("ReLU", name="1")), "layers.1", "another child"),
    (before({"layers": []}), "layers.0.layers", "at least 1"),
    (before(one("BatchNorm2d", num_features=3)), "layers.0", "num_features is 3"),
    (before(one("BatchNorm2d", track_running_stats=False)), "layers.0.track_running_stats", "True"),
    (before(one("BatchNorm1d")), "layers.0", "Flatten"),
    (described(HEAD), "layers.0", "Flatten"),
    (described(FLAT, HALF, HEAD), "layers.1", "[C,H,W]"),
    (described(FLAT, {**HEAD, "in_features": 100}), "layers.1", "in_features is 100"),
    (described(FLAT, {**HEAD, "out_features": 7}), "layers.1", "[10]"),
    (behind(one("BatchNorm1d")), "layers.2", "Linear or Conv2d"),
    (behind(one("Residual", layers=[HEAD])), "layers.2.layers.0", "residual"),
    (described({**CONV, "out_channels": 10}), "layers.0", "[10, 28, 28]"),
    (described(FLAT, one("ReLU")), "layers", "weights"),
    (before({**CONV, "groups": 2}), "layers.0", "groups"),
    (before({**CONV, "padding": "same", "stride": 2}), "layers.0", "stride 1"),
    (before({**CONV, "padding": 28, "padding_mode": "reflect"}), "layers.0", "reflect"),
    (before({**HALF, "padding": 2}), "layers.0", "half"),
    (before({**HALF, "kernel_size": 30}), "layers.0", "nothing is left"),
    (before({"layers": [{"layers": [{**HALF, "kernel_size": 99}]}]}), "layers.0.layers.0.layers.0", "0.0.0"),
    (before(one("AdaptiveAvgPool2d", output_size=1), one("InstanceNorm2d")), "layers.1", "single pixel"),
    (before(one("LayerNorm", normalized_shape=27)), "layers.0", "normalized_shape is [27]"),
    (before(one("GroupNorm", num_groups=2)), "layers.0", "2 groups"),
    (before(one("Residual", layers=[HALF])), "layers.0", "[1, 14, 14]"),
    (before(one("Residual", layers=[CONV], shortcut=[HALF])), "layers.0", "cannot be added"),
    (before(one("Residual", layers=[CONV], shortcut=[WIDE])), "layers.0.shortcut.0", "0.shortcut.0"),
    (before(one("Product", layers=[CONV])), "layers.0", "one number a channel"),
    (before(one("Concatenation", layers=[HALF])), "layers.0", "concatenated"),
    (behind(one("Concatenation", layers=[HEAD])), "layers.2.layers.0", "Linear or Conv2d"),
    (described(FLAT, one("Subsample"), HEAD), "layers.1", "[C,H,W]"),
    (described(FLAT, one("PadChannels", after=1), HEAD), "layers.1", "[C,H,W]"),
    (described(FLAT, HEAD, input=[1, 8, 8]), "input", "[1, 28, 28]"),
    (described(FLAT, HEAD, input=[2, 28, 28]), "input.0", "1 or 3"),
    (before(one("AdaptiveAvgPool2d", output_size=1024), {**CONV, "out_channels": 65}), "layers.1", "67,108,864"),
    (described(FLAT, WIDE, WIDE, HEAD), "layers", "500,000,000"),
    (before(MANY, MANY), "layers", "1000"),
]


@pytest.mark.parametrize(("spec", "param", "words"), FAULTS, ids=[f"{param} {words}" for _, param, words in FAULTS])
def test_a_fault_is_led_to_and_explained(spec: NetworkSpec, param: str, words: str):
    found = fault(spec)
    assert found.param == param
    assert words in found.detail


def test_all_faults_of_the_form_are_told_at_once():
    with pytest.raises(Unbuildable) as unbuildable:
        layers.check(described({"type": "Linear"}, {"type": "Dropout", "p": 2}), None)
    assert [found.param for found in unbuildable.value.faults] == ["layers.0.out_features", "layers.1.p"]


def test_before_the_input_is_known_the_form_alone_is_judged():
    layers.check(described(HEAD), None)
    assert fault(described(HEAD, input=[1, 28, 28]), None).param == "layers.0"
    assert fault(described(FLAT), None).detail == "layers: none of them has weights"


def test_children_are_named_or_numbered_as_in_sequential():
    conv = {"type": "Conv2d", "out_channels": 1, "kernel_size": 1}
    block = {
        "name": "block",
        "type": "Residual",
        "layers": [{"name": "conv1", **conv}, {"type": "BatchNorm2d"}],
        "shortcut": [conv],
    }
    spec = described({"name": "stem", "layers": [conv, {"layers": [conv]}]}, block, FLAT, HEAD)
    assert [name for name, _ in built(spec).named_parameters()] == [
        *("stem.0.weight", "stem.0.bias", "stem.1.0.weight", "stem.1.0.bias"),
        *("block.conv1.weight", "block.conv1.bias", "block.1.weight", "block.1.bias"),
        *("block.shortcut.0.weight", "block.shortcut.0.bias", "3.weight", "3.bias"),
    ]


def test_a_residual_block_adds():
    conv = {"type": "Conv2d", "out_channels": 1, "kernel_size": 1}
    spec = described({"type": "Residual", "layers": [{"type": "ReLU", "inplace": True}, conv]}, FLAT, HEAD)
    block = built(spec)[0]
    x = torch.randn(2, 1, 28, 28)
    kept = x.clone()
    expected = kept + block.get_submodule("1")(kept.relu())
    assert torch.equal(block(x), expected)
    assert torch.equal(x, kept)  # `inplace` must not change what the shortcut has yet to read


def test_names_that_pytorch_needs_are_reserved():
    names = {name for name in dir(nn.Sequential()) if not name.startswith("_")}
    added = {name for name in names if not _module(getattr(nn.Sequential, name, None)).startswith("torch")}
    assert names - added <= layers.RESERVED


def _module(attribute):
    """Where it is from: transformers, once it is imported, adds a method to all modules."""
    return getattr(attribute, "__module__", None) or "torch"


def test_another_number_of_classes_changes_the_head_alone():
    spec = NetworkSpec.model_validate(plan.NETWORK)
    wider = layers.with_classes(spec, 100)
    assert wider.num_classes == 100
    assert wider.options["layers"][2]["layers"][2] == {"type": "Linear", "out_features": 100}
    assert spec == NetworkSpec.model_validate(plan.NETWORK)  # untouched
    assert layers.with_classes(wider, 10) == spec
    assert built(wider, InputSpec.model_validate(plan.INPUT))(torch.zeros(2, 1, 16, 16)).shape == (2, 100)


def test_a_convolutional_head_changes_too():
    pool = {"type": "AdaptiveAvgPool2d", "output_size": 1}
    spec = described({"type": "Conv2d", "out_channels": 10, "kernel_size": 1}, pool, FLAT)
    assert built(layers.with_classes(spec, 4))(torch.zeros(2, 1, 28, 28)).shape == (2, 4)


def test_other_networks_just_have_another_number():
    spec = NetworkSpec(name="timm/resnet18", num_classes=10, options={"drop_rate": 0.1})
    assert layers.with_classes(spec, 3) == NetworkSpec(name="timm/resnet18", num_classes=3, options=spec.options)


def test_the_schema_tells_all_types():
    schema = json.dumps(layers.LayersOptions.model_json_schema())
    assert all(f'"{kind}"' in schema for kind in layers.TYPES)
