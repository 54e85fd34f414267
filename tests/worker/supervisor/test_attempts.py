"""However an attempt ends, its true reason is written down at once, and what it had saved goes when it is of no use."""

import math

import pytest
from sqlalchemy import insert, select

from app.contract.results import AdaptedResult
from app.core import errors
from app.core.status import Status
from app.db.session import now
from app.db.tables import DatasetRow, EventRow, Metric
from app.methods.registry import parse
from tests.app.api.world import CLASSES, EVALUATION, INPUT, NETWORK
from tests.app.queue.queue_steps import add, ask, claim, expire, reap, task
from tests.worker.supervisor.attempts import DONE, prepared, steps_do, workplace
from worker.executors.base import Crashed
from worker.runtime.contract import Failure, Interrupted, Note, Progress, Result, Snapshot
from worker.runtime.contract import Metric as Point
from worker.supervisor import lane
from worker.supervisor.attempt import attempt


@pytest.fixture(autouse=True)
def _plain_steps(monkeypatch):
    steps_do(monkeypatch)


def run(place, claimed=None):
    attempt(place, claimed or claim(place.database))


def told(database, job, level=None):
    with database.reading() as db:
        query = select(EventRow).where(EventRow.subject == job).order_by(EventRow.seq)
        return [event for event in db.scalars(query) if level in (None, event.level)]


def breaks(*_):
    raise ValueError("no such thing\0")


def breaks_a_constraint(db, *_):
    db.execute(insert(EventRow).values(subject="x", at=now(), level="info", type="x", message=None, data={}))


def adapted(**parts):
    """The result of a run that made a model."""
    network = {"network": NETWORK, "input": INPUT, "classes": CLASSES, "parameters": 246, "sha256": "b" * 64}
    return AdaptedResult.load({"method": parse({"name": "fine_tune"})} | network | parts)


FAULTS = {
    "prepare": (breaks, None, [], "ValueError: no such thing"),
    "publish": (None, breaks, [DONE], "ValueError: no such thing"),
    "a constraint": (None, breaks_a_constraint, [DONE], "message"),
    "in the loop": (None, None, [RuntimeError("it broke")], "RuntimeError: it broke"),
}


@pytest.mark.parametrize("where", FAULTS)
def test_what_is_no_refusal_is_recorded_at_once(database, tmp_path, monkeypatch, where):
    prepare, publish, says, reason = FAULTS[where]
    steps_do(monkeypatch, prepare=prepare, publish=publish)
    monkeypatch.setattr("worker.supervisor.attempt.PATIENCE_S", 0.0)
    job = add(database)
    for number in (1, 2, 3):
        run(workplace(database, tmp_path, Note("said", "before it broke"), *says))
        found = task(database, job)
        assert (found.attempt, found.lease_token) == (number, None)
    assert (found.status, found.error_code) == (Status.FAILED, "internal")
    assert reason in found.error_message
    assert "It was tried 3 times." in found.error_message
    assert "INSERT" not in found.error_message
    assert [reason in event.message for event in told(database, job) if event.type == "queued"][1:] == [True, True]


def test_a_line_that_cannot_be_written_is_the_reason(database, tmp_path):
    """It does not keep the end from being written, too."""
    job = add(database)
    run(workplace(database, tmp_path, Note("said", "x", data={"what": {1, 2}}), DONE))
    assert (task(database, job).status, task(database, job).lease_token) == (Status.QUEUED, None)
    assert "set is not JSON serializable" in told(database, job)[-1].message


def test_text_that_databases_refuse_is_told_all_the_same(database, tmp_path):
    job = add(database)
    note = Note("said", "a\0b \udcff", data={"na\0me": ["\udcff", math.nan]})
    run(workplace(database, tmp_path, note, Failure("corrupt_file", "bad name: \udcff\0")))
    assert task(database, job).error_message == "bad name: \ufffd\ufffd"
    [said] = [event for event in told(database, job) if event.type == "said"]
    assert (said.message, said.data) == ("a\ufffdb \ufffd", {"na\ufffdme": ["\ufffd", None]})


