"""Networks that others trained and published, by `evaluate` on the images that their figures are of.

    python benchmarks/published.py --images FOLDER resnet20-12fca82f.th resnet44-014dd654.th …

`FOLDER` has CIFAR-10's test images, `airplane/*.png` to `truck/*.png` (the repository cyizhuo/CIFAR-10-dataset has
them so, under `test`).  The files are those of akamaster/pytorch_resnet_cifar10, under `pretrained_models`.  API and
worker are real processes, all goes over HTTP.  Prints each network's error in percent.
"""

import argparse
import re
import tempfile
import zipfile
from pathlib import Path

from regraft import Client
from regraft.processes import Server

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("weights", type=Path, nargs="+")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        with (
            (home / "log").open("wb") as log,
            Server(home, port=0, log=log) as server,
            Client(server.url, key=server.key_file.read_text().strip()) as client,
        ):
            file = client.files.upload(packed(options.images, home / "test.zip"))
            dataset = client.datasets.wait(client.datasets.create(name="CIFAR-10, test", file=file.id).id)
            for path in options.weights:
                print(f"{path.name}: {error(client, dataset.id, path):.2f} %", flush=True)


def packed(images: Path, path: Path) -> Path:
    """The images as an archive that has a test split alone."""
    with zipfile.ZipFile(path, "w") as archive:
        for image in sorted(images.rglob("*.png")):
            archive.write(image, Path("test") / image.relative_to(images))
    return path


def error(client: Client, dataset: str, path: Path) -> float:
    """The share of wrong answers, in percent; the file's name says how deep its network is."""
    depth = re.search(r"resnet(\d+)", path.name)
    if depth is None:
        raise SystemExit(f"{path.name} does not say how deep its network is: resnet20…, resnet44…")
    network = {"name": "cifar_resnet", "num_classes": len(CLASSES), "options": {"depth": int(depth[1])}}
    file = client.files.upload(path)
    created = client.checkpoints.create(name=path.stem, file=file.id, network=network, classes=CLASSES)
    checkpoint = client.checkpoints.wait(created.id)
    job = client.jobs.wait(
        client.jobs.create(method={"name": "evaluate"}, checkpoint=checkpoint.id, dataset=dataset).id
    )
    if job.evaluation is None or job.evaluation.target is None:
        raise SystemExit(f"{path.name} was not evaluated: {job.error}")
    return 100 * (1 - job.evaluation.target.accuracy)


if __name__ == "__main__":
    main()
