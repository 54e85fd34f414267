"""All tables of the first version."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("file", sa.String(length=40), nullable=True),
        sa.Column("pretrained", sa.String(length=256), nullable=True),
        sa.Column("model", sa.String(length=40), nullable=True),
        sa.Column("dataset", sa.String(length=40), nullable=True),
        sa.Column("report", json, nullable=True),
        sa.Column("network", json, nullable=False),
        sa.Column("input", json, nullable=True),
        sa.Column("classes", json, nullable=True),
        sa.Column("multi_label", sa.Boolean(), nullable=False),
        sa.Column("recipe", json, nullable=True),
        sa.Column("parameters", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("weights", sa.String(length=64), nullable=True),
        sa.Column("graph", sa.String(length=64), nullable=True),
        sa.Column("not_servable", sa.Text(), nullable=True),
        sa.Column("metadata", json, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoints")),
    )
    op.create_index("ix_checkpoints_owner_created", "checkpoints", ["owner", "created_at", "id"], unique=False)
    op.create_table(
        "datasets",
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("file", sa.String(length=40), nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("options", json, nullable=False),
        sa.Column("labelled", sa.Boolean(), nullable=False),
        sa.Column("multi_label", sa.Boolean(), nullable=False),
        sa.Column("classes", json, nullable=True),
        sa.Column("image", json, nullable=True),
        sa.Column("splits", json, nullable=True),
        sa.Column("counts", json, nullable=True),
        sa.Column("mean", json, nullable=True),
        sa.Column("std", json, nullable=True),
        sa.Column("refused", json, nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("pixels", sa.String(length=64), nullable=True),
        sa.Column("index", sa.String(length=64), nullable=True),
        sa.Column("metadata", json, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
    )
    op.create_index("ix_datasets_owner_created", "datasets", ["owner", "created_at", "id"], unique=False)
    op.create_table(
        "dependencies",
        sa.Column("dependent", sa.String(length=40), nullable=False),
        sa.Column("needs", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("dependent", "needs", name=op.f("pk_dependencies")),
    )
    op.create_index(op.f("ix_dependencies_needs"), "dependencies", ["needs"], unique=False)
    op.create_table(
        "events",
        sa.Column("seq", serial, autoincrement=True, nullable=False),
        sa.Column("subject", sa.String(length=40), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("data", json, nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
    )
    op.create_index("ix_events_subject_seq", "events", ["subject", "seq"], unique=False)
    op.create_table(
        "files",
        sa.Column("filename", sa.String(length=255), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_files")),
    )
    op.create_index("ix_files_owner_created", "files", ["owner", "created_at", "id"], unique=False)
    op.create_index(op.f("ix_files_sha256"), "files", ["sha256"], unique=False)
    op.create_table(
        "idempotent_requests",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("claimed_at", sa.Double(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("owner", "key", name=op.f("pk_idempotent_requests")),
    )
    op.create_index(op.f("ix_idempotent_requests_claimed_at"), "idempotent_requests", ["claimed_at"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("name", sa.String(length=256), nullable=True),
        sa.Column("checkpoint", sa.String(length=40), nullable=True),
        sa.Column("dataset", sa.String(length=40), nullable=False),
        sa.Column("source_dataset", sa.String(length=40), nullable=True),
        sa.Column("method", json, nullable=False),
        sa.Column("method_name", sa.String(length=64), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(length=40), nullable=True),
        sa.Column("evaluation", json, nullable=True),
        sa.Column("lineage", json, nullable=False),
        sa.Column("metadata", json, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(op.f("ix_jobs_checkpoint"), "jobs", ["checkpoint"], unique=False)
    op.create_index(op.f("ix_jobs_dataset"), "jobs", ["dataset"], unique=False)
    op.create_index("ix_jobs_owner_created", "jobs", ["owner", "created_at", "id"], unique=False)
    op.create_index("ix_jobs_owner_method", "jobs", ["owner", "method_name", "created_at", "id"], unique=False)
    op.create_table(
        "keys",
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("acts_for", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("scopes", json, nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keys")),
    )
    op.create_index("ix_keys_owner_created", "keys", ["owner", "created_at", "id"], unique=False)
    op.create_table(
        "metrics",
        sa.Column("job", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("split", sa.String(length=16), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Double(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("job", "name", "split", "step", name=op.f("pk_metrics")),
    )
    op.create_table(
        "models",
        sa.Column("adapter", sa.String(length=64), nullable=True),
        sa.Column("job", sa.String(length=40), nullable=False),
        sa.Column("checkpoint", sa.String(length=40), nullable=True),
        sa.Column("dataset", sa.String(length=40), nullable=False),
        sa.Column("evaluation", json, nullable=True),
        sa.Column("transfer", json, nullable=True),
        sa.Column("network", json, nullable=False),
        sa.Column("input", json, nullable=True),
        sa.Column("classes", json, nullable=True),
        sa.Column("multi_label", sa.Boolean(), nullable=False),
        sa.Column("recipe", json, nullable=True),
        sa.Column("parameters", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("weights", sa.String(length=64), nullable=True),
        sa.Column("graph", sa.String(length=64), nullable=True),
        sa.Column("not_servable", sa.Text(), nullable=True),
        sa.Column("metadata", json, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("job", name=op.f("uq_models_job")),
    )
    op.create_index("ix_models_owner_created", "models", ["owner", "created_at", "id"], unique=False)
    op.create_table(
        "networks",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("input", json, nullable=True),
        sa.Column("options", json, nullable=False),
        sa.Column("pretrained", json, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_networks")),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("requested", sa.String(length=16), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("lease_token", sa.String(length=40), nullable=True),
        sa.Column("lease_expires_at", sa.Double(), nullable=True),
        sa.Column("worker", sa.String(length=40), nullable=True),
        sa.Column("available_at", sa.Double(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("total_steps", sa.Integer(), nullable=True),
        sa.Column("eta_s", sa.Double(), nullable=True),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("snapshot", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
    )
    op.create_index("ix_tasks_claim", "tasks", ["lane", "owner", "status", "seq"], unique=False)
    op.create_index("ix_tasks_lease", "tasks", ["status", "lease_expires_at"], unique=False)
    op.create_index("ix_tasks_position", "tasks", ["lane", "status", "seq"], unique=False)
    op.create_index(op.f("ix_tasks_seq"), "tasks", ["seq"], unique=False)
    op.create_table(
        "turns",
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("last_started_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("lane", "owner", name=op.f("pk_turns")),
    )
    op.create_table(
        "uploads",
        sa.Column("filename", sa.String(length=255), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("file", sa.String(length=40), nullable=True),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_index(op.f("ix_uploads_expires_at"), "uploads", ["expires_at"], unique=False)
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(length=128), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("warm", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "upload_parts",
        sa.Column("upload", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload"], ["uploads.id"], name=op.f("fk_upload_parts_upload_uploads"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("upload", "number", name=op.f("pk_upload_parts")),
    )


def downgrade() -> None:
    op.drop_table("upload_parts")
    op.drop_table("workers")
    op.drop_index(op.f("ix_uploads_expires_at"), table_name="uploads")
    op.drop_table("uploads")
    op.drop_table("turns")
    op.drop_index(op.f("ix_tasks_seq"), table_name="tasks")
    op.drop_index("ix_tasks_position", table_name="tasks")
    op.drop_index("ix_tasks_lease", table_name="tasks")
    op.drop_index("ix_tasks_claim", table_name="tasks")
    op.drop_table("tasks")
    op.drop_table("networks")
    op.drop_index("ix_models_owner_created", table_name="models")
    op.drop_table("models")
    op.drop_table("metrics")
    op.drop_index("ix_keys_owner_created", table_name="keys")
    op.drop_table("keys")
    op.drop_index("ix_jobs_owner_method", table_name="jobs")
    op.drop_index("ix_jobs_owner_created", table_name="jobs")
    op.drop_index(op.f("ix_jobs_dataset"), table_name="jobs")
    op.drop_index(op.f("ix_jobs_checkpoint"), table_name="jobs")
    op.drop_table("jobs")
    op.drop_index(op.f("ix_idempotent_requests_claimed_at"), table_name="idempotent_requests")
    op.drop_table("idempotent_requests")
    op.drop_index(op.f("ix_files_sha256"), table_name="files")
    op.drop_index("ix_files_owner_created", table_name="files")
    op.drop_table("files")
    op.drop_index("ix_events_subject_seq", table_name="events")
    op.drop_table("events")
    op.drop_index(op.f("ix_dependencies_needs"), table_name="dependencies")
    op.drop_table("dependencies")
    op.drop_index("ix_datasets_owner_created", table_name="datasets")
    op.drop_table("datasets")
    op.drop_index("ix_checkpoints_owner_created", table_name="checkpoints")
    op.drop_table("checkpoints")
