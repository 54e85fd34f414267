"""A file whose network nobody names: the network, its classes and its input, whatever its tensors are called."""

import dataclasses
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from tests.worker.ingest import layouts, rearranged
from worker.ingest import alike, recognise
from worker.ingest.adopt import Adopted, adopt
from worker.ingest.recognise import Recognised, Unrecognised
from worker.networks import build, signatures
from worker.runtime.contract import Failure

State = dict[str, Tensor]

NETWORKS = {  # by a short name; of several kinds, each small
    "cifar_resnet": NetworkSpec(name="cifar_resnet", num_classes=10, options={"depth": 20}),
    "cnn3": NetworkSpec(name="cnn3", num_classes=7),
    "resnet": NetworkSpec(name="timm/test_resnet", num_classes=7),
    "vit": NetworkSpec(name="timm/test_vit", num_classes=7),
    "lite0": NetworkSpec(name="timm/efficientnet_lite0", num_classes=7),
    "mobilenet": NetworkSpec(name="torchvision/mobilenet_v3_small", num_classes=7),
}


def usual(spec: NetworkSpec, **changes: object) -> InputSpec:
    input = build.usual_input(spec)
    assert input is not None
    return InputSpec.model_validate(input.model_dump() | changes)


@cache
def state(network: str) -> State:
    spec = NETWORKS[network]
    torch.manual_seed(0)
    input = usual(spec)
    module = build.build(spec, input)
    for norm in (one for one in module.modules() if isinstance(one, nn.BatchNorm2d)):
        norm.momentum = 1.0  # the statistics of one batch, so that the image makes a difference in the end
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    module(torch.randn(4, input.channels, *input.size))
    return {name: tensor.detach() for name, tensor in module.state_dict().items()}


def found(tensors: State, **given: object) -> Recognised:
    return recognise.recognise(tensors, signatures.read(signatures.SHIPPED), **given)


def adopted(tensors: State) -> tuple[Recognised, Adopted]:
    one = found(tensors)
    return one, adopt(one.network, one.input, tensors)


def refusal(tensors: State) -> Failure:
    with pytest.raises(Failure) as failed:
        adopted(tensors)
    return failed.value


def is_the_same(loaded: Adopted, network: str) -> bool:
    """Each weight of the file is where it was in the network that the file was made of."""
    spec = NETWORKS[network]
    input = usual(spec)
    original = build.shell(spec, input)
    original.load_state_dict(state(network), assign=True)
    x = torch.randn(2, input.channels, *input.size)
    with torch.no_grad():
        return torch.equal(original.eval()(x), loaded.loaded.network.eval()(x))


