"""The command `regraft`: the nouns against a running service, and the server that it starts and stops itself."""

import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from regraft import Client
from regraft.processes import free_port
from tests import digits, probed, weights_files
from tests.services import QUICK, answers, until

pytestmark = pytest.mark.any_database


def environment(**changes):
    plain = {name: value for name, value in os.environ.items() if not name.startswith("REGRAFT_")}
    return plain | QUICK | changes


@pytest.fixture(scope="module")
def regraft(service):
    """Runs the command against the shared service, gives (exit code, standard output, standard error)."""

    def run(*arguments, key=service.client_key, timeout=120):
        settings = environment(REGRAFT_URL=service.url, REGRAFT_KEY=key, COLUMNS="200")
        command = [sys.executable, "-m", "regraft", *map(str, arguments)]
        done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=timeout)
        return done.returncode, done.stdout, done.stderr

    return run


def as_json(result):
    code, out, err = result
    assert code == 0, err
    return json.loads(out)


def test_identify_says_which_network_a_file_is_of(regraft, tmp_path):
    """Of two that it fits alike the usual one, and with labelled images the one that is right."""
    usual, other = "timm/mobilenetv3_small_075", "timm/tf_mobilenetv3_small_075"
    archive, weights = digits.optdigits_folders(tmp_path / "digits.zip", probed.PER_CLASS), tmp_path / "weights.pt"
    weights.write_bytes(weights_files.saved(probed.weights(other)))
    found = as_json(regraft("checkpoints", "identify", weights, "--json"))
    assert (found["object"], found["status"], found["rule"]) == ("identification", "ready", "names")
    first = found["candidates"][0]
    assert (first["network"]["name"], first["ambiguous_with"]) == (usual, [other])
    code, shown, err = regraft("checkpoints", "identify", found["file"])  # a file that is there needs no upload
    assert code == 0, err
    assert f"{usual}, 10 classes: fit 100%" in shown
    assert "network_ambiguous" in shown
    dataset = as_json(regraft("datasets", "create", "digits", "--file", archive, "--json"))["id"]
    code, shown, err = regraft("checkpoints", "identify", found["file"], "--dataset", dataset)
    assert code == 0, err
    assert f"{other}, 10 classes: fit 100%, right on 100.0%" in shown
    assert f"{dataset}: 140 train, 20 validation images, decided" in shown
    weights.write_bytes(weights_files.saved(probed.weights(other, 64)))
    input = json.dumps({"size": [64, 64], "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3})
    file = ("--file", weights, "--input", input)
    made = regraft("checkpoints", "create", "c", *file, "--dataset", dataset, "--json", timeout=280)
    assert as_json(made)["network"]["name"] == other
    code, _, err = regraft("checkpoints", "identify", tmp_path / "missing.pt")
    assert code != 0
    assert "missing.pt" in err


def test_from_archive_to_prediction(regraft, tmp_path):
    archive, image = digits.optdigits_folders(tmp_path / "digits.zip", 20), tmp_path / "digit.png"
    image.write_bytes(digits.one_png(4))
    dataset = as_json(regraft("datasets", "create", "digits", "--file", archive, "--json"))
    assert dataset["status"] == "ready"
    corrections = tmp_path / "labels.csv"
    corrections.write_text("file,label\n0/0000.png,4\nnowhere.png,4\n")
    revision = as_json(regraft("datasets", "revise", dataset["id"], corrections, "--name", "corrected", "--json"))
    assert (revision["name"], revision["parent"], revision["revision"]["unknown"]) == ("corrected", dataset["id"], 1)
    code, shown, _ = regraft("datasets", "get", revision["id"])
    assert code == 0
    assert "1 of images that are not there" in " ".join(shown.split())
    network = tmp_path / "network.json"
    network.write_text(json.dumps({"network": digits.TINY, "epochs": 2}))
    job = as_json(
        regraft("jobs", "create", "train", "--dataset", dataset["id"], "--params", f"@{network}", "--watch", "--json")
    )
    assert job["status"] == "succeeded"
    code, shown, err = regraft("jobs", "get", job["id"])
    assert (code, err) == (0, "")
    assert job["model"] in shown
    checkpoint = as_json(regraft("checkpoints", "create", "mine", "--model", job["model"], "--json"))
    rule = as_json(regraft("checkpoints", "recipe", checkpoint["id"]))
    assert rule == as_json(regraft("models", "recipe", job["model"]))
    assert (rule["version"], rule["epochs"]) == (1, 2)
    probe = as_json(
        regraft(
            "jobs", "create", "linear_probe", "--checkpoint", checkpoint["id"], "--dataset", dataset["id"],
            "-s", "labels_per_class=5", "-s", "epochs=2", "--watch", "--json",
        )
    )  # fmt: skip
    assert probe["method"]["labels_per_class"] == 5
    code, table, _ = regraft("predict", probe["model"], image, "--top-k", 2)
    assert code == 0
    assert "digit.png" in table
    downloaded = as_json(regraft("models", "download", probe["model"], tmp_path, "--json"))
    assert Path(downloaded["path"]).stat().st_size == downloaded["bytes"]
    points = as_json(regraft("jobs", "metrics", probe["id"], "--name", "loss", "--json"))
    assert points
    events = as_json(regraft("jobs", "events", probe["id"], "--json"))
    assert events[-1]["type"] == "succeeded"


@pytest.mark.parametrize("noun", ["files", "datasets", "checkpoints", "jobs", "models", "keys"])
def test_every_noun_lists(regraft, noun):
    assert isinstance(as_json(regraft(noun, "list", "--json")), list)
    assert regraft(noun, "list")[0] == 0


def test_what_can_be_named(regraft, service):
    until(lambda: any(True for _ in service.client.networks.list()), 120)  # the worker has told what it can build
    assert {"train", "evaluate", "fine_tune", "linear_probe"} <= {
        m["name"] for m in as_json(regraft("methods", "--json"))
    }
    assert {"cnn3", "layers", "torchvision/resnet18"} <= {n["name"] for n in as_json(regraft("networks", "--json"))}


def test_failures_have_a_sentence_and_an_exit_code(regraft, tmp_path):
    code, out, err = regraft("jobs", "get", "job_nosuchjobatall")
    assert (code, out) == (1, "")
    assert "not_found" in err
    assert "Traceback" not in err
    assert regraft("jobs", "list", key="rg_wrong")[0] == 1
    assert regraft("jobs", "nonsense")[0] == 2
    assert regraft("jobs", "list", "--url", f"http://127.0.0.1:{free_port('127.0.0.1')}", timeout=60)[0] == 3
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    code, _, err = regraft("datasets", "create", "bad", "--file", tmp_path / "bad.zip")
    assert code == 4
    assert "not_an_archive" in err


def test_serve_is_one_command(tmp_path):
    """From an empty folder: migrated, ready, closed to others; Ctrl-C ends all of it; a second start goes on."""
    home, port = tmp_path / "home", free_port("127.0.0.1")
    (home / "blobs").mkdir(parents=True, mode=0o755)
    for _ in range(2):
        command = [sys.executable, "-m", "regraft", "serve", "--home", str(home), "--port", str(port)]
        with (tmp_path / "log").open("ab") as log:
            serving = subprocess.Popen(command, env=environment(), stdout=log, stderr=log)
        try:
            until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), 60)
            key = home / "admin.key"
            assert stat.S_IMODE(key.stat().st_mode) == 0o600
            headers = {"Authorization": f"Bearer {key.read_text().strip()}"}
            assert httpx.get(f"http://127.0.0.1:{port}/v1/jobs", headers=headers).status_code == 200
            uploaded = httpx.post(f"http://127.0.0.1:{port}/v1/files", headers=headers, content=b"private")
            assert uploaded.status_code == 201
            until((home / "scratch").exists)  # the worker is there, too
            open_to_others = [path for path in (home, *home.rglob("*")) if path.lstat().st_mode & 0o077]
            assert open_to_others == []
            assert httpx.get(f"http://127.0.0.1:{port}/docs").status_code == 200
        finally:
            serving.send_signal(signal.SIGINT)
            assert serving.wait(60) == 0
        assert not answers(f"http://127.0.0.1:{port}/readyz")


