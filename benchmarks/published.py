"""Networks that others trained and published, by `evaluate` on the images that their figures are of.

    python benchmarks/published.py --images FOLDER resnet20-12fca82f.th resnet44-014dd654.th …

`FOLDER` has CIFAR-10's test images, `airplane/*.png` to `truck/*.png` (the repository cyizhuo/CIFAR-10-dataset has
them so, under `test`).  The files are those of akamaster/pytorch_resnet_cifar10, under `pretrained_models`.  API and
worker are real processes, all goes over HTTP.  Prints each network's error in percent.
"""

import argparse
import re
import tempfile
from pathlib import Path

from contest import photographs
from contest.service import Bench, opened


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("weights", type=Path, nargs="+")
    options = parser.parse_args()
    test = photographs.classes(options.images)
    with tempfile.TemporaryDirectory() as name, opened(Path(name)) as (_, bench):
        dataset = bench.dataset("CIFAR-10, test", lambda path: photographs.pack(path, {"test": test}))
        for path in options.weights:
            print(f"{path.name}: {error(bench, dataset, path, list(test)):.2f} %", flush=True)


def error(bench: Bench, dataset: str, path: Path, classes: list[str]) -> float:
    """The share of wrong answers, in percent; the file's name says how deep its network is."""
    depth = re.search(r"resnet(\d+)", path.name)
    if depth is None:
        raise SystemExit(f"{path.name} does not say how deep its network is: resnet20…, resnet44…")
    network = {"name": "cifar_resnet", "num_classes": len(classes), "options": {"depth": int(depth[1])}}
    checkpoint = bench.checkpoint(path.stem, path, network=network, classes=classes)
    outcome = bench.job(path.stem, method={"name": "evaluate"}, checkpoint=checkpoint, dataset=dataset)
    if outcome.target is None:
        raise SystemExit(f"{path.name} was not evaluated: {outcome.refused}")
    return 100 * (1 - outcome.target)


if __name__ == "__main__":
    main()
