"""The out-of-distribution score and the correction for shares of classes, of a published network, over HTTP.

    python benchmarks/unusual.py --cifar10 FOLDER --cifar100 FOLDER resnet20-12fca82f.th

The folders have `test`, with a folder a class.  A linear probe on 160 of CIFAR-10's test images a class, with 40 to
validate and to calibrate, makes a model of the network.  Printed are, of 2,000 of its other test images and 2,000 of
CIFAR-100: the area under the ROC curve by which each score tells the two apart, the share of either beyond the 0.95
quantile; and of CIFAR-10's under shares that were drawn, the accuracy without the correction and with it.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from contest import photographs
from contest.service import opened
from regraft import Client
from regraft.types import Prediction, Predictions

SHOWN, AT_ONCE = 2000, 500
DRAWS, CONCENTRATION = 5, 0.5  # of shares, by a Dirichlet distribution
METHOD = {"name": "linear_probe", "calibrate": True}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, required=True)
    parser.add_argument("--cifar100", type=Path, required=True)
    parser.add_argument("weights", type=Path)
    options = parser.parse_args()
    # test images alone: those that the network was trained on are less unusual to it than any that it will see
    parts = photographs.split(photographs.classes(options.cifar10 / "test"), 160, 800, seed=0)
    inside, outside = parts["test"], photographs.classes(options.cifar100 / "test")
    learned = parts | {"test": photographs.some(inside, 50)}
    network = {"name": "cifar_resnet", "num_classes": len(inside), "options": {"depth": 20}}
    with tempfile.TemporaryDirectory() as name, opened(Path(name)) as (client, bench):
        dataset = bench.dataset("CIFAR-10, some", lambda path: photographs.pack(path, learned))
        checkpoint = bench.checkpoint("resnet20", options.weights, network=network, classes=list(inside))
        made = bench.job("probe", keep=True, method=METHOD, checkpoint=checkpoint, dataset=dataset)
        if made.model is None:
            raise SystemExit(f"There is no model: {made.refused}")
        tell_apart(client, made.model, _some(inside), _some(outside))
        correct(client, made.model, inside)


def tell_apart(client: Client, model: str, inside: list[Path], outside: list[Path]) -> None:
    """Print how well each score tells the images that the network knows from others."""
    answers = [each for images in (inside, outside) for each in ask(client, model, images)]
    unusual_N = np.arange(len(answers)) >= len(inside)
    scores = {
        "energy": [_energy(each) for each in answers],
        "1 - probability": [1 - each.probability for each in answers],
    }
    for score, values in scores.items():
        print(f"{score}: area under the ROC curve {roc_auc_score(unusual_N, values):.3f}", flush=True)
    beyond_N = np.array([_quantile(each) >= 0.95 for each in answers])
    inner, outer = beyond_N[~unusual_N].mean(), beyond_N[unusual_N].mean()
    print(f"beyond 0.95: {inner:.1%} of CIFAR-10's, {outer:.1%} of the others", flush=True)


def correct(client: Client, model: str, by_class: dict[str, list[Path]]) -> None:
    """Print accuracies under drawn shares of the classes, as they are, with shares estimated, with the true ones."""
    random = np.random.default_rng(0)
    for _ in range(DRAWS):
        share_K = random.dirichlet(np.full(len(by_class), CONCENTRATION))
        count_K = random.multinomial(AT_ONCE, share_K)
        drawn = [
            (path, name)
            for (name, paths), count in zip(by_class.items(), count_K, strict=True)
            for path in random.choice(np.array(paths, object), count, replace=False)
        ]
        images, truth = [path for path, _ in drawn], np.array([name for _, name in drawn])
        given = dict(zip(by_class, (count_K / count_K.sum()).tolist(), strict=True))
        answers = [client.models.predict(model, images, priors=priors) for priors in (None, "estimate", given)]
        plain, estimated, known = ((np.array([each.label for each in one]) == truth).mean() for one in answers)
        off = _distance(answers[1], given)
        print(f"{plain:.1%} as it is, {estimated:.1%} estimated (shares {off:.3f} off), {known:.1%} given", flush=True)


def ask(client: Client, model: str, images: list[Path]) -> list[Prediction]:
    parts = (images[start : start + AT_ONCE] for start in range(0, len(images), AT_ONCE))
    return [each for part in parts for each in client.models.predict(model, part)]


def _some(by_class: dict[str, list[Path]]) -> list[Path]:
    images = [image for paths in by_class.values() for image in paths]
    order: NDArray[np.int64] = np.random.default_rng(0).permutation(len(images))[:SHOWN]
    return [images[place] for place in order]


def _energy(each: Prediction) -> float:
    assert each.out_of_distribution is not None
    return each.out_of_distribution.energy


def _quantile(each: Prediction) -> float:
    assert each.out_of_distribution is not None
    return each.out_of_distribution.quantile


def _distance(answer: Predictions, truth: dict[str, float]) -> float:
    """Half the sum of what the shares differ by."""
    assert answer.priors is not None
    return sum(abs(answer.priors.shares[name] - share) for name, share in truth.items()) / 2


if __name__ == "__main__":
    main()
