"""RegMean on two tunings that each know one half of the images: a hand-written least squares is the reference."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from app.imaging.packed import PackedImages, PackedWriter
from tests.worker.methods import tasks
from tests.worker.methods.tasks import SIDE, Data, Setting
from worker.runtime.contract import Failure

CLASSES = 10
ONE, TWO = "model_left1", "model_right"
OWN = {ONE: ["ds_left"], TWO: ["ds_right"]}
COMMON = {ONE: ["ds_both"], TWO: ["ds_both"]}
LINEAR = {
    "name": "layers",
    "num_classes": CLASSES,
    "options": {
        "layers": [{"name": "flatten", "type": "Flatten"}, {"name": "head", "type": "Linear", "out_features": CLASSES}]
    },
}
LEFT = np.arange(SIDE) < SIDE // 2


@pytest.fixture
def patterns():
    return np.random.default_rng(0).integers(0, 256, (CLASSES, SIDE, SIDE))


def halves(folder, patterns, *sides) -> Data:
    """Images that show a class's pattern on one of the `sides` (masks of columns), under noise, and grey elsewhere."""
    plain = tasks.dataset(folder, CLASSES)
    random = np.random.default_rng(1)
    label_N = np.tile(np.repeat(np.arange(CLASSES), 8), len(sides))
    noisy_NHW = np.clip(patterns[label_N] + random.integers(-40, 40, (len(label_N), SIDE, SIDE)), 0, 255)
    shown_NW = np.repeat(np.stack(sides), 8 * CLASSES, axis=0)
    images_NHW = np.where(shown_NW[:, None], noisy_NHW, 128)
    split_N = np.tile(np.array(tasks.SPLITS, np.uint8), len(label_N) // 8)
    pixels, index = folder / "halves", folder / "halves.npz"
    with PackedWriter(pixels) as writer:
        writer.extend(images_NHW.astype(np.uint8)[..., None])
        writer.finish(index, np.arange(len(label_N)), label_N, split_N)
    return Data(plain.document | {"sha256": folder.name.encode().hex().zfill(64)}, pixels, index)


def tuning(folder, patterns, side, seed):
    """A matched filter on its side, and whatever the weights were drawn as on the other."""
    weight_KHW = 6 * np.random.default_rng(seed).standard_normal(patterns.shape)
    weight_KHW[:, :, side] = ((patterns - patterns.mean(0)) / 64)[:, :, side]
    folder.mkdir()
    path = folder / "source.safetensors"
    weight = torch.from_numpy(weight_KHW.reshape(CLASSES, -1)).float()
    save_file({"head.weight": weight, "head.bias": torch.zeros(CLASSES)}, path)
    document = tasks.source(folder / "described")[0] | {"network": LINEAR}
    return document, path


@pytest.fixture
def merge(tmp_path, patterns):
    teachers = {
        id_: tuning(tmp_path / id_, patterns, side, seed) for id_, side, seed in ((ONE, LEFT, 1), (TWO, ~LEFT, 2))
    }
    environments = {
        "ds_left": halves(tmp_path / "left", patterns, LEFT),
        "ds_right": halves(tmp_path / "right", patterns, ~LEFT),
        "ds_both": halves(tmp_path / "both", patterns, LEFT, ~LEFT),
    }
    numbers = iter(range(100))

    def merge(method, **training_sets):
        whole = {"sources": [ONE, TWO], **method}
        case = Setting(whole, teachers[ONE], environments["ds_both"], teachers=teachers, environments=environments)
        return tasks.run(case, tmp_path / f"run{next(numbers)}")

    vars(merge).update(teachers=teachers, environments=environments)
    return merge


def accuracy(outcome):
    return outcome.document["evaluation"]["target"]["accuracy"]


def by_hand(teachers, environments, training_sets, off_diagonal):
    """Jin et al. 2023, eq. 2 and section 4.2, in numpy on the stored pixels."""
    left, right = 0.0, 0.0
    for id_, (_, path) in teachers.items():
        x_ND = np.concatenate([inputs(environments[ds]) for ds in training_sets[id_]])
        gram_DD = x_ND.T @ x_ND
        gram_DD = off_diagonal * gram_DD + (1 - off_diagonal) * np.diag(np.diag(gram_DD))
        left, right = left + gram_DD, right + gram_DD @ load_file(path)["head.weight"].numpy().T.astype(np.float64)
    return np.linalg.solve(left, right).T


def inputs(data):
    images = PackedImages.open(data.pixels, data.index)
    pixels_NHWC = np.stack([images[row] for row in images.rows("train")])
    return (pixels_NHWC.reshape(len(pixels_NHWC), -1) / 255.0 - 0.5) / 0.25


def test_inner_products_of_each_sources_own_data_keep_what_each_knows(merge):
    own = merge({"name": "reg_mean", "training_sets": OWN})
    common = merge({"name": "reg_mean", "training_sets": COMMON})
    mean = merge({"name": "soup", "kind": "uniform"})
    assert accuracy(own) > accuracy(mean) + 0.3
    assert accuracy(own) > accuracy(common) + 0.3
    torch.testing.assert_close(common.weights["head.weight"], mean.weights["head.weight"], rtol=1e-3, atol=1e-3)
    assert own.document["transfer"]["fusion"]["training_sets"] == OWN


@pytest.mark.parametrize("off_diagonal", [0.5, 0.9])
def test_it_is_the_least_squares_of_a_hand_written_one(merge, off_diagonal):
    for sets in (OWN, OWN | {ONE: ["ds_left", "ds_both"]}):
        outcome = merge({"name": "reg_mean", "training_sets": sets, "off_diagonal": off_diagonal})
        expected = by_hand(merge.teachers, merge.environments, sets, off_diagonal)
        torch.testing.assert_close(
            outcome.weights["head.weight"], torch.from_numpy(expected).float(), rtol=1e-3, atol=1e-3
        )


def test_unknown_training_data_is_refused_by_the_worker_too(merge):
    with pytest.raises(Failure, match=f"what {TWO} was trained on"):
        merge({"name": "reg_mean", "training_sets": {ONE: ["ds_left"]}})
