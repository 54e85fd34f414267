"""Checkpoints in other libraries' layouts compute what they computed there, or are refused."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from tests.weights_files import prefixed
from tests.worker.ingest import layouts
from tests.worker.ingest.layouts import Layout, State, photographs
from tests.worker.ingest.renamed_layouts import RENAMED
from worker.ingest.adopt import Adopted, adopt
from worker.ingest.dialects import translate
from worker.networks import build
from worker.runtime.contract import Failure

TOLERANCE = 1e-4
LAYOUTS = layouts.LAYOUTS | RENAMED
LIGHT = [name for name, layout in LAYOUTS.items() if not layout.heavy]
HEAVY = [name for name, layout in LAYOUTS.items() if layout.heavy]
OTHER = ("in a file", "at another size")  # whose names, or whose shapes, are not those that are looked for
MANY = [name for name in HEAVY if name not in RENAMED and not any(other in name for other in OTHER)]


def spec(layout: Layout) -> tuple[NetworkSpec, InputSpec]:
    input = InputSpec(size=(layout.side, layout.side), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    return NetworkSpec(name=layout.network, num_classes=layout.classes, options=layout.options), input


def taken(layout: Layout, state: State) -> Adopted:
    return adopt(*spec(layout), state)


def answer(layout: Layout, adopted: Adopted, images: Tensor) -> Tensor:
    network = adopted.loaded.network.eval()
    with torch.no_grad():
        if layout.headless:
            return network.forward_head(network.forward_features(images), pre_logits=True)
        return network(images)


@pytest.mark.parametrize("name", [*LIGHT, *(pytest.param(name, marks=pytest.mark.matrix) for name in HEAVY)])
def test_a_network_computes_what_its_own_library_s_did(name: str) -> None:
    layout = LAYOUTS[name]
    checkpoint = layout.make("cpu")
    images = photographs(layout.side)
    with torch.no_grad():
        expected = checkpoint.run(images)
    adopted = taken(layout, checkpoint.state)
    torch.testing.assert_close(answer(layout, adopted, images), expected, rtol=0, atol=TOLERANCE)
    assert expected.std() > 0.01  # a network that is dead agrees with any
    assert not torch.allclose(expected[0], expected[1], atol=10 * TOLERANCE)
    assert adopted.untrained_head is layout.headless
    report = adopted.loaded.report
    told = {entry["from"] for entry in report.renamed} | {*report.copied} | {entry["name"] for entry in report.skipped}
    assert told >= checkpoint.state.keys() - {entry["name"] for entry in report.reshaped}
    if any(entry["name"].endswith("relative_position_bias_table") for entry in report.reshaped):
        assert "positions_resampled" in {note.type for note in adopted.warnings}
    if report.renamed:
        assert {"names_translated", "head_renamed"} & {note.type for note in adopted.warnings}


@pytest.mark.parametrize("name", MANY)
def test_all_names_and_shapes_of_a_large_network_are_found(name: str) -> None:
    """Without any weights: the numbers are compared by `make conformance`."""
    layout = LAYOUTS[name]
    network, input = spec(layout)
    with torch.device("meta"):
        shell = build.build(network, input)
    places = {
        name: tensor
        for name, tensor in shell.state_dict().items()
        if tensor.is_floating_point() and not (layout.headless and name.startswith("head."))
    }
    found = translate.fitting(layout.make("meta").state, places).tensors
    assert found.keys() >= places.keys()
    for name, tensor in places.items():
        assert [side for side in found[name].shape if side != 1] == [side for side in tensor.shape if side != 1], name
    extra = [name for name in found.keys() - shell.state_dict().keys() if found[name].is_floating_point()]
    assert not [name for name in extra if not name.endswith("relative_coords_table")]


Wrap = Callable[[State, State], State]
WRAPPERS: dict[str, Wrap] = {  # what else is trained beside a network, and what its weights go by then
    "distributed": lambda right, other: prefixed(right, "module."),
    "distributed and compiled": lambda right, other: prefixed(right, "module._orig_mod."),
    "Lightning": lambda right, other: prefixed(right, "state_dict.model.net."),
    "timm's training": lambda right, other: prefixed(other, "state_dict.") | prefixed(right, "state_dict_ema."),
    "MoCo": lambda right, other: (
        prefixed(right, "state_dict.module.encoder_q.")
        | prefixed(other, "state_dict.module.encoder_k.")
        | {"state_dict.module.queue": torch.ones(8, 16)}
    ),
    "MoCo v3": lambda right, other: (
        prefixed(right, "module.base_encoder.") | prefixed(other, "module.momentum_encoder.")
    ),
    "DINO": lambda right, other: prefixed(other, "student.module.backbone.") | prefixed(right, "teacher.backbone."),
    "BYOL": lambda right, other: prefixed(right, "online_encoder.net.") | prefixed(other, "target_encoder.net."),
}
WRAPPED = ["ViT in a file", "RegNetY of torchvision", "EfficientNet of efficientnet_pytorch", "ConvNeXt of its authors"]


@pytest.mark.parametrize("name", [WRAPPED[0], *(pytest.param(name, marks=pytest.mark.matrix) for name in WRAPPED[1:])])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_layout_within_a_wrapper_is_read(name: str, wrapper: str) -> None:
    layout = LAYOUTS[name]
    checkpoint = layout.make("cpu")
    others = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in checkpoint.state.items()}
    adopted = taken(layout, WRAPPERS[wrapper](checkpoint.state, others))
    images = photographs(layout.side)
    with torch.no_grad():
        expected = checkpoint.run(images)
    torch.testing.assert_close(answer(layout, adopted, images), expected, rtol=0, atol=TOLERANCE)


def changed(state: State, **changes: Tensor | None) -> State:
    return {name: tensor for name, tensor in (state | changes).items() if tensor is not None}


def refused(network: str, state: State, side: int = 64) -> str:
    with pytest.raises(Failure) as failed:
        taken(Layout(LAYOUTS["ViT"].make, network, side), state)
    assert failed.value.code in ("weights_do_not_fit", "foreign_names")
    return failed.value.message


SIBLINGS = {  # another network of the same family, whose names are much the same
    "a deeper ViT": ("ViT", "timm/vit_tiny_patch16_224"),
    "a wider ConvNeXt": ("ConvNeXt", "timm/convnext_femto"),
    "ConvNeXt V1 for V2": ("ConvNeXt", "timm/convnextv2_atto"),
    "ConvNeXt V2 for V1": ("ConvNeXt V2", "timm/convnext_atto"),
    "RegNetX for RegNetY": ("RegNetX", "timm/regnety_002"),
    "RegNetY for RegNetX": ("RegNetY", "timm/regnetx_002"),
    "another RegNetX": ("RegNetX of torchvision", "timm/regnetx_004"),
    "another EfficientNet": ("EfficientNet", "timm/tf_efficientnet_b1"),
    "another width of MobileNetV2": ("MobileNetV2 of half the width", "timm/mobilenetv2_100"),
    "a large MobileNetV3 for a small one": ("MobileNetV3 of torchvision", "timm/mobilenetv3_small_100"),
    "paddings that torchvision has not": ("EfficientNet", "torchvision/efficientnet_b0"),
    "MobileNetV2's as well": ("MobileNetV2", "torchvision/mobilenet_v2"),
}


@pytest.mark.parametrize("kind", SIBLINGS)
def test_a_sibling_s_weights_are_refused_with_the_layout_s_name(kind: str) -> None:
    name, network = SIBLINGS[kind]
    message = refused(network, LAYOUTS[name].make("cpu").state)
    assert "torchvision" in message or "transformers" in message


SPOILT = ["ViT in a file", "ConvNeXt", "EfficientNet"]


@pytest.mark.parametrize("name", SPOILT)
def test_a_file_that_lacks_a_tensor_is_refused(name: str) -> None:
    layout = LAYOUTS[name]
    state = layout.make("cpu").state
    body = [name for name, tensor in state.items() if tensor.ndim > 1 and not name.startswith("classifier")]
    assert "Missing are" in refused(layout.network, changed(state, **{body[len(body) // 2]: None}))
    assert "Missing are" in refused(layout.network, dict(list(state.items())[: len(state) // 2]))


@pytest.mark.parametrize("name", SPOILT)
def test_layers_that_changed_places_are_refused_where_shapes_tell(name: str) -> None:
    layout = LAYOUTS[name]
    state = layout.make("cpu").state
    first = next(name for name, tensor in state.items() if tensor.ndim > 1)
    other = next(name for name, tensor in state.items() if tensor.ndim > 1 and tensor.numel() != state[first].numel())
    assert "shape" in refused(layout.network, changed(state, **{first: state[other], other: state[first]}))
