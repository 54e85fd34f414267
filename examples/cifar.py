"""`cnn3` from CIFAR-10 to CIFAR-100, both test sets evaluated, from the two official archives.

    regraft serve --home data &
    REGRAFT_KEY=$(cat data/admin.key) python cifar.py cifar-10-python.tar.gz cifar-100-python.tar.gz

The archives are at https://www.cs.toronto.edu/~kriz/cifar.html; the binary versions do as well.
"""

import argparse
from pathlib import Path

from rich.console import Console

from regraft import Client, Unsuccessful
from regraft.cli.live import watch
from regraft.types import Dataset, Job, SplitEvaluation


def dataset(client: Client, name: str, format: str, archive: Path) -> Dataset:
    file = client.files.upload(archive)
    return client.datasets.wait(client.datasets.create(name=name, file=file.id, format=format).id)


def done(client: Client, job: Job) -> Job:
    [finished] = watch(client, [job], Console())
    if finished.status != "succeeded":
        raise Unsuccessful(finished)
    return finished


def describe(what: str, measured: SplitEvaluation | None) -> str:
    if measured is None:
        return f"{what}: not measured"
    low, high = measured.accuracy_interval
    return f"{what}: {measured.accuracy:.2%} of {measured.n:,} test images (95 %: {low:.2%} to {high:.2%})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cifar10", type=Path)
    parser.add_argument("cifar100", type=Path)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=128)
    options = parser.parse_args()
    budget = {"epochs": options.epochs, "batch_size": options.batch_size}

    with Client() as client:  # REGRAFT_URL and REGRAFT_KEY
        source = dataset(client, "CIFAR-10", "cifar10", options.cifar10)
        target = dataset(client, "CIFAR-100", "cifar100", options.cifar100)

        network = {"name": "cnn3", "num_classes": len(source.classes or [])}
        training = {"name": "train", "network": network, **budget}
        trained = done(client, client.jobs.create(name="CIFAR-10", method=training, dataset=source.id))
        checkpoint = client.checkpoints.create(name="cnn3 of CIFAR-10", model=trained.model)

        # The source's dataset is known, so the adapted model is measured on its test set as well.
        adapted = done(
            client,
            client.jobs.create(
                name="CIFAR-100",
                method={"name": "fine_tune", "backbone_factor": 1.0, **budget},
                checkpoint=checkpoint.id,
                dataset=target.id,
                source_dataset=source.id,
            ),
        )
    before, after = trained.evaluation, adapted.evaluation
    print(describe("CIFAR-10 before ", before and before.target))
    print(describe("CIFAR-100       ", after and after.target))
    print(describe("CIFAR-10 after  ", after and after.source))


if __name__ == "__main__":
    main()
