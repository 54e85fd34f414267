"""All tables.  Times are seconds since 1970 (double) by the database's clock; JSON documents follow docs/api.md."""

from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Double, ForeignKey, Index, Integer, MetaData, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = JSON().with_variant(JSONB(), "postgresql")
Serial = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up only its INTEGER PRIMARY KEY
Document = dict[str, Any]
Warned = dict[str, str]  # {code, message}

ID = String(40)
SHA256 = String(64)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Owned:
    """An object of the API: belongs to an owner, listed by age."""

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    owner: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float] = mapped_column(Double)


class KeyRow(Owned, Base):
    """Made by a key of `owner`, who may list and revoke it; opens what belongs to `acts_for`."""

    __tablename__ = "keys"
    __table_args__ = (Index("ix_keys_owner_created", "owner", "created_at", "id"),)
    name: Mapped[str] = mapped_column(String(256))
    acts_for: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(SHA256)  # of the whole secret
    scopes: Mapped[list[str]] = mapped_column(Json)
    expires_at: Mapped[float | None] = mapped_column(Double)
    revoked_at: Mapped[float | None] = mapped_column(Double)
    made_by: Mapped[str | None] = mapped_column(ID, index=True)  # the key that made it; none made the first
    rate_limit: Mapped[int | None] = mapped_column(Integer)  # requests a minute


class BrowserSession(Base):
    """A browser that was signed in with a key, and may do until `expires_at` what the key may."""

    __tablename__ = "sessions"
    sha256: Mapped[str] = mapped_column(SHA256, primary_key=True)  # of what its cookie says
    key: Mapped[str] = mapped_column(ID, index=True)
    expires_at: Mapped[float] = mapped_column(Double, index=True)


class Rate(Base):
    """The use of a key with a rate limit: until when, at that rate, its requests so far would have taken."""

    __tablename__ = "rates"
    key: Mapped[str] = mapped_column(ID, primary_key=True)
    spent_until: Mapped[float] = mapped_column(Double)


class IdempotentRequest(Base):
    """A POST that carried an Idempotency-Key, committed together with its effect; `answer` is the body first sent."""

    __tablename__ = "idempotent_requests"
    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(SHA256)  # of method, path and body
    claimed_at: Mapped[float] = mapped_column(Double, index=True)
    status: Mapped[int | None] = mapped_column(Integer)
    answer: Mapped[str | None] = mapped_column(Text)  # text, since JSONB would not give the same bytes again


class FileRow(Owned, Base):
    __tablename__ = "files"
    __table_args__ = (Index("ix_files_owner_created", "owner", "created_at", "id"),)
    filename: Mapped[str] = mapped_column(String(255))
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(SHA256, index=True)


class UploadRow(Owned, Base):
    __tablename__ = "uploads"
    filename: Mapped[str] = mapped_column(String(255))
    bytes: Mapped[int | None] = mapped_column(BigInteger)  # announced
    sha256: Mapped[str | None] = mapped_column(SHA256)  # announced
    expires_at: Mapped[float] = mapped_column(Double, index=True)
    file: Mapped[str | None] = mapped_column(ID)  # set when complete