def test_serve_starts_again_what_has_ended(tmp_path):
    """First the worker, then the API: each is back by itself, and the other was not touched."""
    home, port = tmp_path / "home", free_port("127.0.0.1")
    command = [sys.executable, "-m", "regraft", "serve", "--home", str(home), "--port", str(port)]
    with (tmp_path / "log").open("ab") as log:
        serving = subprocess.Popen(command, env=environment(), stdout=log, stderr=log)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/readyz"))
        until(lambda: "Regraft answers" in (tmp_path / "log").read_text())
        for half, other in (("worker", "app"), ("app", "worker")):
            before = until(lambda: _halves(serving.pid, 2))
            os.kill(before[half], signal.SIGKILL)
            until(lambda: _halves(serving.pid, 2).get(half, before[half]) != before[half])  # noqa: B023
            assert _halves(serving.pid, 2)[other] == before[other]
        until(lambda: answers(f"http://127.0.0.1:{port}/readyz"))
        assert (tmp_path / "log").read_text().count("ended by itself (signal SIGKILL); it starts again in 0.5 s") == 2
    finally:
        serving.send_signal(signal.SIGINT)
        assert serving.wait(60) == 0
    assert _halves(serving.pid, 0) == {}


def _halves(pid, count):
    """The processes of API and worker by module, once there are `count` of them; nothing before."""
    found = {}
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                command = child.cmdline() or [""]
                if command[-1] in ("app", "worker"):
                    found[command[-1]] = child.pid
    return found if len(found) == count else {}


