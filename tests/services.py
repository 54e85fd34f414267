"""A whole service for tests: API and worker as real processes on a database of their own, which can be killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from regraft import Client
from regraft.processes import free_port

READY_S = 60.0
QUICK = {  # leases and beats for machines whose cores are shared by many tests
    "REGRAFT_LEASE_S": "6",
    "REGRAFT_BEAT_S": "1",
    "REGRAFT_POLL_S": "0.05",
    "REGRAFT_SNAPSHOT_EVERY_S": "0.5",
    "OMP_NUM_THREADS": "1",
    "REGRAFT_LOG_LEVEL": "warning",
}


class Service:
    """`home` holds what it stores; `client` speaks for the first key's owner."""

    def __init__(self, home: Path, database_url: str, **settings: str) -> None:
        self.home, self.database_url = home, database_url
        self.url = f"http://127.0.0.1:{(port := free_port('127.0.0.1'))}"
        self.environment = os.environ | QUICK | settings
        self.environment |= {
            "REGRAFT_HOME": str(home),
            "REGRAFT_DATABASE_URL": database_url,
            "REGRAFT_HOST": "127.0.0.1",
            "REGRAFT_PORT": str(port),
        }
        self._log = (home / "service.log").open("ab")
        self._beside: list[subprocess.Popen[bytes]] = []
        self.api = self._start("app")
        self.worker = self._start("worker")
        until(self._ready, READY_S)
        self.client_key = (home / "admin.key").read_text().strip()
        self.client = Client(self.url, key=self.client_key)

    def _start(self, module: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", module]
        return subprocess.Popen(command, env=self.environment, stdout=self._log, stderr=self._log)

    def _ready(self) -> bool:
        assert self.api.poll() is None, self.log
        return answers(f"{self.url}/readyz")

    @property
    def log(self) -> str:
        return (self.home / "service.log").read_text()

    def kill_worker(self, number: int = signal.SIGKILL) -> None:
        """The supervisor alone: whatever it started must end by itself."""
        self.worker.send_signal(number)
        self.worker.wait(60)

    def start_worker(self) -> None:
        """In the place of the one before, or beside it."""
        self._beside.append(self.worker)
        self.worker = self._start("worker")

    def settle(self) -> None:
        """Make it as a new one is, whatever was done to it: one worker, and nothing that it has to do."""
        for worker in self._beside:
            _stop(worker)
        if self.worker.poll() is not None:
            self.start_worker()
        unfinished = [job.id for job in self.client.jobs.list() if not job.finished]
        for job in unfinished:
            self.client.jobs.cancel(job)
        until(lambda: all(self.client.jobs.get(job).finished for job in unfinished))
        until(lambda: not self.running_steps() and not any((self.home / "scratch").iterdir()))

    def children(self) -> list[psutil.Process]:
        """Everything below the worker: the fork-server and the steps that it runs."""
        return psutil.Process(self.worker.pid).children(recursive=True)

    def running_steps(self) -> list[psutil.Process]:
        """The children that run steps: each leads a session of its own."""
        return [child for child in self.children() if os.getsid(child.pid) == child.pid]

    def close(self) -> None:
        self.client.close()
        for process in (self.api, self.worker, *self._beside):
            _stop(process)
        self._log.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.send_signal(signal.SIGCONT)  # a test that failed may have left it asleep
    process.wait(60)


@contextmanager
def running(home: Path, database_url: str, **settings: str) -> Iterator[Service]:
    home.mkdir(parents=True, exist_ok=True)
    service = Service(home, database_url, **settings)
    try:
        yield service
    finally:
        service.close()


@contextmanager
def another_api(service: Service, **settings: str) -> Iterator[tuple[Client, int]]:
    """One more API on the same database and files, with networks in PyTorch; its client and its process."""
    port = free_port("127.0.0.1")
    more = {"REGRAFT_PORT": str(port), "REGRAFT_SERVING_BACKEND": "torch", "REGRAFT_DEVICE": "cpu"}
    command = [sys.executable, "-m", "app"]
    with (service.home / "another.log").open("ab") as log:
        process = subprocess.Popen(command, env=service.environment | more | settings, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(f"{url}/readyz"), READY_S)
        with Client(url, key=service.client_key) as client:
            yield client, process.pid
    finally:
        process.terminate()
        process.wait(30)


def answers(url: str) -> bool:
    """Plain HTTP: to read the certificates, which httpx does for each client, takes longer than all else."""
    try:
        return httpx.get(url, verify=False).status_code == 200
    except httpx.TransportError:
        return False


def beside(api: int) -> list[psutil.Process]:
    """The PyTorch processes that an API has beside it, those that live."""
    found = []
    for child in psutil.Process(api).children():
        try:
            if "worker.torch_server" in child.cmdline():
                found.append(child)
        except (psutil.ZombieProcess, psutil.NoSuchProcess):
            continue
    return found


def until(met: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """What `met` gives, once it is true.  Whoever asks too often takes the processor from what is waited for."""
    begun, pause_s = time.monotonic(), 0.01
    while not (found := met()):
        assert time.monotonic() < begun + timeout_s, f"not met within {timeout_s:g} s"
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, 0.1)
    return found
