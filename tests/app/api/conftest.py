from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.app.api import server as servers
from tests.app.api.server import Api
from tests.app.api.world import World
from tests.databases import Databases


@pytest.fixture(scope="session")
def api(each_database: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One for all tests on one kind of database: each works as an owner of its own, and none may stop it."""
    with servers.serving(tmp_path_factory.mktemp("home"), each_database.migrated()) as api:
        yield api


@pytest.fixture
def world(api: Api, tmp_path: Path) -> Iterator[World]:
    world = World(api, api.new_owner(), tmp_path)
    yield world
    world.close()


@pytest.fixture
def client(world: World) -> httpx.Client:
    """Speaks for an owner of the test's own, with every scope but `admin`."""
    return world.client