def test_halves_apart(tmp_path):
    """`migrate`, then `api` and `worker`; both refuse a database that is not migrated."""
    settings = environment(REGRAFT_HOME=str(tmp_path), REGRAFT_PORT=str(port := free_port("127.0.0.1")))

    def command(half):
        return [sys.executable, "-m", "regraft", half]

    for half in ("api", "worker"):
        refused = subprocess.run(command(half), env=settings, capture_output=True, text=True, timeout=60)
        assert "regraft migrate" in refused.stderr
        assert refused.returncode != 0
    subprocess.run(command("migrate"), env=settings, check=True, timeout=60)
    halves = [subprocess.Popen(command(half), env=settings) for half in ("api", "worker")]
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), 60)
        with Client(f"http://127.0.0.1:{port}", key=(tmp_path / "admin.key").read_text().strip()) as client:
            until(lambda: any(True for _ in client.networks.list()), 120)  # the worker has told what it can build
    finally:
        for process in halves:
            process.terminate()
        endings = [process.wait(60) for process in halves]
    assert endings == [-signal.SIGTERM, 0]  # uvicorn stops in order, then lets the signal end it


@pytest.fixture
def folder_of_a_project(tmp_path):
    """A current directory with packages that are named as ours are; `imported` is there once one was imported."""
    folder = tmp_path / "project"
    for name in ("app", "worker", "migrations"):
        (folder / name).mkdir(parents=True)
        for module in ("__init__", "__main__"):
            said = f"from pathlib import Path; Path({str(folder / 'imported')!r}).write_text({name!r})"
            (folder / name / f"{module}.py").write_text(f"{said}\nraise SystemExit({name!r})\n")
    return folder


def _started(command, folder, **settings):
    with (folder / "log").open("ab") as log:
        arguments = [sys.executable, "-m", "regraft", command]
        return subprocess.Popen(arguments, cwd=folder, env=environment(**settings), stdout=log, stderr=log)


def _untouched(folder):
    assert not (folder / "imported").exists(), (folder / "imported").read_text()
    return True


def test_serve_imports_nothing_from_the_current_directory(folder_of_a_project, tmp_path):
    """With every process that it starts: migrations, API, worker, a step, and PyTorch beside the API."""
    home, folder, port = tmp_path / "home", folder_of_a_project, free_port("127.0.0.1")
    settings = {"REGRAFT_HOME": str(home), "REGRAFT_PORT": str(port), "REGRAFT_SERVING_BACKEND": "torch"}
    serving = _started("serve", folder, **settings, REGRAFT_DEVICE="cpu")
    try:
        until(lambda: _untouched(folder) and answers(f"http://127.0.0.1:{port}/readyz"))
        with Client(f"http://127.0.0.1:{port}", key=(home / "admin.key").read_text().strip()) as client:
            file = client.files.upload(digits.optdigits_folders(tmp_path / "digits.zip", 10))
            dataset = client.datasets.wait(client.datasets.create(name="d", file=file.id).id, timeout_s=60)
            method = {"name": "train", "network": digits.TINY, "epochs": 1}
            job = client.jobs.wait(client.jobs.create(method=method, dataset=dataset.id).id, timeout_s=120)
            [predicted] = client.models.predict(job.model, [digits.one_png(4)])
            assert predicted.label in map(str, range(10))
        _untouched(folder)
    finally:
        serving.send_signal(signal.SIGINT)
        serving.wait(60)


@pytest.mark.parametrize(("command", "sign"), [("api", "answers at"), ("worker", "is ready")])
def test_a_half_imports_nothing_from_the_current_directory(folder_of_a_project, tmp_path, command, sign):
    folder, port = folder_of_a_project, free_port("127.0.0.1")
    settings = {"REGRAFT_HOME": str(tmp_path / "home"), "REGRAFT_PORT": str(port), "REGRAFT_LOG_LEVEL": "info"}
    assert _started("migrate", tmp_path, **settings).wait(60) == 0
    running = _started(command, folder, **settings)
    try:
        until(lambda: _untouched(folder) and sign in (folder / "log").read_text())
    finally:
        running.terminate()
        running.wait(60)


def test_migrations_import_nothing_from_the_current_directory(folder_of_a_project, tmp_path):
    assert _started("migrate", folder_of_a_project, REGRAFT_HOME=str(tmp_path / "home")).wait(60) == 0
    _untouched(folder_of_a_project)