def test_points_that_are_no_finite_numbers_are_named_and_left_out(database, tmp_path):
    job = add(database)
    values = (0.5, math.nan, math.inf, 0.25)
    points = [Point("loss", "validation", step, step / 10, value) for step, value in enumerate(values)]
    run(workplace(database, tmp_path, Progress(1, 4, math.inf), *points, DONE))
    assert task(database, job).status == Status.SUCCEEDED
    with database.reading() as db:
        assert list(db.scalars(select(Metric.value).order_by(Metric.step))) == [0.5, 0.25]
    [warning] = told(database, job, "warning")
    assert (warning.type, "loss (validation) was nan at step 1" in warning.message) == ("not_finite", True)


def test_a_result_that_is_no_finite_number_is_no_result(database, tmp_path):
    job = add(database)
    run(
        workplace(
            database,
            tmp_path,
            Result(adapted(evaluation=EVALUATION | {"target": EVALUATION["target"] | {"nll": math.nan}})),
        )
    )
    found = task(database, job)
    assert (found.status, found.error_code) == (Status.FAILED, "diverged")
    assert "evaluation.target.nll" in found.error_message


def test_a_remark_that_is_none_is_null(database, tmp_path, monkeypatch):
    published = []
    steps_do(monkeypatch, publish=lambda db, id_, outcome, written: published.append(outcome))
    job = add(database)
    layers = [{"layer": "a", "relative_l2": 1.0}, {"layer": "b", "relative_l2": -math.inf}]
    run(workplace(database, tmp_path, Result(adapted(transfer={"drift": {"images": 2, "layers": layers}}))))
    assert task(database, job).status == Status.SUCCEEDED
    [outcome] = published
    assert [layer.relative_l2 for layer in outcome.transfer.drift.layers] == [1.0, None]
    [warning] = told(database, job, "warning")
    assert "transfer.drift.layers.1.relative_l2" in warning.message


@pytest.mark.parametrize("value", [math.nan, math.inf, "a\0b", "\udcff"], ids=["nan", "inf", "nul", "surrogate"])
def test_both_databases_refuse_the_same_documents(database, value):
    told = {"format": "idx", "options": {"x": [value]}, "labelled": True, "user_metadata": {}}
    row = DatasetRow(id="ds_x", owner="ann", created_at=now(), name="x", file="file_x", **told)
    with pytest.raises(Exception) as refused:  # SQLAlchemy wraps it on SQLite alone
        store(database, row)
    assert isinstance(getattr(refused.value, "orig", refused.value), ValueError)


def store(database, row):
    with database.unit_of_work() as db:
        db.add(row)


def test_a_lost_blob_fails_it_at_once(database, tmp_path, monkeypatch):
    steps_do(monkeypatch, prepare=lambda db, id_: prepared(**{"target.pixels": "0" * 64}))
    job = add(database)
    run(workplace(database, tmp_path))
    assert (task(database, job).status, task(database, job).error_code) == (Status.FAILED, "blob_lost")


BROKEN = {"crash": Crashed("It ended by SIGBUS."), "reader": Failure("corrupt_file", "No archive.")}


@pytest.mark.parametrize("sound", [True, False], ids=["sound", "damaged"])
@pytest.mark.parametrize("how", BROKEN)
def test_what_comes_of_a_damaged_blob_is_told_as_that(database, tmp_path, monkeypatch, how, sound):
    place = workplace(database, tmp_path, BROKEN[how])
    sha256 = place.blobs.put([b"an archive"]).sha256
    if not sound:
        place.blobs.path(sha256).write_bytes(b"an arch")
    steps_do(monkeypatch, prepare=lambda db, id_: prepared(file=sha256))
    job = add(database)
    run(place)
    found = task(database, job)
    if not sound:
        assert (found.status, found.error_code) == (Status.FAILED, "blob_lost")
    elif how == "crash":
        assert found.status == Status.QUEUED  # it is tried again
    else:
        assert (found.status, found.error_code) == (Status.FAILED, "corrupt_file")