LAYOUTS = {
    "its own names": lambda one: one,
    "sorted": rearranged.sorted_by_name,
    "in wrappers": lambda one: rearranged.under(one, "state_dict.module._orig_mod."),
    "beside an optimizer": lambda one: one | {"optimizer.state.0.exp_avg": torch.ones(3)},
    "without names": rearranged.numbered,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_is_recognised_in_any_layout(network: str, layout: str) -> None:
    one, loaded = adopted(LAYOUTS[layout](state(network)))
    assert one.network == NETWORKS[network]
    assert one.input == usual(NETWORKS[network])
    assert one.rule == ("structure" if layout == "without names" else "names")
    assert ("matched_by_structure" in {note.type for note in loaded.warnings}) is (layout == "without names")
    assert not [name for name in loaded.loaded.report.initialised if not name.endswith("num_batches_tracked")]
    assert is_the_same(loaded, network)


@pytest.mark.parametrize("order", [lambda one: one, rearranged.sorted_by_name], ids=["in order", "sorted"])
def test_names_of_nobody_are_matched_by_structure(order) -> None:
    one, loaded = adopted(order(rearranged.in_words_of_nobody(state("lite0"))))
    assert one.network == NETWORKS["lite0"]
    assert [other.name for other in one.alike] == ["timm/tf_efficientnet_lite0"]
    assert is_the_same(loaded, "lite0")
    renamed = loaded.loaded.report.renamed
    assert {"from": "kernel_stem.weight", "to": "conv_stem.weight", "rule": "structure"} in renamed
    identified = alike.compared(one, loaded.loaded.network, one.input)
    assert identified.candidates[0].ambiguous_with == ["timm/tf_efficientnet_lite0"]  # its padding is another
    notes = [*alike.ambiguity(identified), *one.assumed(input=None, classes=None)]
    texts = {note.type: note.message for note in notes}
    assert "timm/tf_efficientnet_lite0" in texts["network_ambiguous"]
    assert "224×224" in texts["input_assumed"]
    assert "classes_assumed" not in texts  # they are seven


def test_the_conventions_of_the_file_s_library_tell_siblings_apart() -> None:
    """efficientnet_pytorch pads as TensorFlow does, and so does tf_efficientnet_lite0."""
    one, loaded = adopted(rearranged.of_efficientnet_pytorch(state("lite0")))
    assert (one.network.name, one.network.options, one.rule) == ("timm/tf_efficientnet_lite0", {}, "names")
    assert one.alike == []
    own, weights = state("lite0"), loaded.loaded.network.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("layout", ["ViT in a file", "ViT without a head in a file", "DeiT in a file", "ResNet-18"])
def test_a_model_of_transformers_needs_no_network(layout: str) -> None:
    made = layouts.LAYOUTS[layout]
    checkpoint = made.make("cpu")
    one, loaded = adopted(checkpoint.state)
    assert one.network.name in (made.network, made.network.replace("timm", "torchvision"))
    assert one.network.num_classes == (1 if made.headless else layouts.CLASSES)
    assert loaded.untrained_head is made.headless
    if not made.headless:
        images = layouts.photographs(made.side)
        with torch.no_grad():
            network = adopt(one.network, usual(one.network, size=[made.side] * 2), checkpoint.state).loaded.network
            expected = checkpoint.run(images)
            assert torch.allclose(network.eval()(images), expected, atol=1e-4 * float(expected.abs().max()))


def test_networks_that_compute_the_same_are_no_ambiguity() -> None:
    spec = NetworkSpec(name="torchvision/resnet18", num_classes=1000)
    torch.manual_seed(0)
    tensors = dict(build.build(spec, usual(spec)).state_dict())
    one, loaded = adopted(tensors)
    assert one.network == spec
    assert one.imagenet is not None
    assert one.imagenet[0] == "tench"
    best = alike.compared(one, loaded.loaded.network, one.input).candidates[0]
    assert "timm/resnet18" in best.same_as
    assert "timm/resnetblur18" in best.ambiguous_with
    assert found({name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}).imagenet is None


def test_classes_channels_and_size_are_the_file_s() -> None:
    spec = NetworkSpec(name="timm/vit_tiny_patch16_224", num_classes=5)
    input = usual(spec, channels=1, mean=[0.5], std=[0.5], size=[96, 96])
    tensors = dict(build.build(spec, input).state_dict())
    one = found(tensors)
    assert (one.network, one.input.channels, one.input.size) == (spec, 1, (96, 96))
    spec = NetworkSpec(name="cnn3", num_classes=5)
    one = found(dict(build.build(spec, usual(spec, size=[64, 64])).state_dict()))
    assert (one.network, one.input.size) == (spec, (64, 64))


def test_wrappers_of_self_supervised_learning_have_a_backbone_without_a_head() -> None:
    backbone = rearranged.without(state("resnet"), "fc.")
    projector = {"fc.0.weight": torch.ones(8, 8), "fc.2.weight": torch.ones(4, 8)}
    moco = rearranged.under(backbone | projector, "state_dict.module.encoder_q.")
    moco |= rearranged.under(
        {name: t + 1 for name, t in (backbone | projector).items()}, "state_dict.module.encoder_k."
    )
    moco |= {"state_dict.module.queue": torch.ones(4, 16)}
    one, loaded = adopted(moco)
    assert one.network.name == NETWORKS["resnet"].name
    assert loaded.untrained_head
    weights = loaded.loaded.network.state_dict()
    assert torch.equal(weights["conv1.0.weight"], backbone["conv1.0.weight"])  # the query's, not the key's
    assert found(moco, num_classes=3).network.num_classes == 3
    dino = rearranged.under(rearranged.without(state("vit"), "head."), "teacher.backbone.")
    dino |= {f"teacher.head.mlp.{layer}.weight": torch.ones(64, 64) for layer in (0, 2)}
    one, loaded = adopted(dino)
    assert one.network.name == NETWORKS["vit"].name
    assert loaded.untrained_head


def test_a_head_that_stands_beside_the_backbone_tells_the_classes() -> None:
    tensors = {
        f"head.{name}" if name.startswith("fc.") else f"backbone.{name}": t for name, t in state("resnet").items()
    }
    one, loaded = adopted(tensors)
    assert (one.network, one.rule) == (NETWORKS["resnet"], "names")
    assert is_the_same(loaded, "resnet")


# What is no known network is refused, and the nearest is named


def truncated(one: State) -> State:
    return dict(list(one.items())[: len(one) // 2])


def wider(one: State) -> State:
    """Half as wide again, but for the ends."""
    return {
        name: torch.ones([side if side in (1, 3, 7) else side * 3 // 2 for side in t.shape]) for name, t in one.items()
    }


def swapped(one: State) -> State:
    """The first two weights of different shapes have changed places, and no name tells it."""
    tensors = [t for t in one.values() if t.is_floating_point()]
    at = next(i for i in range(2, len(tensors)) if tensors[i].shape != tensors[1].shape)
    tensors[1], tensors[at] = tensors[at], tensors[1]
    return {f"p{number}": tensor for number, tensor in enumerate(tensors)}


@pytest.mark.parametrize("change", [truncated, wider, swapped])
@pytest.mark.parametrize("network", ["resnet", "vit", "lite0"])
def test_what_is_no_known_network_is_refused_and_the_nearest_named(network: str, change) -> None:
    failure = refusal(change(state(network)))
    assert failure.code == "network_needed"
    assert "`network`" in failure.message
    assert isinstance(failure, Unrecognised)
    assert len(failure.candidates) > 1
    if change is not wider:
        stem = NETWORKS[network].name.removeprefix("timm/tf_")
        assert stem in failure.message


def test_a_sibling_is_not_taken_for_its_smaller_brother() -> None:
    deeper = NetworkSpec(name="cifar_resnet", num_classes=10, options={"depth": 32})
    tensors = dict(build.build(deeper, usual(deeper)).state_dict())
    assert found(tensors).network == deeper
    assert found(rearranged.numbered(tensors)).network == deeper
    halfway = rearranged.without(tensors, "layer2.4.")  # a block less in one stage: a depth that there is not
    assert "cifar_resnet" in refusal(rearranged.numbered(halfway)).message


def test_two_networks_in_one_file_are_refused_with_both_names() -> None:
    tensors = rearranged.under(state("resnet"), "teacher.") | rearranged.under(state("cifar_resnet"), "student.")
    failure = refusal(tensors)
    assert failure.code == "ambiguous_weights"
    assert "timm/test_resnet under `teacher`" in failure.message
    assert "cifar_resnet (depth 20) under `student`" in failure.message


def test_what_an_own_mapping_says_holds() -> None:
    tensors = {name.replace("conv1.", "stem."): t for name, t in state("cnn3").items()}
    mapping = {"stem.weight": "conv1.weight", "stem.bias": "conv1.bias"}
    one = found(tensors, mapping=mapping)
    loaded = adopt(one.network, one.input, tensors, mapping=mapping)
    assert one.network == NETWORKS["cnn3"]
    assert is_the_same(loaded, "cnn3")
    assert {"from": "stem.bias", "to": "conv1.bias", "rule": "mapping"} in loaded.loaded.report.renamed
    with pytest.raises(Failure) as failed:
        adopt(one.network, one.input, tensors, mapping={"stern.weight": "conv1.weight"})
    assert failed.value.code == "unknown_tensor"


def test_a_candidate_says_how_much_fits() -> None:
    with pytest.raises(Unrecognised) as failed:
        found(truncated(state("vit")))
    best = failed.value.candidates[0]
    assert best.found is not None
    assert best.wanted is not None
    assert 0 < best.found < best.wanted
    assert 0 < best.fit < 1
    whole = found(state("vit")).candidates[0]
    assert (whole.fit, whole.found, whole.used) == (1.0, whole.wanted, whole.given)


def test_signatures_know_networks_by_what_does_not_change() -> None:
    """The same network for other classes, channels and sizes has the same signature."""
    vit = next(one for one in signatures.read(signatures.SHIPPED) if one.name == "timm/test_vit")
    spec = NETWORKS["vit"]
    dims = [tuple(t.shape) for t in build.build(spec, usual(spec, size=[96, 96])).state_dict().values()]
    assert all(shape.fits(other) for shape, other in zip(vit.shapes, dims, strict=True))
    assert dataclasses.replace(vit, options={"depth": 3}).label == "timm/test_vit (depth 3)"