class UploadPart(Base):
    __tablename__ = "upload_parts"
    upload: Mapped[str] = mapped_column(ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(SHA256)


class Task(Base):
    """A background task; `id` is the id of the object it works for, so every object has at most one task."""

    __tablename__ = "tasks"
    __table_args__ = (
        Index("ix_tasks_claim", "lane", "owner", "status", "blocked", "rank", "seq"),
        Index("ix_tasks_cascading", "id", sqlite_where=text("cascading = 1"), postgresql_where=text("cascading")),
        Index("ix_tasks_position", "lane", "status", "seq"),
        Index("ix_tasks_lease", "status", "lease_expires_at"),
        Index("ix_tasks_owner_status", "owner", "kind", "status", "created_at", "id"),
    )
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, index=True)  # order of arrival
    kind: Mapped[str] = mapped_column(String(32))
    lane: Mapped[str] = mapped_column(String(16))  # tasks of one lane run one after another in a worker
    owner: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16))
    rank: Mapped[int] = mapped_column(Integer, default=0, server_default="0")  # of an owner's the least starts first
    max_seconds: Mapped[float | None] = mapped_column(Double)  # that it may run, in all attempts together
    ran_s: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")  # in attempts that have ended
    # waits for what it needs; never again once all of that has succeeded
    blocked: Mapped[bool] = mapped_column(Boolean, default=False, server_default=text("false"))
    # it has not succeeded, and some that waited for it have yet to fail for that
    cascading: Mapped[bool] = mapped_column(Boolean, default=False, server_default=text("false"))
    requested: Mapped[str | None] = mapped_column(String(16))  # "pause": wished for, the worker has yet to answer
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    max_attempts: Mapped[int] = mapped_column(Integer)
    lease_token: Mapped[str | None] = mapped_column(String(40))
    lease_expires_at: Mapped[float | None] = mapped_column(Double)
    worker: Mapped[str | None] = mapped_column(ID)
    available_at: Mapped[float] = mapped_column(Double)
    created_at: Mapped[float] = mapped_column(Double)
    started_at: Mapped[float | None] = mapped_column(Double)
    finished_at: Mapped[float | None] = mapped_column(Double)
    step: Mapped[int] = mapped_column(Integer, default=0)
    total_steps: Mapped[int | None] = mapped_column(Integer)
    eta_s: Mapped[float | None] = mapped_column(Double)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    snapshot: Mapped[str | None] = mapped_column(SHA256)
    warnings: Mapped[list[Warned]] = mapped_column(Json, default=list)  # distinct, of all attempts


class Dependency(Base):
    """`dependent` needs `needs`: it waits for its task, and keeps it from being deleted."""

    __tablename__ = "dependencies"
    dependent: Mapped[str] = mapped_column(ID, primary_key=True)
    needs: Mapped[str] = mapped_column(ID, primary_key=True, index=True)


