"""Dockerfile and docker-compose.yml, as far as they can be checked without an engine: what they name is there."""

import re
import tomllib
from pathlib import Path

import yaml

from app.core.settings import Settings
from regraft.cli import app as command

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
COMMANDS = {found.name or found.callback.__name__ for found in command.registered_commands}


def stages():
    return re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.M)


def test_targets():
    assert [name for _, name in stages()] == ["base", "api", "worker"]
    assert {of for of, _ in stages()[1:]} == {"base"}


def test_what_is_copied_is_there_and_enough():
    copied = {word for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.M) for word in line.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    packages = {
        pattern.rstrip("*")
        for folder in (".", "server")
        for pattern in project(folder)["tool"]["setuptools"]["packages"]["find"]["include"]
    }
    assert packages | {"pyproject.toml", "setup.py", "README.md", "LICENSE", "server"} <= copied


def test_each_image_installs_what_it_needs():
    server = project("server")["project"]
    assert re.findall(r"^RUN pip install (.+)$", DOCKERFILE, re.M) == [". ./server", ". './server[worker]'"]
    assert not any(re.match("torch|timm", dependency) for dependency in server["dependencies"])
    assert any(dependency.startswith("torch>") for dependency in server["optional-dependencies"]["worker"])


def test_commands_are_ours():
    started = re.findall(r'^CMD \["regraft", "(\w+)"\]', DOCKERFILE, re.M)
    started += [service["command"][1] for service in COMPOSE["services"].values() if "command" in service]
    assert started == ["api", "worker", "migrate"]
    assert set(started) <= COMMANDS


def test_services():
    assert set(COMPOSE["services"]) == {"postgres", "migrate", "api", "worker"}
    targets = {name for _, name in stages()}
    for name, service in COMPOSE["services"].items():
        assert "image" in service or service["build"]["target"] in targets, name
        for needed in service.get("depends_on", {}):
            assert needed in COMPOSE["services"]
    for name in ("postgres", "api"):
        assert "healthcheck" in COMPOSE["services"][name]


def test_settings_are_known():
    known = {f"REGRAFT_{name.upper()}" for name in Settings.model_fields}
    named = set(re.findall(r"REGRAFT_[A-Z_]+", DOCKERFILE + (ROOT / "docker-compose.yml").read_text()))
    assert named <= known


def test_volumes_are_declared():
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in COMPOSE["volumes"]


def project(folder):
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text())
