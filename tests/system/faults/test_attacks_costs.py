"""One owner's images, networks and archives against all others: the service stays small, and answers them meanwhile."""

import base64
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image
from safetensors.numpy import save

from tests import hostile_images, services
from tests.app.api.server import MIB, Api
from tests.archives import encoded, examples, zipped
from tests.services import until
from tests.system.faults import watched
from tests.system.faults.bystander import Bystander
from tests.system.faults.watched import Watched

pytestmark = pytest.mark.xdist_group("attacks_costs")  # what its fixture starts is dear

SETTINGS = {
    "REGRAFT_PREDICT_MEMORY_BYTES": str(96 * MIB),
    "REGRAFT_MAX_BODY_BYTES": str(4 * MIB),
    "REGRAFT_MAX_PREDICT_BYTES": str(64 * MIB),
    "REGRAFT_MAX_FILE_BYTES": str(1024 * MIB),
}
WIDE, WIDEST = 64, 128  # pixels a side of networks with 256 features for each pixel: 1,048,576 and 4,194,304
POINT = base64.b64encode(encoded(np.zeros((1, 1), np.uint8))).decode()  # is stretched


class Attacked:
    """API and worker under `prlimit`, others who use them as one does, and `attacker`, who does not."""

    def __init__(self, api: Api, worker: int, user: Bystander, control: Bystander) -> None:
        self.api = api
        self.attacker = api.as_owner("attacker")
        self.attacker.timeout = 120
        self.wide = checkpoint(self.attacker, WIDE)
        predict(self.attacker, self.wide["id"], [POINT])
        until(lambda: not _steps(worker))
        self.others = Watched([api.process.pid, worker], user, control)

    def send(self, image: bytes, kind: str) -> httpx.Response:
        """For a prediction."""
        path = f"/v1/checkpoints/{self.wide['id']}/predictions"
        return self.attacker.post(path, content=image, headers={"Content-Type": kind})


def _steps(worker: int) -> list[int]:
    """The children that run steps: each leads a session of its own."""
    found = []
    for child in psutil.Process(worker).children(recursive=True):
        with suppress(ProcessLookupError):
            found += [child.pid] if os.getsid(child.pid) == child.pid else []
    return found


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp
    with (
        watched.used(folder("attacked"), **SETTINGS) as (api, user),
        watched.used(folder("spared")) as (_, control),
        api.log.open("ab") as log,
    ):
        command, environment = [sys.executable, "-m", "worker"], api.environment | services.QUICK
        worker = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield Attacked(api, worker.pid, user, control)
        finally:
            worker.terminate()
            worker.wait(60)


def got(response: httpx.Response, status: int) -> Any:
    assert response.status_code == status, response.text
    return response.json()


def ended(client: httpx.Client, path: str) -> dict[str, Any]:
    return until(lambda: (found := got(client.get(path), 200))["status"] != "processing" and found, 180)


def checkpoint(client: httpx.Client, side: int) -> dict[str, Any]:
    """A network whose head sees 256 numbers of each pixel."""
    channels = 256
    generator = np.random.default_rng(0)
    width = channels * side * side
    shapes = {"0.weight": (channels, 1, 1, 1), "0.bias": (channels,), "2.weight": (2, width), "2.bias": (2,)}
    tensors = {name: generator.normal(0, 1e-3, shape).astype(np.float32) for name, shape in shapes.items()}
    file = got(client.post("/v1/files", content=save(tensors), params={"filename": "w.safetensors"}), 201)["id"]
    first = {"type": "Conv2d", "out_channels": channels, "kernel_size": 1}
    layers = [first, {"type": "Flatten"}, {"type": "Linear", "out_features": 2}]
    network = {"name": "layers", "num_classes": 2, "options": {"input": [1, side, side], "layers": layers}}
    input = {"size": [side, side], "channels": 1, "mean": [0.5], "std": [0.5]}
    body = {"name": "wide", "file": file, "network": network, "input": input}
    made = ended(client, f"/v1/checkpoints/{got(client.post('/v1/checkpoints', json=body), 202)['id']}")
    assert made["status"] == "ready", made["error"]
    return made


def dataset(client: httpx.Client, data: bytes) -> dict[str, Any]:
    file = got(client.post("/v1/files", content=data), 201)["id"]
    made = got(client.post("/v1/datasets", json={"name": "d", "file": file}), 202)
    return ended(client, f"/v1/datasets/{made['id']}")


def predict(client: httpx.Client, checkpoint_id: str, images: list[str]) -> httpx.Response:
    return client.post(f"/v1/checkpoints/{checkpoint_id}/predictions", json={"images": images})


def test_many_images_in_a_wide_network(attacked: Attacked) -> None:
    """30 kB of a request; features of a gigabyte and a half, that nobody asked for."""
    assert attacked.wide["servable"]
    with attacked.others.attacked(), ThreadPoolExecutor(2) as pool:
        for answer in pool.map(lambda _: predict(attacked.attacker, attacked.wide["id"], 400 * [POINT]), range(2)):
            assert len(got(answer, 200)["data"]) == 400


def test_a_network_that_takes_too_much_for_one_image_is_not_servable(attacked: Attacked) -> None:
    widest = checkpoint(attacked.attacker, WIDEST)  # in a child of the worker, which has a limit of its own
    with attacked.others.attacked():
        refused = predict(attacked.attacker, widest["id"], [POINT])
    assert not widest["servable"]
    assert "One image takes" in widest["not_servable"]
    assert (refused.status_code, refused.json()["code"]) == (409, "not_servable")
    assert refused.json()["detail"] == widest["not_servable"]


def test_images_of_very_many_scans(attacked: Attacked) -> None:
    scans = hostile_images.many_scans(3000, 400)
    with attacked.others.attacked(), ThreadPoolExecutor(4) as pool:
        refused = list(pool.map(lambda _: attacked.send(scans, "image/jpeg"), range(8)))
    assert {answer.status_code for answer in refused} == {422}
    assert "scans" in refused[0].json()["detail"]


def test_the_largest_images_there_are(attacked: Attacked) -> None:
    """A dozen of 49 megapixels at once, each a second's work and 400 MB: they take turns, others do not wait."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    Image.fromarray(np.tile(noise, (109, 109))).save(buffer, "PNG", compress_level=1)
    large = buffer.getvalue()
    with attacked.others.attacked(), ThreadPoolExecutor(12) as pool:
        for answer in pool.map(lambda _: attacked.send(large, "image/png"), range(12)):
            got(answer, 200)


def test_an_archive_of_such_images(attacked: Attacked) -> None:
    sound = {f"{n % 2}/{n}.png": encoded(image) for n, image in enumerate(examples(20, 2).images)}
    scans = {f"0/{n}.jpg": hostile_images.many_scans(3000, 400) for n in range(4)}
    with attacked.others.attacked():
        made = dataset(attacked.attacker, zipped(sound | scans))
    assert made["status"] == "ready", made["error"]
    assert sum(made["splits"].values()) == 20
    assert {refused["name"] for refused in made["refused"]} == set(scans)


def test_an_archive_that_becomes_very_many_pixels(attacked: Attacked) -> None:
    flat = zipped({f"{n % 2}/{n}.png": hostile_images.flat(512) for n in range(300)})
    with attacked.others.attacked():
        made = dataset(attacked.attacker, flat)
    assert (made["status"], made["error"]["code"]) == ("failed", "archive_bomb")
    assert not any((attacked.api.home / "scratch").rglob("*.bin"))