def test_a_saved_state_that_is_damaged_is_not_gone_on_from(database, tmp_path):
    job = add(database)
    place = workplace(database, tmp_path, saves(b"one"), Interrupted("shutdown"))
    run(place)
    place.blobs.path(task(database, job).snapshot).write_bytes(b"o")
    place.executor.says += [lambda spec: DONE if spec.snapshot is None else Failure("x", "")]
    run(place)
    assert task(database, job).status == Status.SUCCEEDED
    assert "snapshot_lost" in [event.type for event in told(database, job, "warning")]


def test_max_attempts_is_what_the_settings_say(database, tmp_path):
    job = add(database)
    for _ in range(2):
        assert lane._claim(workplace(database, tmp_path, max_attempts=2), "run").id == job
        expire(database, job)
        reap(database)
    assert (task(database, job).status, task(database, job).error_code) == (Status.FAILED, "worker_lost")
    assert "2 times" in task(database, job).error_message


# --- saved states


def saves(content):
    """A step that says that it has saved its state."""

    def save(spec):
        path = spec.workdir / "state"
        path.write_bytes(content)
        return Snapshot(path, 1)

    return save


def kept(place):
    return [place.blobs.path(aged.sha256).read_bytes() for aged in place.blobs.list()]


ENDS = {"done": DONE, "failed": Failure("diverged", "It diverged."), "cancelled": Interrupted("cancel")}


@pytest.mark.parametrize("end", ENDS)
def test_saved_states_go_when_they_are_replaced_and_when_it_ends(database, tmp_path, end):
    job = add(database)
    place = workplace(database, tmp_path)
    found = []

    def looks(spec):
        found.append(kept(place))

    place.executor.says += [saves(b"one"), looks, saves(b"two"), saves(b"three"), looks, ENDS[end]]
    run(place)
    assert found == [[b"one"], [b"three"]]
    assert kept(place) == []
    assert task(database, job).snapshot is None


@pytest.mark.parametrize("how", ["pause", "shutdown"])
def test_what_is_to_go_on_keeps_its_state(database, tmp_path, how):
    job = add(database)
    place = workplace(database, tmp_path, saves(b"one"), Interrupted(how))
    run(place)
    assert kept(place) == [b"one"]
    if how == "pause":
        ask(database, "resume", job)
    place.executor.says += [lambda spec: Failure("x", "") if spec.snapshot.read_bytes() != b"one" else DONE]
    run(place)
    assert task(database, job).status == Status.SUCCEEDED
    assert kept(place) == []


def test_a_state_that_is_gone_is_named_and_it_starts_anew(database, tmp_path):
    job = add(database)
    place = workplace(database, tmp_path, saves(b"one"), Interrupted("shutdown"))
    run(place)
    place.blobs.delete(task(database, job).snapshot)
    place.executor.says += [DONE]
    run(place)
    assert place.executor.specs[-1].snapshot is None
    assert task(database, job).status == Status.SUCCEEDED
    assert [event.type for event in told(database, job, "warning")] == ["snapshot_lost"]


def test_a_zombie_deletes_nothing_that_its_heir_goes_on_from(database, tmp_path):
    job = add(database)
    place = workplace(database, tmp_path, saves(b"one"))
    zombie = claim(database)

    def loses_the_lease(spec):
        expire(database, job)
        reap(database)

    place.executor.says += [loses_the_lease, saves(b"two")]
    run(place, zombie)
    heir = claim(database)
    assert place.blobs.path(heir.snapshot).read_bytes() == b"one"


def test_a_store_that_is_away_when_a_state_is_to_go_harms_nothing(database, tmp_path, monkeypatch):
    job = add(database)
    place = workplace(database, tmp_path, saves(b"one"), DONE)

    def away(sha256):
        raise errors.Unavailable

    monkeypatch.setattr(place.blobs, "delete", away)
    run(place)
    assert task(database, job).status == Status.SUCCEEDED
