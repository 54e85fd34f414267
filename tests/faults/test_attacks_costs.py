"""One owner's images, networks and archives against all others: the service stays small, and answers them meanwhile."""

import base64
import io
import resource
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image
from safetensors.numpy import save

import databases
import hostile_images
import services
from archives import encoded, examples, zipped
from services import Service, until

MIB = 2**20
ROOM = 1024 * MIB  # above what the API has when nobody asks for anything
SETTINGS = {"REGRAFT_PREDICT_MEMORY_BYTES": str(96 * MIB)}
WIDE, WIDEST = 64, 128  # pixels a side of networks with 256 features for each pixel: 1,048,576 and 4,194,304
PICTURE = encoded(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8))  # decoded in a thread
POINT = base64.b64encode(encoded(np.zeros((1, 1), np.uint8))).decode()  # and is stretched


class Attacked:
    """API and worker, of which the API is under `prlimit`; `user` uses them as one does, `attacker` does not."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.user, self.attacker = (_client(service, owner) for owner in ("user", "attacker"))
        self.small = checkpoint(self.user, 4, 2)
        self.wide = checkpoint(self.attacker, WIDE)
        self.ask()
        predict(self.attacker, self.wide["id"], [POINT])
        self.process = psutil.Process(service.api.pid)
        self.idle = self.process.memory_info().rss
        used = self.process.memory_info().data
        resource.prlimit(service.api.pid, resource.RLIMIT_DATA, (used + ROOM, used + ROOM))

    def ask(self) -> None:
        """A poll and a prediction."""
        got(self.user.get(f"/v1/checkpoints/{self.small['id']}"), 200)
        headers = {"Content-Type": "image/png"}
        got(self.user.post(f"/v1/checkpoints/{self.small['id']}/predictions", content=PICTURE, headers=headers), 200)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """The API stays within bounds meanwhile, and lives."""
        over, peaks = threading.Event(), [0]

        def look() -> None:
            while not over.wait(0.01):
                peaks.append(self.process.memory_info().rss)

        with ThreadPoolExecutor(1) as pool:
            looking = pool.submit(look)
            try:
                yield
            finally:
                over.set()
            looking.result(60)
        assert max(peaks) - self.idle < ROOM
        assert self.service.api.poll() is None, self.service.log

    def answered_before(self, attack: Callable[[], httpx.Response], times: int) -> list[httpx.Response]:
        """What `times` attacks at once are answered; the user is answered again and again before the last of them."""
        with ThreadPoolExecutor(times) as pool:
            under_way = [pool.submit(attack) for _ in range(times)]
            time.sleep(0.2)  # not needed for the test to pass: it is harder so
            asked = 0
            while not all(map(Future.done, under_way)):
                self.ask()
                asked += not all(map(Future.done, under_way))
            answers = [one.result(60) for one in under_way]
        assert asked >= 2
        return answers


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    home = tmp_path_factory.mktemp("home")
    with (
        databases.opened("sqlite", tmp_path_factory.mktemp("sqlite")) as opened,
        services.running(home, opened.migrated(), **SETTINGS) as service,
    ):
        attacked = Attacked(service)
        yield attacked
        attacked.user.close()
        attacked.attacker.close()


def _client(service: Service, owner: str) -> httpx.Client:
    body = {"name": owner, "owner": owner, "scopes": ["read", "write", "predict"]}
    admin = {"Authorization": f"Bearer {service.client_key}"}
    key = got(httpx.post(f"{service.url}/v1/keys", json=body, headers=admin), 201)["key"]
    return httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {key}"}, timeout=120)


def got(response: httpx.Response, status: int) -> Any:
    assert response.status_code == status, response.text
    return response.json()


def ended(client: httpx.Client, path: str) -> dict[str, Any]:
    return until(lambda: (found := got(client.get(path), 200))["status"] != "processing" and found, 180)


def checkpoint(client: httpx.Client, side: int, channels: int = 256) -> dict[str, Any]:
    """A network whose head sees `channels` numbers of each pixel."""
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
    with attacked.watched():
        for answer in attacked.answered_before(
            lambda: predict(attacked.attacker, attacked.wide["id"], 400 * [POINT]), times=2
        ):
            assert len(got(answer, 200)["data"]) == 400


def test_a_network_that_takes_too_much_for_one_image_is_not_servable(attacked: Attacked) -> None:
    widest = checkpoint(attacked.attacker, WIDEST)
    assert not widest["servable"]
    assert "One image takes" in widest["not_servable"]
    refused = predict(attacked.attacker, widest["id"], [POINT])
    assert (refused.status_code, refused.json()["code"]) == (409, "not_servable")
    assert refused.json()["detail"] == widest["not_servable"]


def test_images_of_very_many_scans(attacked: Attacked) -> None:
    scans = hostile_images.many_scans(3000, 400)

    def attack() -> httpx.Response:
        path, headers = f"/v1/checkpoints/{attacked.wide['id']}/predictions", {"Content-Type": "image/jpeg"}
        return attacked.attacker.post(path, content=scans, headers=headers)

    with attacked.watched():
        refused = [attack() for _ in range(8)]
        attacked.ask()
    assert {answer.status_code for answer in refused} == {422}
    assert "scans" in refused[0].json()["detail"]


def test_the_largest_images_there_are(attacked: Attacked) -> None:
    """A dozen of 49 megapixels at once, each a second's work and 400 MB: they take turns, others do not wait."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    Image.fromarray(np.tile(noise, (109, 109))).save(buffer, "PNG", compress_level=1)
    large = buffer.getvalue()

    def attack() -> httpx.Response:
        path, headers = f"/v1/checkpoints/{attacked.wide['id']}/predictions", {"Content-Type": "image/png"}
        return attacked.attacker.post(path, content=large, headers=headers)

    with attacked.watched():
        for answer in attacked.answered_before(attack, times=12):
            got(answer, 200)


def test_an_archive_of_such_images(attacked: Attacked) -> None:
    sound = {f"{n % 2}/{n}.png": encoded(image) for n, image in enumerate(examples(20, 2).images)}
    scans = {f"0/{n}.jpg": hostile_images.many_scans(3000, 400) for n in range(4)}
    made = dataset(attacked.attacker, zipped(sound | scans))
    assert made["status"] == "ready", made["error"]
    assert sum(made["splits"].values()) == 20
    assert {refused["name"] for refused in made["refused"]} == set(scans)


def test_an_archive_that_becomes_very_many_pixels(attacked: Attacked) -> None:
    flat = zipped({f"{n % 2}/{n}.png": hostile_images.flat(512) for n in range(300)})
    made = dataset(attacked.attacker, flat)
    assert (made["status"], made["error"]["code"]) == ("failed", "archive_bomb")
    assert not any((attacked.service.home / "scratch").rglob("*.bin"))
