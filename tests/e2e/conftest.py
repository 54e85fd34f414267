from collections.abc import Iterator

import pytest

import services
from databases import Databases
from services import Service


@pytest.fixture(scope="session")
def service(each_database: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """API and worker, shared by all tests on one kind of database; do not kill them."""
    home = tmp_path_factory.mktemp("home")
    with services.running(home, each_database.migrated()) as running:
        yield running


@pytest.fixture
def own_service(each_database: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One that may be killed."""
    with services.running(tmp_path_factory.mktemp("home"), each_database.migrated()) as running:
        yield running
