"""The zoo of `choosing.py`: small networks that know different things, and small targets of real images.

All images are 32×32 and coloured; most networks see them at 16×16, so that a truth costs seconds.  A target has of each
class 25 images to learn from and 10 to select by, and up to 500 in all to judge by.  Sources learned from other images
than the targets have; where the classes are the same by name (sketches, CIFAR-10, digits), that is what is to be found.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import default_pairs as pairs
import defaults
from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from app.methods.registry import parse
from contest import data, plan
from contest.data import Packed
from default_pairs import Pictures, Places, Weights
from worker.methods.task import Source
from worker.networks import build

SIDE, LEARN, SELECT, JUDGE = 32, 25, 10, 500
PLANTS = (
    *("maple_tree", "palm_tree", "pine_tree", "willow_tree", "poppy"),
    *("rose", "sunflower", "tulip", "pear", "mushroom"),
)
BEASTS = (
    *("bear", "leopard", "lion", "tiger", "wolf"),
    *("fox", "cattle", "chimpanzee", "elephant", "kangaroo"),
)
SCHOOLED, CHANCE = 200, 0.1  # images of a class that sources learn from; what a network that was drawn would reach


@dataclass(frozen=True)
class ZooPlaces(Places):
    """`lite2` is EfficientNet-Lite2's file of weights."""

    lite2: Path


Maker = Callable[[ZooPlaces], Pictures]


def _coloured(labelled: data.Labelled) -> Pictures:
    images = [np.asarray(Image.fromarray(one).convert("RGB").resize((SIDE, SIDE))) for one in labelled.images]
    return Pictures(np.stack(images), labelled.label, labelled.classes)


def _per_class(pictures: Pictures, start: int, stop: int | None) -> Pictures:
    """Of each class the images from the `start`th to the `stop`th, in a fixed random order."""
    order = np.random.default_rng(0).permutation(len(pictures.label))
    rows = [order[pictures.label[order] == k][start:stop] for k in range(len(pictures.classes))]
    chosen = np.concatenate(rows)
    return Pictures(pictures.images[chosen], pictures.label[chosen], pictures.classes)


def _cifar100(places: ZooPlaces, classes: tuple[str, ...], per_class: int) -> Pictures:
    return pairs.folders(places.cifar100 / "train", SIDE, classes, per_class)


