"""Weights into networks: every tensor accounted for, whatever wrapped it."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator
from torch import Tensor, nn

from app.contract.inputs import InputSpec
from app.contract.layers import with_classes
from app.contract.networks import NetworkSpec
from tests.weights_files import INPUT, NAMES, NETWORK, State, module, prefixed, state
from worker.networks import build, load, positions
from worker.networks.load import Report
from worker.networks.structure import Structure
from worker.runtime.contract import Failure

SPEC = NetworkSpec.model_validate(NETWORK)
GREY = InputSpec.model_validate(INPUT)
SMALL = InputSpec(size=(32, 32), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)


def accounted(report: Report, given: State, names: list[str]) -> None:
    """Each name of the file and each of the network is somewhere in the report."""
    sources = {*report.copied, *(entry["from"] for entry in report.renamed)}
    sources |= {entry["name"] for entry in (*report.skipped, *report.reshaped)}
    assert set(given) <= sources
    targets = [*report.copied, *(entry["to"] for entry in report.renamed), *report.initialised]
    targets += [entry["name"] for entry in report.reshaped if entry["name"] not in targets]
    assert sorted(targets) == sorted(names)


def made(given: State, spec: NetworkSpec = SPEC) -> tuple[State, Report]:
    """Through both doors: a network made of the weights, and one that is there already."""
    torch.manual_seed(1)
    network, structure, report = load.make(spec, GREY, given)
    weights = dict(network.state_dict())
    accounted(report, given, list(weights))
    there = build.build(spec, GREY)
    assert load.load(there, given, structure) == report
    for name, tensor in there.state_dict().items():
        assert name in report.initialised or torch.equal(tensor, weights[name])
    return weights, report


def refused(given: State) -> str:
    with pytest.raises(Failure) as failed:
        load.make(SPEC, GREY, given)
    assert failed.value.code == "weights_do_not_fit"
    return failed.value.message


def same(found: State, expected: State) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_its_own_weights_are_copied() -> None:
    weights, report = made(state())
    assert same(weights, state())
    assert report == Report(copied=NAMES)


def flat(wrapper: str, weights: State) -> State:
    """As the reader of files gives what lies in nested dicts."""
    return prefixed(weights, f"{wrapper}.")


WRAPPERS: dict[str, Callable[[State], State]] = {
    "module.": lambda w: prefixed(w, "module."),
    "model.": lambda w: prefixed(w, "model."),
    "_orig_mod.": lambda w: prefixed(w, "_orig_mod."),
    "_orig_mod.module.": lambda w: prefixed(w, "_orig_mod.module."),
    "compiled within": lambda w: {name.replace("features.", "features._orig_mod."): t for name, t in w.items()},
    "state_dict": lambda w: flat("state_dict", w),
    "model of module": lambda w: flat("model", prefixed(w, "module.")),
    "lightning": lambda w: flat("state_dict", prefixed(w, "net.") | {"loss.weight": torch.ones(3)}),
    "beside an optimiser": lambda w: flat("model_state_dict", w) | {"optimizer.state.step": torch.ones(1)},
}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_wrappers_are_taken_off_and_reported(kind: str) -> None:
    given = WRAPPERS[kind](state())
    weights, report = made(given)
    assert same(weights, state())
    assert [entry["to"] for entry in report.renamed] + report.copied == NAMES or set(report.copied) < set(NAMES)
    assert not report.initialised
    beside = [name for name in given if not any(entry["from"] == name for entry in report.renamed)]
    assert [entry["name"] for entry in report.skipped] == [name for name in beside if name not in report.copied]


def test_shapes_that_do_not_fit_are_each_named() -> None:
    given = state() | {"features.1.weight": torch.ones(5), "classifier.0.bias": torch.ones(4), "extra": torch.ones(1)}
    message = refused(given)
    for said in (
        "7 were found",
        "Missing are 2: features.1.weight, classifier.0.bias",
        "features.1.weight (its shape is [5], the network's [4])",
        "extra (the network has no such tensor)",
        "allow_missing",
    ):
        assert said in message
    report = load.make(SPEC, GREY, given, allow_missing=True).report
    assert {entry["name"]: entry["reason"] for entry in report.skipped} == {
        "features.1.weight": "its shape is [5], the network's [4]",
        "classifier.0.bias": "its shape is [4], the network's [3]",
        "extra": "the network has no such tensor",
    }
    assert report.initialised == ["features.1.weight", "classifier.0.bias"]


@pytest.mark.parametrize(
    "name", [name for name in NAMES if not name.startswith("classifier") and "num_batches" not in name]
)
def test_no_weight_of_the_backbone_may_be_missing(name: str) -> None:
    message = refused({other: tensor for other, tensor in state().items() if other != name})
    assert f"Missing are 1: {name}." in message


def test_a_part_of_a_head_is_no_head() -> None:
    message = refused({name: tensor for name, tensor in state().items() if name != "classifier.0.bias"})
    assert "Missing are 1: classifier.0.bias." in message


def test_no_weight_of_the_file_may_be_left_over() -> None:
    """A deeper network of the same family has all that a shallower one needs."""
    deeper = build.build(NetworkSpec(name="torchvision/resnet34", num_classes=10), SMALL)
    with pytest.raises(Failure) as failed:
        load.make(NetworkSpec(name="torchvision/resnet18", num_classes=10), SMALL, dict(deeper.state_dict()))
    assert failed.value.code == "weights_do_not_fit"
    assert "122 were found" in failed.value.message
    assert "Without a place are" in failed.value.message
    assert "layer1.2.conv1.weight" in failed.value.message


@pytest.mark.parametrize("given", [{"foo": torch.ones(2)}, {"1.weight": torch.ones(5, 64)}], ids=["other", "classes"])
def test_a_network_that_is_all_head_takes_no_other_file(given: State) -> None:
    layers = [{"type": "Flatten"}, {"type": "Linear", "out_features": 3}]
    spec = NetworkSpec(name="layers", num_classes=3, options={"layers": layers})
    with pytest.raises(Failure) as failed:
        load.make(spec, GREY, given)
    assert failed.value.code == "weights_do_not_fit"
    whole = {"1.weight": torch.ones(3, 64), "1.bias": torch.ones(3)}
    assert load.make(spec, GREY, whole).report == Report(copied=["1.weight", "1.bias"])
    with pytest.raises(Failure):
        load.make(spec, GREY, {"1.weight": torch.ones(3, 64)})


@pytest.mark.parametrize(("channels", "other"), [(1, 3), (3, 1)])
def test_between_grey_and_colour_the_first_convolution_is_converted(channels: int, other: int) -> None:
    """A grey image, in one channel or in three equal ones, gives what it gave."""
    spec = NetworkSpec(name="cnn3", num_classes=4)
    first, second = (
        InputSpec(size=(16, 16), channels=count, mean=(0.5,) * count, std=(0.25,) * count)
        for count in (channels, other)
    )
    torch.manual_seed(0)
    before = build.build(spec, first).eval()
    after, _, report = load.make(spec, second, dict(before.state_dict()))
    x_BHW = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        grey, same = (
            network(x_BHW.expand(-1, count, -1, -1)) for network, count in ((before, channels), (after, other))
        )
    torch.testing.assert_close(grey, same, atol=1e-5, rtol=1e-5)
    assert report.reshaped == [{"name": "conv1.weight", "from": [32, channels, 3, 3], "to": [32, other, 3, 3]}]
    assert not report.initialised


def test_embeddings_of_positions_are_resampled_as_their_libraries_do() -> None:
    from timm.layers import resample_abs_pos_embed
    from torchvision.models.vision_transformer import interpolate_embeddings

    torch.manual_seed(0)
    embedding = torch.randn(1, 1 + 14 * 14, 24)
    timms = resample_abs_pos_embed(embedding, new_size=[7, 7], num_prefix_tokens=1)
    assert torch.equal(positions.resampled("pos_embed", embedding, torch.empty(1, 50, 24)), timms)
    state = {"encoder.pos_embedding": embedding.clone()}
    theirs = interpolate_embeddings(image_size=112, patch_size=16, model_state=state)["encoder.pos_embedding"]
    assert torch.equal(positions.resampled("encoder.pos_embedding", embedding, torch.empty(1, 50, 24)), theirs)
    assert positions.resampled("pos_embed", embedding, torch.empty(1, 50, 25)) is embedding
    assert positions.resampled("other", embedding, torch.empty(1, 50, 24)) is embedding


def small_swin(side: int) -> nn.Module:
    from timm.models.swin_transformer import SwinTransformer

    return SwinTransformer(side, patch_size=2, window_size=side // 4, embed_dim=16, depths=(1, 2), num_heads=(2, 4))


def small_beit(side: int) -> nn.Module:
    from timm.models.beit import Beit

    return Beit(side, patch_size=8, embed_dim=16, depth=2, num_heads=2, use_abs_pos_emb=False, use_rel_pos_bias=True)


def spread(count: int, onto: int) -> list[float]:
    """Distances 0, 1, 1 + q, 1 + q + q², … of `count` places from the middle, at whose ends is `onto`; both ways."""
    places = count // 2
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        q = (low + high) / 2
        low, high = (low, q) if sum(q**n for n in range(places)) > onto // 2 else (q, high)
    away = [sum(q**n for n in range(steps)) for steps in range(1, places + 1)]
    return [-step for step in reversed(away)] + [0.0] + away


def test_a_table_of_relative_positions_is_looked_up_between_places_that_stand_closer_in_the_middle():
    """As BEiT's authors do, but linearly."""
    table = torch.randn(13 * 13 + 3, 2)
    found = positions.resampled(f"attn.{positions.TABLE}", table, torch.empty(25 * 25 + 3, 2))
    at, (y, x) = spread(13, 25), np.mgrid[-12:13, -12:13]
    for head in range(2):
        grid = RegularGridInterpolator((at, at), table[:-3, head].reshape(13, 13).numpy())
        inside = np.clip(np.stack([y, x], -1), at[0], at[-1])
        expected = torch.from_numpy(grid(inside).reshape(-1)).float()
        torch.testing.assert_close(found[:-3, head], expected, rtol=0, atol=1e-4)
    assert torch.equal(found[-3:], table[-3:])


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")  # timm's own
@pytest.mark.parametrize("make", [small_swin, small_beit])
@pytest.mark.parametrize(("before", "after"), [(32, 64), (64, 32), (32, 32)])
def test_tables_of_relative_positions_are_brought_to_another_size_as_timm_does(make, before, after):
    weights, network = make(before).state_dict(), make(after)
    tables = {name: torch.randn_like(t) for name, t in weights.items() if name.endswith(positions.TABLE)}
    assert tables
    converted = sys.modules[type(network).__module__].checkpoint_filter_fn(dict(weights | tables), network)
    places = network.state_dict()
    for name, table in tables.items():
        ours = positions.resampled(name, table, places[name])
        assert ours.shape == places[name].shape
        assert torch.equal(ours, converted[name])
        assert torch.equal(ours[-1], table[-1]) or make is small_swin  # what is of the class token stays


