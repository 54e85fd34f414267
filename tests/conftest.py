"""What all tests may ask for.  With `-n`, all that runs on one kind of database runs in one process and shares it."""

import sys
from collections.abc import Iterator

import pytest

from app.db.session import Database
from tests import databases
from tests.databases import Databases


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """No test that draws from PyTorch's global generator passes or fails by chance."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(scope="session", params=[pytest.param(k, marks=pytest.mark.xdist_group(k)) for k in databases.KINDS])
def each_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """Both kinds of database in turn, real ones."""
    with databases.opened(request.param, tmp_path_factory.mktemp(request.param)) as opened:
        yield opened


@pytest.fixture
def database_url(each_database: Databases) -> str:
    """A migrated database of the test's own."""
    return each_database.migrated()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        if params.get("each_database") == "postgres" and item.get_closest_marker("any_database"):
            item.add_marker(pytest.mark.matrix)


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Files made for a test have times in them: with `-n` every process must give a test the same name."""
    return argname if isinstance(val, bytes) else None
