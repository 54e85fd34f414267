"""From two archives of images to an adapted model, with the Python client.

    regraft serve --home data &
    REGRAFT_KEY=$(cat data/admin.key) python quickstart.py source.zip target.zip

Each archive is a zip of class folders, or any other form that `POST /v1/datasets` takes.
"""

import sys
from pathlib import Path

from regraft import Client
from regraft.types import Dataset, Job


def upload(client: Client, path: Path) -> Dataset:
    file = client.files.upload(
        path, progress=lambda done, total: print(f"\r{path.name}: {done:,} of {total:,}", end="")
    )
    print()
    return client.datasets.wait(client.datasets.create(name=path.stem, file=file.id).id)


def run(client: Client, job: Job) -> Job:
    for event in client.jobs.stream(job.id):
        print(f"  {event.at:%H:%M:%S} {event.message}")
    return client.jobs.wait(job.id)  # raises where it did not succeed


def main(source_archive: Path, target_archive: Path) -> None:
    with Client() as client:  # REGRAFT_URL and REGRAFT_KEY
        source, target = upload(client, source_archive), upload(client, target_archive)

        network = {"name": "cnn3", "num_classes": len(source.classes or [])}
        trained = run(client, client.jobs.create(method={"name": "train", "network": network}, dataset=source.id))

        adapted = run(
            client,
            client.jobs.create(
                method={"name": "fine_tune", "labels_per_class": 5},
                checkpoint=trained.model,
                dataset=target.id,
            ),
        )
        assert adapted.model is not None
        assert adapted.evaluation is not None
        measured = adapted.evaluation.target
        low, high = measured.accuracy_interval
        print(f"Accuracy on {measured.n} test images: {measured.accuracy:.1%} (95 %: {low:.1%} to {high:.1%})")

        print("Weights:", client.models.download(adapted.model, "."))
        print("Served: ", client.models.download(adapted.model, ".", format="onnx"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
