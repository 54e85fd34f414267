"""What all tests may ask for.  With `-n`, all that runs on one kind of database runs in one process and shares it.

With CI=true a test that is skipped has failed, unless `SKIPPED_IN_CI` has its reason.
"""

import os
import sys
from collections.abc import Generator, Iterator

import pytest

from app.db.session import Database
from tests import databases
from tests.databases import Databases

SKIPPED_IN_CI = {  # reasons of tests that may be skipped there, and why they may
    "there is no GPU": "CI's machines have none: tests/gpu is run by hand on one that has",
    "cannot mount a small disk here": "only root may mount, and in a container not even root",
}


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


@pytest.hookimpl(wrapper=True, tryfirst=True)  # after everybody else, and what marks say among them
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_skipped_in_ci(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Of a module that skips itself as a whole."""
    report = yield
    _fail_if_skipped_in_ci(report)
    return report


def _fail_if_skipped_in_ci(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("CI") != "true" or report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if reason.removeprefix("Skipped: ") not in SKIPPED_IN_CI:
        report.outcome = "failed"
        report.longrepr = f"{reason}. In CI nothing is skipped for that reason: see SKIPPED_IN_CI in tests/conftest.py."