def _others(places: ZooPlaces) -> Pictures:
    """Forty classes of CIFAR-100 that no target has."""
    taken = {*pairs.TEN, *PLANTS, *BEASTS}
    names = sorted(folder.name for folder in (places.cifar100 / "train").iterdir())
    return _cifar100(places, tuple(name for name in names if name not in taken)[:40], SCHOOLED // 4)


def _garments(places: ZooPlaces) -> Pictures:
    labelled = data.garments(range(10), SCHOOLED + 120, folder=places.fashion)
    learnt = ~labelled.test
    return _coloured(
        data.Labelled(labelled.images[learnt], labelled.label[learnt], labelled.test[learnt], data.GARMENTS)
    )


def _domain(name: str) -> Maker:
    return lambda places: pairs.folders(places.pacs / name, SIDE)


SCHOOLS: dict[str, Maker] = {
    "digits": lambda places: _per_class(_coloured(data.mnist()), 0, SCHOOLED),
    "garments": lambda places: _per_class(_garments(places), 0, SCHOOLED),
    "cifar10": lambda places: pairs.folders(places.cifar10 / "train", SIDE, per_class=SCHOOLED),
    "cifar100": _others,
    "sketches": lambda places: _per_class(_domain("sketch")(places), 45, 45 + SCHOOLED),
}

TARGETS: dict[str, Maker] = {
    "things": lambda places: _cifar100(places, pairs.TEN, 120),
    "mnist": lambda places: _per_class(_coloured(data.mnist()), SCHOOLED, None),
    "fashion": lambda places: _per_class(_garments(places), SCHOOLED, SCHOOLED + 120),
    "cifar10": lambda places: pairs.folders(places.cifar10 / "test", SIDE, per_class=120),
    "sketch": lambda places: _without(_domain("sketch")(places), SCHOOLS["sketches"](places)),
    "photo": _domain("photo"),
    "plants": lambda places: _cifar100(places, PLANTS, 120),
    "cartoon": _domain("cartoon"),
    "optdigits": lambda places: _coloured(data.optdigits()),
    "beasts": lambda places: _cifar100(places, BEASTS, 120),
    "art": _domain("art_painting"),
}


def _without(pictures: Pictures, other: Pictures) -> Pictures:
    seen = {one.tobytes() for one in other.images}
    kept = np.array([one.tobytes() not in seen for one in pictures.images])
    return Pictures(pictures.images[kept], pictures.label[kept], pictures.classes)


def target(name: str, places: ZooPlaces) -> Packed:
    """The target, written to the work folder once."""
    return _packed(places.work / "targets" / f"zoo-{name}", lambda: _drawn(TARGETS[name](places)))


def _packed(place: Path, make: Callable[[], tuple[Pictures, NDArray[np.uint8]]]) -> Packed:
    if not place.exists():
        pairs._write(place, *make())
    return Packed(json.loads((place / "about.json").read_text()), place / "pixels", place / "index.npz")


def _drawn(pictures: Pictures) -> tuple[Pictures, NDArray[np.uint8]]:
    random = np.random.default_rng(1)
    split = np.full(len(pictures.label), -1)
    for k in range(len(pictures.classes)):
        drawn = random.permutation(np.flatnonzero(pictures.label == k))
        split[drawn[:LEARN]], split[drawn[LEARN : LEARN + SELECT]] = pairs.TRAIN, pairs.VALIDATION
    rest = random.permutation(np.flatnonzero(split < 0))
    split[rest[:JUDGE]] = pairs.TEST
    kept = split >= 0
    return Pictures(pictures.images[kept], pictures.label[kept], pictures.classes), split[kept].astype(np.uint8)


@dataclass(frozen=True)
class Animal:
    """A checkpoint of the zoo.  `school`: what it learned from, of `SCHOOLS`; None: published, or drawn at random.
    `shuffled`: the labels that it learned from were."""

    network: dict[str, Any]
    school: str | None = None
    shuffled: bool = False
    epochs: int = 12
    side: int = SIDE // 2
    published: str | None = None

    @property
    def worthless(self) -> bool:
        """Tell whether it has learned nothing that could be of use."""
        return self.published is None and (self.school is None or self.shuffled)


CNN3: dict[str, Any] = {"name": "cnn3", "num_classes": 10}
RESNET8: dict[str, Any] = {"name": "cifar_resnet", "num_classes": 10, "options": {"depth": 8}}
RESNET20: dict[str, Any] = {"name": "cifar_resnet", "num_classes": 10, "options": {"depth": 20}}
# On 16×16.
SMALL: dict[str, Any] = plan.large(10) | {"options": plan.large(10)["options"] | {"input": [3, 16, 16]}}
LITE0: dict[str, Any] = {"name": "timm/tf_efficientnet_lite0", "num_classes": 1000}
LITE2: dict[str, Any] = {"name": "timm/tf_efficientnet_lite2", "num_classes": 1000}
NETWORKS = {"cnn3": CNN3, "resnet8": RESNET8, "small": SMALL}

ANIMALS: dict[str, Animal] = (
    {f"{name} of {school}": Animal(network, school) for school in SCHOOLS for name, network in NETWORKS.items()}
    | {f"{name} of shuffled labels": Animal(network, "cifar10", shuffled=True) for name, network in NETWORKS.items()}
    | {f"{name} drawn": Animal(network) for name, network in NETWORKS.items()}
    | {
        "cnn3 of cifar10, briefly": Animal(CNN3, "cifar10", epochs=2),
        "small of cifar10, briefly": Animal(SMALL, "cifar10", epochs=2),
        "resnet20 of cifar10, halved": Animal(RESNET20, published="resnet20"),
        "resnet20 of cifar10": Animal(RESNET20, side=SIDE, published="resnet20"),
        "lite0 of imagenet": Animal(LITE0, side=SIDE, published="lite0"),
        "lite2 of imagenet": Animal(LITE2, side=SIDE, published="lite2"),
    }
)
# What their authors say of them: akamaster/pytorch_resnet_cifar10, and the EfficientNet-Lite of TensorFlow.
PUBLISHED = {"resnet20": 0.917, "lite0": 0.751, "lite2": 0.776}


def animal(name: str, places: ZooPlaces) -> tuple[Source, dict[str, Any]]:
    """A checkpoint that `raise_animal` has made, and what is known of it: `source_accuracy`, `parameters`."""
    path = _path(name, places)
    about = json.loads(path.with_suffix(".json").read_text())
    spec, input = NetworkSpec.model_validate(about["network"]), InputSpec.model_validate(about["input"])
    return Source(spec, input, about["classes"], None, path), about


def raise_animal(name: str, places: ZooPlaces) -> None:
    """Make the checkpoint, unless it is there."""
    path = _path(name, places)
    if path.with_suffix(".json").exists():
        return
    animal = ANIMALS[name]
    if animal.published is not None:
        weights, accuracy = _published(animal, places), PUBLISHED[animal.published]
    elif animal.school is None:
        weights, accuracy = _random(animal), CHANCE
    else:
        weights, accuracy = _taught(name, animal, places)
    with tempfile.TemporaryDirectory(dir=places.work) as draft:
        made = Path(draft) / path.name
        pairs.write(weights, made)
        about = json.loads(made.with_suffix(".json").read_text())
        count = sum(one.numel() for key, one in weights.tensors.items() if "running_" not in key and "num_b" not in key)
        about |= {"parameters": count, "source_accuracy": accuracy}
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, path)
        path.with_suffix(".json").write_text(json.dumps(about))


