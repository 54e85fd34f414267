"""What nothing refers to is swept, after a grace period; what anything refers to never is."""

import os
import time

import pytest
from sqlalchemy import update

from app.blobs.store import Blob, Blobs
from app.core import errors, ids
from app.db.session import now
from app.db.tables import CheckpointRow, DatasetRow, IdempotentRequest, ModelRow, UploadRow
from app.files import service as files
from app.queue import service as queue
from app.removal.sweep import REQUEST_LIFETIME_S, sweep
from app.requests import service as requests
from app.requests.service import Answer

NETWORK = {"name": "cnn3", "num_classes": 2, "options": {}}


@pytest.fixture
def blobs(tmp_path):
    return Blobs((tmp_path / "blobs").as_uri())


def put(blobs, content, age_s=10_000.0):
    sha256 = blobs.put([content]).sha256
    os.utime(blobs.path(sha256), (time.time() - age_s,) * 2)
    return sha256


def begin(db):
    return files.begin(db, "ann", filename="x", bytes=None, sha256=None, max_bytes=10, lifetime_s=60).upload.id


def common(prefix):
    return {"id": ids.new(prefix), "owner": "ann", "created_at": now()}


def test_what_a_row_mentions_stays(database, blobs):
    names = ("file", "part", "snapshot", "weights", "graph", "pixels", "index", "model weights", "model graph")
    kept = {name: put(blobs, name.encode()) for name in names}
    lost = put(blobs, b"lost")
    servable = {"network": NETWORK, "user_metadata": {}}
    with database.unit_of_work() as db:
        files.create(db, "ann", filename="x", blob=Blob(kept["file"], 4))
        upload = begin(db)
        files.add_part(db, "ann", upload, 1, Blob(kept["part"], 4), 10)
        queue.enqueue(db, id="job_x", kind="run", lane="run", owner="ann", needs=()).snapshot = kept["snapshot"]
        pair = {"weights": kept["weights"], "graph": kept["graph"]}
        db.add(CheckpointRow(**common("ckpt"), name="x", **servable, **pair))
        pair = {"weights": kept["model weights"], "graph": kept["model graph"]}
        db.add(ModelRow(**common("model"), job="job_x", dataset="ds_x", **servable, **pair))
        pair = {"pixels": kept["pixels"], "index": kept["index"]}
        told = {"format": "idx", "options": {}, "labelled": True, "user_metadata": {}}
        db.add(DatasetRow(**common("ds"), name="x", file="file_x", **told, **pair))
    assert sweep(database, blobs) == 1
    assert {aged.sha256 for aged in blobs.list()} == set(kept.values())
    assert blobs.put_at(lost) is None
    assert sweep(database, blobs) == 0


def test_what_was_put_just_now_stays(database, blobs):
    """Its row may be on its way."""
    young = put(blobs, b"young", age_s=0)
    assert sweep(database, blobs) == 0
    assert blobs.put_at(young)
    assert sweep(database, blobs, grace_s=-1) == 1


def test_a_clock_that_is_wrong_does_not_matter(database, blobs, monkeypatch):
    """The machine that sweeps is two hours ahead of all others."""
    young, old = put(blobs, b"young", age_s=60), put(blobs, b"old")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 7200)
    assert sweep(database, blobs) == 1
    assert [aged.sha256 for aged in blobs.list()] == [young]
    assert blobs.put_at(old) is None


def test_what_is_put_again_while_it_is_swept_is_not_lost(database, blobs, monkeypatch):
    """An upload of the same bytes between the last look and the deed; and a row that mentions them."""
    sha256 = put(blobs, b"again")
    look = blobs.put_at

    def late(sha256):
        seen = look(sha256)
        blobs.put([b"again"])
        with database.unit_of_work() as db:
            files.create(db, "ann", filename="x", blob=Blob(sha256, 5))
        return seen

    monkeypatch.setattr(blobs, "put_at", late)
    sweep(database, blobs)
    monkeypatch.undo()
    assert blobs.size(sha256) == 5
    assert blobs.path(sha256).read_bytes() == b"again"
    sweep(database, blobs, grace_s=-1)
    assert b"".join(blobs.read(sha256)) == b"again"


def test_nor_what_nobody_has_asked_for_before_the_trash_is_emptied(database, blobs):
    sha256 = put(blobs, b"late")
    assert sweep(database, blobs) == 1
    with database.unit_of_work() as db:
        files.create(db, "ann", filename="x", blob=Blob(sha256, 4))
    sweep(database, blobs, grace_s=-1)
    assert [aged.sha256 for aged in blobs.list()] == [sha256]
    assert list(blobs.trash()) == []


def test_the_trash_is_emptied_after_the_grace_period(database, blobs):
    """By the database's clock."""
    sha256 = put(blobs, b"lost")
    sweep(database, blobs)
    sweep(database, blobs)
    assert [each.sha256 for each in blobs.trash()] == [sha256]
    sweep(database, blobs, grace_s=-1)
    assert list(blobs.trash()) == []
    with pytest.raises(errors.BlobLost):
        blobs.size(sha256)


def test_uploads_that_have_expired_go_with_their_parts(database, blobs):
    part = put(blobs, b"part")
    with database.unit_of_work() as db:
        ids_ = [
            files.begin(db, "ann", filename="x", bytes=None, sha256=None, max_bytes=10, lifetime_s=60).upload.id
            for _ in range(2)
        ]
        for upload in ids_:
            files.add_part(db, "ann", upload, 1, Blob(part, 4), 10)
        db.execute(update(UploadRow).where(UploadRow.id == ids_[0]).values(expires_at=1.0))
    assert sweep(database, blobs) == 0  # the other one still has the same part
    with database.unit_of_work() as db:
        db.execute(update(UploadRow).values(expires_at=1.0))
    assert sweep(database, blobs) == 1


def test_answers_are_kept_for_a_day(database, blobs):
    with database.unit_of_work() as db:
        for key in ("old", "new"):
            assert requests.claim(db, "ann", key, "f" * 64) is None
            requests.remember(db, "ann", key, Answer(201, "{}"))
        old = update(IdempotentRequest).where(IdempotentRequest.key == "old")
        db.execute(old.values(claimed_at=now() - REQUEST_LIFETIME_S - 60))
    sweep(database, blobs)
    with database.unit_of_work() as db:
        assert requests.claim(db, "ann", "new", "f" * 64) == (201, "{}")
        assert requests.claim(db, "ann", "old", "f" * 64) is None
