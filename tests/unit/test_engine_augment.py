"""Augmentation by the batch against torchvision: image by image for the same numbers, and in distribution."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as tv

from app.methods.augmentation import ColourPermutation, HorizontalFlip, RandomAffine, RandomCrop
from worker.engine import augment

MANY = 4000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count, channels=3, height=8, width=6):
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator(5))


def outcomes(batch):
    """How often each distinct image occurs."""
    return {
        key.tobytes(): int(n)
        for key, n in zip(*np.unique(batch.flatten(1).numpy(), axis=0, return_counts=True), strict=True)
    }


def same_distribution(ours, theirs):
    """Chi-squared on the counts of every outcome; both have the same outcomes."""
    a, b = outcomes(ours), outcomes(theirs)
    assert a.keys() == b.keys()
    table = [[a[key] for key in a], [b[key] for key in a]]
    return stats.chi2_contingency(table).pvalue > 0.001


@pytest.mark.parametrize(
    ("step", "peer"),
    [
        (RandomCrop(padding=2), v2.RandomCrop((4, 3), padding=2)),
        (HorizontalFlip(p=0.3), v2.RandomHorizontalFlip(0.3)),
        (ColourPermutation(p=0.6), v2.RandomApply([v2.RandomChannelPermutation()], p=0.6)),
    ],
)
def test_in_distribution_as_torchvision(step, peer):
    torch.manual_seed(3)
    image = images(1, height=4, width=3)
    ours = augment.compose([step])(image.expand(MANY, -1, -1, -1), generator())
    theirs = torch.stack([peer(image[0]) for _ in range(MANY)])
    assert same_distribution(ours, theirs)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 9, 6), (3, 5, 12)])
def test_affine_is_torchvisions_image_by_image(shape):
    batch = images(24, *shape)
    angle = torch.linspace(-170, 180, 24)
    scale = torch.linspace(0.5, 2, 24)
    shift = torch.randint(-2, 3, (24, 2), generator=generator()).float()
    ours = augment.affine(batch, torch.deg2rad(angle), scale, shift)
    for i, image in enumerate(batch):
        theirs = tv.affine(
            image,
            angle=float(angle[i]),
            translate=shift[i].tolist(),
            scale=float(scale[i]),
            shear=[0.0, 0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
        assert (ours[i].int() - theirs.int()).abs().max() <= 1  # rounding


def test_affine_draws_as_torchvision(monkeypatch):
    drawn = {}

    def record(x_BCHW, angle_B, scale_B, shift_B2):
        drawn.update(angle=angle_B * 180 / math.pi, scale=scale_B, x=shift_B2[:, 0], y=shift_B2[:, 1])
        return x_BCHW

    monkeypatch.setattr(augment, "affine", record)
    step = RandomAffine(degrees=20, translate=0.25, scale=(0.7, 1.2))
    augment.compose([step])(images(MANY, 1, 16, 32), generator())
    torch.manual_seed(0)
    peer = v2.RandomAffine(20, translate=(0.25, 0.25), scale=(0.7, 1.2))
    blank = torch.zeros(1, 16, 32, dtype=torch.uint8)
    theirs = [peer.make_params([blank]) for _ in range(MANY)]
    for name, values in {
        "angle": [p["angle"] for p in theirs],
        "scale": [p["scale"] for p in theirs],
        "x": [p["translate"][0] for p in theirs],
        "y": [p["translate"][1] for p in theirs],
    }.items():
        assert stats.ks_2samp(drawn[name].numpy(), values).pvalue > 0.001, name
    assert torch.equal(drawn["x"], drawn["x"].round())


def test_every_image_has_numbers_of_its_own():
    batch = images(1).expand(64, -1, -1, -1)
    for step in (RandomCrop(padding=4), HorizontalFlip(), RandomAffine(), ColourPermutation()):
        assert len(outcomes(augment.compose([step])(batch, generator()))) > 1, step.name


def test_the_generator_is_all_there_is_to_keep():
    batch = images(16)
    step = augment.compose([RandomCrop(padding=2), RandomAffine(), HorizontalFlip(), ColourPermutation()])
    first = generator()
    step(batch, first)
    kept = first.get_state()
    torch.rand(10)  # the global generator plays no part
    expected = step(batch, first)
    resumed = generator(99)
    resumed.set_state(kept)
    assert torch.equal(step(batch, resumed), expected)


def test_grey_images_have_no_channels_to_permute():
    batch = images(8, channels=1)
    assert torch.equal(augment.compose([ColourPermutation(p=1)])(batch, generator()), batch)


def test_steps_keep_type_and_shape_in_any_layout():
    batch = images(8).contiguous(memory_format=torch.channels_last)
    plain = batch.contiguous()
    for step in (RandomCrop(padding=2), HorizontalFlip(), RandomAffine(), ColourPermutation()):
        function = augment.compose([step])
        found = function(batch, generator())
        assert (found.dtype, found.shape) == (torch.uint8, batch.shape)
        assert torch.equal(found, function(plain, generator()))


def test_no_steps_no_function():
    assert augment.compose([]) is None
