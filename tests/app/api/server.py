"""The API as a process of its own, and keys to it."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from regraft.processes import free_port
from tests.services import answers, until

MIB = 1024 * 1024
SMALL = {  # caps that a test can reach
    "REGRAFT_MAX_BODY_BYTES": str(64 * 1024),
    "REGRAFT_MAX_FILE_BYTES": str(4 * MIB),
    "REGRAFT_MAX_PREDICT_BYTES": str(MIB),
    "REGRAFT_MIN_FREE_BYTES": "0",
    "REGRAFT_LOG_LEVEL": "warning",
}


class Api:
    """`root` speaks for the owner of the first key; `as_owner` for somebody else, `anybody` for nobody."""

    def __init__(self, home: Path, database_url: str, **settings: str) -> None:
        self.home, self.database_url = home, database_url
        self.port = free_port("127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / "api.log"
        self._owners = itertools.count()
        self._clients: list[httpx.Client] = []
        self._settings = SMALL | settings
        self.start()
        self.anybody = self.client("")
        self.root = self.client((home / "admin.key").read_text().strip())

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | environment(self.home, self.database_url, self.port) | self._settings

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "app"]
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        until(self._ready, 30)

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(30)

    def client(self, key: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        client = httpx.Client(base_url=self.url, headers=headers, timeout=30, verify=False)  # see `services.answers`
        self._clients.append(client)
        return client

    def key(self, owner: str, *scopes: str) -> str:
        body = {"name": f"key of {owner}", "owner": owner, "scopes": list(scopes or ("read", "write", "predict"))}
        response = self.root.post("/v1/keys", json=body)
        assert response.status_code == 201, response.text
        return response.json()["key"]

    def as_owner(self, owner: str, *scopes: str) -> httpx.Client:
        return self.client(self.key(owner, *scopes))

    def new_owner(self) -> str:
        return f"owner-{next(self._owners)}"

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.stop()

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return answers(f"{self.url}/readyz")


def environment(home: Path, database_url: str, port: int = 0) -> dict[str, str]:
    return {
        "REGRAFT_HOME": str(home),
        "REGRAFT_DATABASE_URL": database_url,
        "REGRAFT_HOST": "127.0.0.1",
        "REGRAFT_PORT": str(port),
    }


@contextmanager
def serving(home: Path, database_url: str, **settings: str) -> Iterator[Api]:
    home.mkdir(parents=True, exist_ok=True)
    api = Api(home, database_url, **settings)
    try:
        yield api
    finally:
        api.close()
