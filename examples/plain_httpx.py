"""The same service without a client of ours: plain HTTP from any language looks like this.

    regraft serve --home data &
    REGRAFT_KEY=$(cat data/admin.key) python plain_httpx.py images.zip image.png

Trains a small network, described as data, on a zip of class folders; then classifies one image.
"""

import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import httpx

LAYERS = [
    {"name": "conv", "type": "Conv2d", "out_channels": 16, "kernel_size": 3, "padding": 1},
    {"type": "ReLU"},
    {"type": "MaxPool2d", "kernel_size": 2},
    {"type": "Flatten"},
]


def post(http: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    # The key makes it safe to send the request again when the answer was lost.
    response = http.post(path, json=body, headers={"Idempotency-Key": uuid.uuid4().hex})
    return answer(response)


def answer(response: httpx.Response) -> dict[str, Any]:
    document: dict[str, Any] = response.json()
    if response.is_error:
        sys.exit(f"{document['detail']} ({document['code']})")
    return document


def finished(http: httpx.Client, path: str) -> dict[str, Any]:
    while True:
        found = answer(http.get(path))
        if found["status"] in ("ready", "succeeded"):
            return found
        if found["status"] in ("failed", "cancelled"):
            sys.exit(f"{path}: {found['status']}, {found['error']}")
        time.sleep(0.2)


def main(archive: Path, image: Path) -> None:
    url = os.environ.get("REGRAFT_URL", "http://127.0.0.1:8000")
    headers = {"Authorization": f"Bearer {os.environ['REGRAFT_KEY']}"}
    with httpx.Client(base_url=f"{url}/v1", headers=headers, timeout=60) as http:
        with archive.open("rb") as stream:
            file = answer(http.post("files", params={"filename": archive.name}, content=stream))
        created = post(http, "datasets", {"name": archive.stem, "file": file["id"]})
        dataset = finished(http, f"datasets/{created['id']}")
        classes, shape = len(dataset["classes"]), dataset["image"]
        print(f"{dataset['name']}: {dataset['splits']} images of {classes} classes, {shape}")

        layers = [*LAYERS, {"name": "head", "type": "Linear", "out_features": classes}]
        network = {"name": "layers", "num_classes": classes, "options": {"layers": layers}}
        method = {"name": "train", "network": network, "epochs": 5}
        job = post(http, "jobs", {"dataset": dataset["id"], "method": method})
        job = finished(http, f"jobs/{job['id']}")
        print(f"{job['id']}: test accuracy {job['evaluation']['target']['accuracy']:.1%}")

        media = {"Content-Type": f"image/{image.suffix.removeprefix('.')}"}
        predictions = f"models/{job['model']}/predictions"
        found = answer(http.post(predictions, params={"top_k": 3}, content=image.read_bytes(), headers=media))
        for one in found["data"][0]["top"]:
            print(f"{one['label']}: {one['probability']:.1%}")

        weights = http.get(f"models/{job['model']}/weights").raise_for_status().content
        print(f"{len(weights):,} bytes of weights")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