@pytest.mark.parametrize("shape", [(168, 3), (169, 4), (170, 3)])
def test_what_is_no_table_of_a_square_window_stays_as_it_is(shape):
    table = torch.randn(13**2, 3)
    assert positions.resampled(f"blocks.0.attn.{positions.TABLE}", table, torch.empty(shape)) is table


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_numbers_are_cast_and_reported(dtype: torch.dtype) -> None:
    given = {name: t.to(dtype) if t.is_floating_point() else t for name, t in state().items()}
    weights, report = made(given)
    assert all(t.dtype == torch.float32 for t in weights.values() if t.is_floating_point())
    assert same(weights, {name: t.float() if t.is_floating_point() else t for name, t in given.items()})
    kind = str(dtype).removeprefix("torch.")
    assert {"name": "features.0.weight", "from": kind, "to": "float32"} in report.cast
    assert len(report.cast) == len(NAMES) - 1
    assert report.copied == NAMES


def test_whole_numbers_are_no_weights() -> None:
    given = state() | {"classifier.0.weight": torch.ones(3, 64, dtype=torch.int8)}
    assert "Missing are 1: classifier.0.weight." in refused(given)
    report = load.make(SPEC, GREY, given, allow_missing=True).report
    assert report.skipped == [{"name": "classifier.0.weight", "reason": "it holds int8, the network float32"}]


