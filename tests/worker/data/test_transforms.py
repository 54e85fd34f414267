"""Augmentation by the batch against torchvision: image by image for the same numbers, and in distribution."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as tv

from app.contract.augmentation import (
    ColourJitter,
    ColourPermutation,
    GaussianBlur,
    Greyscale,
    HorizontalFlip,
    RandAugment,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomResizedCrop,
    Solarise,
    TrivialAugment,
    VerticalFlip,
)
from worker.data import transforms

MANY = 4000
STEPS = (
    RandomCrop(padding=2),
    RandomResizedCrop(),
    HorizontalFlip(),
    VerticalFlip(),
    RandomAffine(),
    ColourPermutation(),
    ColourJitter(),
    Greyscale(p=0.5),
    GaussianBlur(),
    Solarise(p=0.5),
    RandAugment(),
    TrivialAugment(),
    RandomErasing(scale=(0.1, 0.3)),
)
BY_TORCHVISION = (
    (RandomResizedCrop(scale=(0.2, 0.9), ratio=(0.5, 1.5)), v2.RandomResizedCrop((12, 10), (0.2, 0.9), (0.5, 1.5))),
    (ColourJitter(brightness=0.5, contrast=0.3, saturation=0.6, hue=0.2), v2.ColorJitter(0.5, 0.3, 0.6, 0.2)),
    (ColourJitter(p=0.8), v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8)),
    (Greyscale(p=0.3), v2.RandomGrayscale(p=0.3)),
    (GaussianBlur(p=0.6, sigma=(0.2, 0.9)), v2.RandomApply([v2.GaussianBlur(7, (0.2, 0.9))], p=0.6)),
    (Solarise(p=0.3, threshold=100), v2.RandomSolarize(100, p=0.3)),
    (RandAugment(num_ops=3, magnitude=12), v2.RandAugment(3, 12)),
    (TrivialAugment(), v2.TrivialAugmentWide()),
    (RandomErasing(p=0.7, scale=(0.05, 0.4), ratio=(0.5, 2)), v2.RandomErasing(0.7, (0.05, 0.4), (0.5, 2))),
)


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
        (VerticalFlip(p=0.7), v2.RandomVerticalFlip(0.7)),
        (ColourPermutation(p=0.6), v2.RandomApply([v2.RandomChannelPermutation()], p=0.6)),
    ],
)
def test_in_distribution_as_torchvision(step, peer):
    torch.manual_seed(3)
    image = images(1, height=4, width=3)
    ours = transforms.compose([step])(image.expand(MANY, -1, -1, -1), generator())
    theirs = torch.stack([peer(image[0]) for _ in range(MANY)])
    assert same_distribution(ours, theirs)


@pytest.mark.parametrize(("step", "peer"), BY_TORCHVISION, ids=lambda case: type(case).__name__)
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_distributed_as_torchvisions(step, peer, channels):
    """Corner, centre and mean of each channel, by the two-sample Kolmogorov-Smirnov test."""
    torch.manual_seed(11)
    image = images(1, channels, 12, 10)
    ours = transforms.compose([step])(image.expand(1000, -1, -1, -1), generator())
    theirs = torch.stack([peer(image[0]) for _ in range(1000)])
    for name, read in {
        "corner": lambda x: x[:, :, 0, 0],
        "centre": lambda x: x[:, :, 6, 5],
        "mean": lambda x: x.double().mean((2, 3)),
    }.items():
        for a, b in zip(read(ours).T.numpy(), read(theirs).T.numpy(), strict=True):
            assert stats.ks_2samp(a, b).pvalue > 0.001, name


def ones(numbers):
    return numbers[:, None, None, None]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs", "numbers"),
    [
        (transforms.brightness, tv.adjust_brightness, (0.0, 0.37, 1.0, 1.8)),
        (transforms.contrast, tv.adjust_contrast, (0.0, 0.37, 1.0, 1.8)),
        (transforms.saturation, tv.adjust_saturation, (0.0, 0.37, 1.0, 1.8)),
        (transforms.hue, tv.adjust_hue, (-0.5, -0.13, 0.0, 0.31, 0.5)),
    ],
)
def test_colours_change_as_torchvisions_do_one_by_one(ours, theirs, numbers, channels):
    """To one level of 255, where two ways of rounding may part."""
    batch = images(len(numbers), channels, 12, 10)
    made = ours(batch.float(), ones(torch.tensor(numbers))).to(torch.uint8)
    expected = torch.stack([theirs(x_CHW, number) for x_CHW, number in zip(batch, numbers, strict=True)])
    assert (made.int() - expected.int()).abs().max() <= 1


def test_a_blur_is_torchvisions_one_by_one():
    batch, sigma = images(4, 3, 12, 10), (0.1, 0.5, 1.3, 2.0)
    made = transforms.blurred(batch, torch.tensor(sigma), 4)
    expected = torch.stack([tv.gaussian_blur(x_CHW, [9, 9], [s, s]) for x_CHW, s in zip(batch, sigma, strict=True)])
    assert (made.int() - expected.int()).abs().max() <= 1
    assert torch.equal(made[0], batch[0])
    assert transforms.blurred(images(2, 1, 2, 1), torch.tensor([0.5, 2.0]), 6).shape == (2, 1, 2, 1)


def test_what_is_erased_is_black():
    batch = torch.full((200, 3, 12, 12), 200, dtype=torch.uint8)
    found = transforms.compose([RandomErasing(p=0.6, scale=(0.1, 0.3))])(batch, generator())
    black_B = (found == 0).sum((1, 2, 3))
    assert set(found.unique().tolist()) == {0, 200}
    assert 0.5 < (black_B > 0).float().mean() < 0.7
    erased_B = black_B[black_B > 0] / (3 * 12 * 12)
    assert erased_B.min() > 0.05  # sides are whole pixels
    assert erased_B.max() < 0.36


def test_torchvisions_draws_leave_the_global_generator_alone():
    """Dropout draws from it: a step must not wind it back."""
    before = torch.get_rng_state()
    transforms.compose(STEPS)(images(8), generator())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 9, 6), (3, 5, 12), (3, 32, 32), (1, 1, 7), (3, 72, 80)])
@pytest.mark.parametrize("size", [None, (5, 7), (16, 4)])
def test_a_resized_crop_is_torchvisions_image_by_image(shape, size):
    batch, size = images(40, *shape), size or shape[1:]
    whole_21 = torch.tensor(shape[1:])[:, None]
    sides = (torch.rand(2, 40, generator=generator()) * whole_21).floor() + 1
    at = (torch.rand(2, 40, generator=generator(1)) * (whole_21 - sides + 1)).floor()
    ours = transforms.resized_crop(batch, at, sides, size)
    assert ours.shape == (40, shape[0], *size)
    for i, image in enumerate(batch):
        box = [int(value) for value in (*at[:, i], *sides[:, i])]
        theirs = tv.resized_crop(image.float(), *box, size=list(size), antialias=True)
        assert (ours[i] - theirs).abs().max() <= (2 if shape[1] > 64 else 1)  # rounding, of large ones in two passes


@pytest.mark.parametrize(
    ("size", "ratio"), [((4, 40), (0.5, 1.0)), ((40, 4), (1.0, 2.0)), ((10, 11), (5, 5)), ((9, 9), (1, 1))]
)
def test_where_no_box_fits_the_middle_is_taken_as_torchvision_does(monkeypatch, size, ratio):
    monkeypatch.setattr(transforms, "resized_crop", lambda x, at, sides, size: torch.stack((*at, *sides), dim=1).int())
    step = RandomResizedCrop(scale=(1, 1), ratio=ratio)
    ours = transforms.compose([step])(images(5, 3, *size), generator())
    theirs = v2.RandomResizedCrop(size, (1, 1), ratio).make_params([images(1, 3, *size)[0]])
    assert ours.tolist() == [[theirs["top"], theirs["left"], theirs["height"], theirs["width"]]] * 5


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 9, 6), (3, 5, 12)])
def test_affine_is_torchvisions_image_by_image(shape):
    batch = images(24, *shape)
    angle = torch.linspace(-170, 180, 24)
    scale = torch.linspace(0.5, 2, 24)
    shift = torch.randint(-2, 3, (24, 2), generator=generator()).float()
    ours = transforms.affine(batch, torch.deg2rad(angle), scale, shift)
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

    monkeypatch.setattr(transforms, "affine", record)
    step = RandomAffine(degrees=20, translate=0.25, scale=(0.7, 1.2))
    transforms.compose([step])(images(MANY, 1, 16, 32), generator())
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


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_every_image_has_numbers_of_its_own(step):
    batch = images(1).expand(64, -1, -1, -1)
    assert len(outcomes(transforms.compose([step])(batch, generator()))) > 1


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_batches_have_numbers_of_their_own(step):
    batch, function, numbers = images(64), transforms.compose([step]), generator()
    assert not torch.equal(function(batch, numbers), function(batch, numbers))


def test_the_generator_is_all_there_is_to_keep():
    batch = images(16)
    step = transforms.compose(STEPS)
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
    assert torch.equal(transforms.compose([ColourPermutation(p=1)])(batch, generator()), batch)


def test_grey_images_have_no_colour_to_jitter():
    step = ColourJitter(brightness=0, contrast=0, saturation=2, hue=0.5)
    batch = images(8, channels=1)
    assert torch.equal(transforms.compose([step])(batch, generator()), batch)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_steps_keep_type_and_shape_in_any_layout(step, channels):
    batch = images(8, channels).contiguous(memory_format=torch.channels_last)
    plain = batch.contiguous()
    function = transforms.compose([step])
    found = function(batch, generator())
    assert (found.dtype, found.shape) == (torch.uint8, batch.shape)
    assert torch.equal(found, function(plain, generator()))


@pytest.mark.parametrize(
    "wrong",
    [
        (RandomResizedCrop, {"scale": (0.9, 0.1)}),
        (RandomResizedCrop, {"scale": (0, 1)}),
        (RandomAffine, {"scale": (1.1, 0.9)}),
        (RandomErasing, {"ratio": (3, 0.3)}),
        (ColourJitter, {"hue": 0.6}),
        (RandAugment, {"magnitude": 31}),
        (RandAugment, {"num_ops": 0}),
    ],
)
def test_what_torchvision_would_not_take_is_refused(wrong):
    step, params = wrong
    with pytest.raises(ValidationError):
        step(**params)


def test_no_steps_no_function():
    assert transforms.compose([]) is None