def _path(name: str, places: ZooPlaces) -> Path:
    return places.work / "zoo" / f"{name.replace(' ', '-').replace(',', '')}.safetensors"


def _input(animal: Animal) -> InputSpec:
    half = (0.5, 0.5, 0.5)
    return InputSpec(size=(animal.side, animal.side), channels=3, mean=half, std=half)


def _random(animal: Animal) -> Weights:
    spec, input = NetworkSpec.model_validate(animal.network), _input(animal)
    torch.manual_seed(0)
    network = build.build(spec, input)
    classes = [f"none {k}" for k in range(spec.num_classes)]
    return Weights(spec, input, classes, dict(network.state_dict()))


def _published(animal: Animal, places: ZooPlaces) -> Weights:
    if animal.published == "resnet20":
        return pairs.resnet20(places, animal.side)
    file = places.lite0 if animal.published == "lite0" else places.lite2
    return pairs.efficientnet_lite(NetworkSpec.model_validate(animal.network), file, animal.side)


def _taught(name: str, animal: Animal, places: ZooPlaces) -> tuple[Weights, float]:
    """The network after a `train` job, and its accuracy on a tenth of the images that it did not learn from."""
    assert animal.school is not None
    school = animal.school

    def images() -> tuple[Pictures, NDArray[np.uint8]]:
        pictures, random = SCHOOLS[school](places), np.random.default_rng(0)
        split = np.full(len(pictures.label), pairs.TRAIN, np.uint8)
        split[random.permutation(len(split))[: len(split) // 10]] = pairs.TEST
        label = random.permutation(pictures.label) if animal.shuffled else pictures.label
        return Pictures(pictures.images, label, pictures.classes), split

    packed = _packed(places.work / "targets" / f"zoo-school-{school}{'-shuffled' * animal.shuffled}", images)
    network = animal.network | {"num_classes": len(packed.document["classes"])}
    if network["name"] == "layers":
        network["options"] = plan.large(network["num_classes"])["options"] | {"input": [3, 16, 16]}
    method = {"name": "train", "network": network, "input": _input(animal).document(), "epochs": animal.epochs}
    adapted, accuracy = defaults._run(parse(method), 100, packed)
    made = adapted.classifier
    return Weights(adapted.spec, made.input, made.classes or [], dict(made.module.state_dict())), accuracy