class Turn(Base):
    """An owner's turn in a lane: when the owner last had a task started there.

    From `ready_at` on the owner may have a task that can start; null: has none.
    """

    __tablename__ = "turns"
    __table_args__ = (
        Index(
            "ix_turns_ready",
            "lane",
            "last_started_at",
            "owner",
            sqlite_where=text("ready_at IS NOT NULL"),
            postgresql_where=text("ready_at IS NOT NULL"),
        ),
    )
    lane: Mapped[str] = mapped_column(String(16), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    last_started_at: Mapped[float] = mapped_column(Double, default=0.0)
    ready_at: Mapped[float | None] = mapped_column(Double)


class EventRow(Base):
    __tablename__ = "events"
    __table_args__ = (Index("ix_events_subject_seq", "subject", "seq"),)
    seq: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    subject: Mapped[str] = mapped_column(ID)
    at: Mapped[float] = mapped_column(Double)
    level: Mapped[str] = mapped_column(String(8))
    type: Mapped[str] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[Document] = mapped_column(Json)


class Metric(Base):
    """A point of a series; a task that is run again after a crash overwrites its own points."""

    __tablename__ = "metrics"
    job: Mapped[str] = mapped_column(ID, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    split: Mapped[str] = mapped_column(String(64), primary_key=True)
    step: Mapped[int] = mapped_column(Integer, primary_key=True)
    epoch: Mapped[float] = mapped_column(Double)
    value: Mapped[float] = mapped_column(Double)
    at: Mapped[float] = mapped_column(Double)


class ServableRow(Owned):
    """Columns that checkpoints and models have in common: weights, and a graph that serves them."""

    network: Mapped[Document] = mapped_column(Json)
    input: Mapped[Document | None] = mapped_column(Json)
    classes: Mapped[list[str] | None] = mapped_column(Json)
    multi_label: Mapped[bool] = mapped_column(Boolean, default=False)  # each class has a probability of its own
    recipe: Mapped[Document | None] = mapped_column(Json)
    parameters: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(SHA256)  # over the tensors alone
    weights: Mapped[str | None] = mapped_column(SHA256)  # blob: canonical safetensors
    graph: Mapped[str | None] = mapped_column(SHA256)  # blob: ONNX; none where it could not be exported
    not_servable: Mapped[str | None] = mapped_column(Text)  # why there is no graph, or why it is not run
    image_bytes: Mapped[int | None] = mapped_column(BigInteger)  # of memory that the graph takes for each image
    reference: Mapped[Document | None] = mapped_column(Json)  # its answers for validation images
    stored_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")  # of its own blobs
    # its head was drawn at random: it has features, but says nothing of classes
    untrained_head: Mapped[bool] = mapped_column(Boolean, default=False, server_default=text("false"))
    user_metadata: Mapped[dict[str, str]] = mapped_column("metadata", Json)


class CheckpointRow(ServableRow, Owned, Base):
    __tablename__ = "checkpoints"
    __table_args__ = (Index("ix_checkpoints_owner_created", "owner", "created_at", "id"),)
    name: Mapped[str] = mapped_column(String(256))
    file: Mapped[str | None] = mapped_column(ID)  # one of file, pretrained, model
    pretrained: Mapped[str | None] = mapped_column(String(256))
    model: Mapped[str | None] = mapped_column(ID)
    dataset: Mapped[str | None] = mapped_column(ID)  # what it was trained on, where that is known
    report: Mapped[Document | None] = mapped_column(Json)
    options: Mapped[Document | None] = mapped_column(Json)  # which weights of the file are taken, what may be missing
    identified: Mapped[Document | None] = mapped_column(Json)  # what the file was found to be of


class IdentificationRow(Owned, Base):
    """The question which network a file's weights are of, and the answer."""

    __tablename__ = "identifications"
    file: Mapped[str] = mapped_column(ID)
    dataset: Mapped[str | None] = mapped_column(ID)  # decides between networks that the file fits alike
    input: Mapped[Document | None] = mapped_column(Json)  # for which the network is, where the request said so
    classes: Mapped[list[str] | None] = mapped_column(Json)  # likewise
    result: Mapped[Document | None] = mapped_column(Json)


class DatasetRow(Owned, Base):
    __tablename__ = "datasets"
    __table_args__ = (Index("ix_datasets_owner_created", "owner", "created_at", "id"),)
    name: Mapped[str] = mapped_column(String(256))
    file: Mapped[str] = mapped_column(ID)  # that its images came in
    parent: Mapped[str | None] = mapped_column(ID)  # a revision's: the dataset that it was made of, perhaps gone
    revision: Mapped[Document | None] = mapped_column(Json)  # what became of the labels of the parent's images
    format: Mapped[str] = mapped_column(String(16))  # as asked, then as found
    options: Mapped[Document] = mapped_column(Json)  # splits, seed, label set …: what ingest was asked for
    labelled: Mapped[bool] = mapped_column(Boolean)
    only_tests_labelled: Mapped[bool] = mapped_column(Boolean, default=False, server_default=text("false"))
    multi_label: Mapped[bool] = mapped_column(Boolean, default=False)  # an image has any number of its classes
    classes: Mapped[list[str] | None] = mapped_column(Json)
    image: Mapped[Document | None] = mapped_column(Json)
    splits: Mapped[Document | None] = mapped_column(Json)
    counts: Mapped[Document | None] = mapped_column(Json)  # images per class, in the order of `classes`, by split
    mean: Mapped[list[float] | None] = mapped_column(Json)
    std: Mapped[list[float] | None] = mapped_column(Json)
    refused: Mapped[list[Document] | None] = mapped_column(Json)
    duplicates: Mapped[Document | None] = mapped_column(Json)
    sha256: Mapped[str | None] = mapped_column(SHA256)  # over pixels, labels, splits and classes
    pixels: Mapped[str | None] = mapped_column(SHA256)  # blob: packed uint8
    index: Mapped[str | None] = mapped_column(SHA256)  # blob: labels, splits, shapes, names
    stored_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")  # of its own blobs
    # of pixels that count for another dataset of the owner, as long as there is one
    shared_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    user_metadata: Mapped[dict[str, str]] = mapped_column("metadata", Json)


class JobRow(Owned, Base):
    """A job: what was asked and what came of it; its status is that of its task."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_owner_created", "owner", "created_at", "id"),
        Index("ix_jobs_owner_method", "owner", "method_name", "created_at", "id"),
        Index("ix_jobs_checkpoint", "checkpoint", "owner", "created_at", "id"),
        Index("ix_jobs_dataset", "dataset", "owner", "created_at", "id"),
        Index("ix_jobs_tournament", "tournament"),
    )
    name: Mapped[str | None] = mapped_column(String(256))
    checkpoint: Mapped[str | None] = mapped_column(ID)  # ckpt_ or model_
    dataset: Mapped[str] = mapped_column(ID)
    source_dataset: Mapped[str | None] = mapped_column(ID)
    method: Mapped[Document] = mapped_column(Json)
    method_name: Mapped[str] = mapped_column(String(64))
    seed: Mapped[int] = mapped_column(Integer)
    model: Mapped[str | None] = mapped_column(ID)
    tournament: Mapped[str | None] = mapped_column(ID)  # or sweep, perhaps gone, of which it is a candidate
    pause_after: Mapped[float | None] = mapped_column(Double)  # this share of its training's steps, at a rung
    choice: Mapped[Document | None] = mapped_column(Json)  # of an `auto` job: `app.contract.choice.Choice`
    evaluation: Mapped[Document | None] = mapped_column(Json)
    lineage: Mapped[Document] = mapped_column(Json)
    user_metadata: Mapped[dict[str, str]] = mapped_column("metadata", Json)


class ModelRow(ServableRow, Owned, Base):
    """An adapted model: the result of a job, immutable."""

    __tablename__ = "models"
    __table_args__ = (Index("ix_models_owner_created", "owner", "created_at", "id"),)
    adapter: Mapped[str | None] = mapped_column(SHA256)  # blob: corrections alone, of the source's weights
    quantized: Mapped[str | None] = mapped_column(SHA256)  # blob: ONNX in eight bits
    quantization: Mapped[Document | None] = mapped_column(Json)  # what that loses
    job: Mapped[str] = mapped_column(ID, unique=True)
    checkpoint: Mapped[str | None] = mapped_column(ID)
    dataset: Mapped[str] = mapped_column(ID)
    evaluation: Mapped[Document | None] = mapped_column(Json)
    transfer: Mapped[Document | None] = mapped_column(Json)
    warnings: Mapped[list[Warned]] = mapped_column(Json, default=list)  # those of its job


class RecommendationRow(Owned, Base):
    """The question what to try on a dataset, and the answer; its status is that of its task."""

    __tablename__ = "recommendations"
    __table_args__ = (Index("ix_recommendations_owner_created", "owner", "created_at", "id"),)
    dataset: Mapped[str] = mapped_column(ID)
    source_dataset: Mapped[str | None] = mapped_column(ID)
    request: Mapped[Document] = mapped_column(Json)
    planned: Mapped[Document | None] = mapped_column(Json)  # candidates and what fits them, once all parts are ready
    result: Mapped[Document | None] = mapped_column(Json)  # what was measured and forecast
    jobs: Mapped[list[Document]] = mapped_column(Json, default=list)  # {job, checkpoint, method}: what came of it


class PreflightRow(Owned, Base):
    """The question what a job takes, and the answer; its status is that of its task."""

    __tablename__ = "preflights"
    __table_args__ = (Index("ix_preflights_owner_key", "owner", "key", "created_at"),)
    request: Mapped[Document] = mapped_column(Json)
    key: Mapped[str | None] = mapped_column(SHA256)  # of all that the cost hangs on, once that is known
    place: Mapped[str | None] = mapped_column(String(400))  # host and device that it was measured on
    result: Mapped[Document | None] = mapped_column(Json)


class TournamentRow(Owned, Base):
    """A tournament or a sweep: jobs that race on a dataset; its status is that of its task, which no worker runs."""

    __tablename__ = "tournaments"
    __table_args__ = (Index("ix_tournaments_owner_created", "owner", "kind", "created_at", "id"),)
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str | None] = mapped_column(String(256))
    dataset: Mapped[str] = mapped_column(ID)
    request: Mapped[Document] = mapped_column(Json)
    standings: Mapped[Document] = mapped_column(Json)  # `app.contract.tournament.Standings`
    user_metadata: Mapped[dict[str, str]] = mapped_column("metadata", Json)


class WorkerProcess(Base):
    """A live worker; its identity is fresh at each start."""

    __tablename__ = "workers"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column(Integer)
    device: Mapped[str] = mapped_column(String(128))
    started_at: Mapped[float] = mapped_column(Double)
    seen_at: Mapped[float] = mapped_column(Double)
    warm: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))


class NetworkRow(Base):
    """A network that the workers can build, published by them, listed by the API without torch."""

    __tablename__ = "networks"
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    summary: Mapped[str] = mapped_column(Text)
    input: Mapped[Document | None] = mapped_column(Json)  # the usual input contract, where there is one
    options: Mapped[Document] = mapped_column(Json)  # JSON Schema of `options`
    pretrained: Mapped[list[str]] = mapped_column(Json)
