"""The two wheels of this repository: the client alone, and the server that stands on it."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import httpx
import pytest

from regraft.processes import free_port
from tests.services import until

pytestmark = pytest.mark.xdist_group("distributions")  # what its fixture starts is dear

ROOT = Path(__file__).parents[2]
SERVER = ("app", "worker", "migrations")
BUILT = ("regraft", *SERVER, "server", "pyproject.toml", "setup.py", "README.md", "LICENSE")
COMMIT = "0123456789ab"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, zipfile.ZipFile]:
    """Both, by name, of the code as it lies here."""
    folder, source = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("source")
    for name in BUILT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "build"))
        else:
            shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder]
    environment = os.environ | {"SOURCE_COMMIT": COMMIT}
    subprocess.run([*command, source, source / "server"], check=True, timeout=300, env=environment)
    return {path.name.partition("-")[0]: zipfile.ZipFile(path) for path in folder.glob("*.whl")}


def packages(wheel: zipfile.ZipFile) -> set[str]:
    return {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" not in name}


def metadata(wheel: zipfile.ZipFile) -> list[tuple[str, str]]:
    [path] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(path).decode()).items()


def needed(wheel: zipfile.ZipFile) -> list[str]:
    """Without extras."""
    return [value for name, value in metadata(wheel) if name == "Requires-Dist" and "extra ==" not in value]


def test_the_client_is_alone(wheels):
    assert packages(wheels["regraft"]) == {"regraft"}
    assert {name.partition(">")[0] for name in needed(wheels["regraft"])} == {"httpx", "pydantic", "typer", "rich"}


def test_the_server_stands_on_the_client(wheels):
    assert packages(wheels["regraft_server"]) == set(SERVER)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"regraft=={version}" in needed(wheels["regraft_server"])
    assert not any(name.startswith("torch") for name in needed(wheels["regraft_server"]))


@pytest.mark.parametrize("distribution", ["regraft", "regraft_server"])
def test_a_wheel_has_its_commit_its_licence_and_every_file(wheels, distribution):
    wheel = wheels[distribution]
    told = dict(metadata(wheel))
    assert told["Version"].partition("+")[2] == f"g{COMMIT}"
    assert told["License-Expression"] == "Apache-2.0"
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())
    here = {
        str(path.relative_to(ROOT))
        for name in packages(wheel)
        for path in (ROOT / name).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == here


def run(code: str, *folders: Path) -> subprocess.CompletedProcess[str]:
    """Python with what lies in `folders` and the libraries of others, without what is installed of ours."""
    path = [*map(str, folders), sysconfig.get_path("purelib")]
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path += {path!r}; {code}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_client_says_where_the_server_is_missing(wheels, tmp_path):
    wheels["regraft"].extractall(tmp_path)
    seen = run("import importlib.util as u; print([u.find_spec(n) for n in ('app', 'worker', 'migrations')])", tmp_path)
    assert (seen.stdout, seen.stderr) == ("[None, None, None]\n", "")
    for command in ("serve", "api", "worker", "migrate"):
        done = run(f"sys.argv = ['regraft', {command!r}]; from regraft.cli import main; main()", tmp_path)
        assert done.returncode == 1
        assert "Only the client is installed here" in done.stderr
        assert "Traceback" not in done.stderr


def test_both_together_are_a_service(wheels, tmp_path):
    """`regraft serve` of the wheels alone: every process imports from them, and says of which commit they are."""
    installed, log = tmp_path / "installed", tmp_path / "log"
    for wheel in wheels.values():
        wheel.extractall(installed)
    port = free_port("127.0.0.1")
    settings = {"PYTHONPATH": str(installed), "REGRAFT_HOME": str(tmp_path / "home"), "REGRAFT_PORT": str(port)}
    with log.open("wb") as written:
        command = [sys.executable, "-m", "regraft", "serve"]
        environment = os.environ | settings | {"REGRAFT_LOG_LEVEL": "info"}
        serving = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=written, stderr=written)
    try:
        until(lambda: f"+g{COMMIT} answers at" in log.read_text() and "is ready (Regraft" in log.read_text())
        until(lambda: httpx.get(f"http://127.0.0.1:{port}/readyz", verify=False).status_code == 200)
        assert log.read_text().count(f"+g{COMMIT}") == 2
    finally:
        serving.terminate()
        serving.wait(60)


def test_both_have_one_version():
    client, server = (tomllib.loads((ROOT / folder / "pyproject.toml").read_text()) for folder in (".", "server"))
    assert client["project"]["version"] == server["project"]["version"]
