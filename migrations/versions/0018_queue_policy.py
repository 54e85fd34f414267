"""Tasks have a rank among those of their owner, and may run for so long at most."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("rank", sa.Integer(), server_default="0", nullable=False))
    op.add_column("tasks", sa.Column("max_seconds", sa.Double(), nullable=True))
    op.add_column("tasks", sa.Column("ran_s", sa.Double(), server_default="0", nullable=False))
    op.drop_index("ix_tasks_claim", table_name="tasks")
    op.create_index("ix_tasks_claim", "tasks", ["lane", "owner", "status", "blocked", "rank", "seq"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_tasks_claim", table_name="tasks")
    op.create_index("ix_tasks_claim", "tasks", ["lane", "owner", "status", "blocked", "seq"], unique=False)
    for column in ("ran_s", "max_seconds", "rank"):
        op.drop_column("tasks", column)
