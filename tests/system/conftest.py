from collections.abc import Iterator

import pytest

from tests import digits, services
from tests.databases import Databases
from tests.services import Service


@pytest.fixture(scope="session")
def service(each_database: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """API and worker, shared by all tests on one kind of database; do not kill them."""
    home = tmp_path_factory.mktemp("home")
    with services.running(home, each_database.migrated(), REGRAFT_LOG_LEVEL="info") as running:
        yield running


@pytest.fixture(scope="session")
def digits_model(service: Service, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that knows 60 optdigits a class: its id."""
    client = service.client
    file = client.files.upload(digits.optdigits_folders(tmp_path_factory.mktemp("d") / "optdigits.zip", 60))
    dataset = client.datasets.wait(client.datasets.create(name="d", file=file.id).id, timeout_s=60)
    method = {"name": "train", "network": digits.TINY, "epochs": 25, "batch_size": 32, "augmentation": "none"}
    job = client.jobs.wait(client.jobs.create(method=method, dataset=dataset.id, seed=1).id, timeout_s=120)
    assert job.model is not None
    return job.model
