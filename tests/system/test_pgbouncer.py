"""A whole service whose Postgres stands behind PgBouncer, in transaction mode, with fewer connections than it opens."""

import os
import shutil
import subprocess
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, select

from app.db.session import Database, now
from migrations import commands
from regraft.processes import free_port
from tests import digits, services
from tests.services import until

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
POOL = 2
METHOD = {"name": "train", "network": digits.TINY, "epochs": 3, "batch_size": 32, "augmentation": "none"}


@pytest.fixture
def pooled_url(each_database, tmp_path):
    """A blank database, reached through the pooler."""
    if PGBOUNCER is None:
        pytest.skip("PgBouncer is not installed here: see .ci/run")
    with pooled(each_database.blank(), tmp_path) as url:
        yield url


@contextmanager
def pooled(url, folder):
    """`url` names a database of a server that listens on a socket in a folder."""
    direct, port = make_url(url), free_port("127.0.0.1")
    socket_folder = Path(direct.query["host"])
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": "transaction",
        "default_pool_size": POOL,
        "max_client_conn": 200,
    }
    lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
    config = folder / "pgbouncer.ini"
    config.write_text(f"[databases]\n* = host={socket_folder} user={direct.username}\n[pgbouncer]\n{lines}\n")
    user = ["-u", socket_folder.owner()] if os.geteuid() == 0 else []  # it refuses to run as root
    with (folder / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen([PGBOUNCER, *user, config], stdout=log, stderr=log)
    through = direct.set(host="127.0.0.1", port=port, query={})

    def ready():
        assert process.poll() is None, (folder / "pgbouncer.log").read_text()
        try:
            psycopg.connect(through.set(drivername="postgresql").render_as_string(hide_password=False)).close()
        except psycopg.OperationalError:
            return False
        return True

    try:
        until(ready)
        yield through.render_as_string(hide_password=False)
    finally:
        process.terminate()
        process.wait(60)


only_postgres = pytest.mark.parametrize(
    "each_database",
    [pytest.param("postgres", marks=pytest.mark.xdist_group("postgres"))],
    indirect=True,
    scope="session",
)


@only_postgres
def test_a_service_behind_a_pooler_in_transaction_mode(pooled_url, tmp_path):
    """Migrations, ingest, a job that is polled, and its model."""
    commands.upgrade(pooled_url)
    with services.running(tmp_path / "home", pooled_url) as service:
        client = service.client
        file = client.files.upload(digits.optdigits_folders(tmp_path / "optdigits.zip", 20))
        dataset = client.datasets.wait(client.datasets.create(name="d", file=file.id).id, timeout_s=120)
        job = client.jobs.create(method=METHOD, dataset=dataset.id, seed=1)
        for _ in range(40):
            assert client.jobs.get(job.id).status in {"queued", "running", "succeeded"}
        done = client.jobs.wait(job.id, timeout_s=120)
        assert client.models.get(done.model).sha256
        assert "psycopg" not in service.log


@only_postgres
def test_statements_that_are_said_often_are_the_same_to_all_behind_a_pooler(pooled_url):
    """psycopg would prepare them at their sixth use, under names that are not those of another client alone."""
    with ExitStack() as open_ones:
        for _ in range(POOL + 1):  # two of them on one connection of the pooler
            database = open_ones.enter_context(closing(Database(pooled_url)))
            with database.unit_of_work() as db:
                assert all(db.scalar(select(now())) > 0 for _ in range(20))


@only_postgres
def test_no_transaction_behind_a_pooler_waits_for_ever(pooled_url):
    """The time-outs hold in each transaction, whichever connection it runs on, and in none of somebody else."""
    ask = "SELECT current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')"
    database = Database(pooled_url)
    with database.unit_of_work() as one, database.reading() as other:
        for db in (one, other):
            assert tuple(db.connection().exec_driver_sql(ask).one()) == ("10s", "5s")
    database.close()
    plain = make_url(pooled_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, prepare_threshold=None) as connection:
        assert connection.execute(ask).fetchone() == ("0", "0")