def test_dimensions_of_one_may_differ() -> None:
    given = state()
    given["classifier.0.weight"] = given["classifier.0.weight"][:, :, None, None]
    given["module.features.1.num_batches_tracked"] = given.pop("features.1.num_batches_tracked").reshape(1)
    given = {f"module.{name.removeprefix('module.')}": tensor for name, tensor in given.items()}
    weights, report = made(given)
    assert same(weights, state())
    assert report.reshaped == [
        {"name": "classifier.0.weight", "from": [3, 64, 1, 1], "to": [3, 64]},
        {"name": "features.1.num_batches_tracked", "from": [1], "to": []},
    ]


def test_a_missing_count_of_batches_is_no_fault() -> None:
    given = state()
    del given["features.1.num_batches_tracked"]
    weights, report = made(given)
    assert report.initialised == ["features.1.num_batches_tracked"]
    assert weights["features.1.num_batches_tracked"] == 0


def test_what_shares_memory_in_the_file_does_not_in_the_network() -> None:
    one = torch.randn(8)
    names, parts = ("features.1.weight", "features.1.bias", "features.1.running_mean"), (one[:4], one[2:6], one[:4])
    expected = [part.clone() for part in parts]
    weights, _ = made(state() | dict(zip(names, parts, strict=True)))
    for name in names:
        weights[name].add_(1)
    for name, before in zip(names, expected, strict=True):
        assert torch.equal(weights[name], before + 1)


def test_a_network_from_a_file_is_no_view_of_it() -> None:
    """Columns of a larger tensor, as some scripts save them."""
    given = state()
    wide = torch.randn(3, 128)
    given["classifier.0.weight"] = wide[:, ::2]
    weights, _ = made(given)
    assert weights["classifier.0.weight"].is_contiguous()
    assert torch.equal(weights["classifier.0.weight"], wide[:, ::2])


