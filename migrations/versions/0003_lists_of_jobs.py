"""Lists of jobs of one status, checkpoint or dataset are as fast as lists of all."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in ("checkpoint", "dataset"):
        op.drop_index(f"ix_jobs_{column}", table_name="jobs")
        op.create_index(f"ix_jobs_{column}", "jobs", [column, "owner", "created_at", "id"], unique=False)
    op.create_index("ix_tasks_owner_status", "tasks", ["owner", "kind", "status", "created_at", "id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_tasks_owner_status", table_name="tasks")
    for column in ("checkpoint", "dataset"):
        op.drop_index(f"ix_jobs_{column}", table_name="jobs")
        op.create_index(f"ix_jobs_{column}", "jobs", [column], unique=False)
