"""How long it takes to begin: the API until it answers, a job until it trains.

    python benchmarks/startup.py [--rounds 7]

Real processes, real digits: `python -m app` on a migrated database until `/readyz` is 200; then, with a worker that is
warm, from the submission of a job on a dataset that was used before to its event `training`, by the database's clock.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

import ledger
from regraft import Client
from regraft.demo.data import optdigits
from regraft.processes import Server, environment, free_port

METHOD = {"name": "train", "network": {"name": "cnn3", "num_classes": 10}, "epochs": 1, "batch_size": 64}


@contextmanager
def alone(home: Path) -> Iterator[str]:
    """The API on a migrated database, without a worker; gives its URL once it answers."""
    port = free_port("127.0.0.1")
    url = f"http://127.0.0.1:{port}"
    with (home / "api.log").open("ab") as log:
        command = [sys.executable, "-m", "app"]
        process = subprocess.Popen(command, env=environment(home=home, port=port), stdout=log, stderr=log)
        try:
            while not answers(f"{url}/readyz"):
                time.sleep(0.005)
            yield url
        finally:
            process.terminate()
            process.wait()


def ready_s(home: Path) -> float:
    began = time.perf_counter()
    with alone(home):
        return time.perf_counter() - began


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def training_s(client: Client, dataset: str) -> float:
    job = client.jobs.wait(client.jobs.create(method=METHOD, dataset=dataset).id, timeout_s=120)
    [began] = [event.at for event in client.jobs.events(job.id) if event.type == "training"]
    return (began - job.created_at).total_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        with (home / "log").open("wb") as log, Server(home, port=0, log=log) as server:
            client = Client(server.url, key=server.key_file.read_text().strip())
            optdigits(home / "optdigits.zip")
            file = client.files.upload(home / "optdigits.zip")
            dataset = client.datasets.wait(client.datasets.create(name="d", file=file.id).id, timeout_s=120).id
            training_s(client, dataset)
            jobs = [training_s(client, dataset) for _ in range(options.rounds)]
        starts = [ready_s(home) for _ in range(options.rounds)]
    rows = [
        ledger.measured("the API, from its start to its first answer", starts, unit="s", limit=("≤", 1.5)),
        ledger.measured("a job, from its submission to its training", jobs, unit="s", limit=("≤", 0.3)),
    ]
    for row in rows:
        print(row)
    ledger.write("start", "python benchmarks/startup.py", rows)


if __name__ == "__main__":
    main()