@pytest.mark.parametrize(
    "given",
    [
        {"foo": torch.ones(2)},
        {name: torch.ones(1, 2, 3) for name in NAMES},
        {"classifier.0.weight": torch.ones(3, 64), "classifier.0.bias": torch.ones(3)},  # the head alone
    ],
    ids=["other names", "other shapes", "head alone"],
)
def test_a_load_of_almost_nothing_fails_with_the_names(given: State) -> None:
    with pytest.raises(Failure) as failed:
        load.make(SPEC, GREY, given)
    assert failed.value.code == "weights_do_not_fit"
    assert "features.0.weight" in failed.value.message
    for name in set(given) - {"classifier.0.weight", "classifier.0.bias"}:
        assert name in failed.value.message


def test_the_wrong_architecture_fails() -> None:
    spec = NetworkSpec(name="torchvision/resnet18", num_classes=10)
    other = build.build(NetworkSpec(name="torchvision/mobilenet_v3_small", num_classes=10), SMALL)
    with pytest.raises(Failure) as failed:
        load.make(spec, SMALL, dict(other.state_dict()))
    assert failed.value.code == "weights_do_not_fit"
    assert "layer1.0.conv1.weight" in failed.value.message
    assert "features.0.0.weight" in failed.value.message


def test_numbers_that_are_none_are_refused() -> None:
    given = state()
    given["features.1.running_var"][2] = float("nan")
    with pytest.raises(Failure) as failed:
        load.make(SPEC, GREY, given)
    assert failed.value.code == "not_finite"
    assert "features.1.running_var" in failed.value.message


def test_what_is_not_used_may_hold_anything() -> None:
    made(state() | {"optimizer.state.0.exp_avg": torch.full((2,), float("nan"))})


def test_a_transfer_to_other_classes_takes_all_but_the_head() -> None:
    weights, report = made(state(), with_classes(SPEC, 100))
    assert report.initialised == ["classifier.0.weight", "classifier.0.bias"]
    assert list(weights["classifier.0.weight"].shape) == [100, 64]
    assert report.copied == NAMES[:-2]


def test_heads_may_be_drawn_though_they_would_fit() -> None:
    network, _, report = load.make(SPEC, GREY, state(), without_heads=True)
    assert report.initialised == ["classifier.0.weight", "classifier.0.bias"]
    assert not torch.equal(network.state_dict()["classifier.0.bias"], state()["classifier.0.bias"])


@pytest.mark.parametrize(
    "name", ["torchvision/resnet18", "timm/test_vit", "timm/levit_128s", "torchvision/regnet_y_400mf"]
)
def test_a_made_network_answers_and_learns_as_the_one_it_came_from(name: str) -> None:
    spec = NetworkSpec(name=name, num_classes=10)
    input = build.usual_input(spec)
    assert input is not None
    torch.manual_seed(0)
    first = build.build(spec, input)
    given = {tensor: value.clone() for tensor, value in first.state_dict().items()}
    second, structure, report = load.make(spec, input, given)
    assert not report.initialised
    assert structure == Structure.of(first, input)
    x = torch.randn(2, 3, *input.size)
    with torch.no_grad():
        assert torch.equal(first.eval()(x), second.eval()(x))
    assert {n for n, p in first.named_parameters() if p.requires_grad} == {
        n for n, p in second.named_parameters() if p.requires_grad
    }
    second.train()(x).sum().backward()
    assert all(parameter.grad is not None for parameter in second.parameters())


def test_weights_of_the_same_names_have_a_place_each() -> None:
    """`a._orig_mod.b` and `a.b` are the same name."""
    given: dict[str, Tensor] = state() | {"features._orig_mod.0.bias": torch.ones(4)}
    assert "features._orig_mod.0.bias (another of its name came before it)" in refused(given)


def test_a_plain_script_s_network_is_the_same() -> None:
    x = torch.randn(3, 1, 8, 8)
    network: Any = load.make(SPEC, GREY, state())[0]
    with torch.no_grad():
        assert torch.equal(network.eval()(x), module()(x))


def test_what_was_drawn_before_it_was_stored_is_no_trained_weight() -> None:
    report = Report(
        copied=["a", "b"],
        renamed=[{"from": "c", "to": "d.c"}, {"from": "e", "to": "d.e"}],
        reshaped=[{"name": "d.c", "from": [1], "to": []}],
        initialised=["head"],
    )
    report.was_drawn(["b", "c", "head", "elsewhere"])
    assert report == Report(copied=["a"], renamed=[{"from": "e", "to": "d.e"}], initialised=["head", "b", "d.c"])
