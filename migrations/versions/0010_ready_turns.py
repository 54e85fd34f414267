"""A claim finds the next owner by an index, and what waits for others is passed over by one."""

import sqlalchemy as sa
from alembic import op

from app.db.session import now

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

UNMET = """EXISTS (SELECT 1 FROM dependencies d JOIN tasks n ON n.id = d.needs
    WHERE d.dependent = tasks.id AND n.status <> 'succeeded')"""
READY = """EXISTS (SELECT 1 FROM tasks t
    WHERE t.lane = turns.lane AND t.owner = turns.owner AND t.status = 'queued' AND NOT t.blocked)"""


def upgrade() -> None:
    for column in ("blocked", "cascading"):
        op.add_column("tasks", sa.Column(column, sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("turns", sa.Column("ready_at", sa.Double(), nullable=True))
    op.drop_index("ix_tasks_claim", table_name="tasks")
    op.create_index("ix_tasks_claim", "tasks", ["lane", "owner", "status", "blocked", "seq"], unique=False)
    op.execute(f"UPDATE tasks SET blocked = true WHERE status IN ('queued', 'paused') AND {UNMET}")
    clock = str(now().compile(dialect=op.get_bind().dialect))
    op.execute(f"UPDATE turns SET ready_at = {clock} WHERE {READY}")
    op.create_index(
        "ix_tasks_cascading",
        "tasks",
        ["id"],
        unique=False,
        sqlite_where=sa.text("cascading = 1"),
        postgresql_where=sa.text("cascading"),
    )
    op.create_index(
        "ix_turns_ready",
        "turns",
        ["lane", "last_started_at", "owner"],
        unique=False,
        sqlite_where=sa.text("ready_at IS NOT NULL"),
        postgresql_where=sa.text("ready_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_turns_ready", table_name="turns")
    op.drop_index("ix_tasks_cascading", table_name="tasks")
    op.drop_index("ix_tasks_claim", table_name="tasks")
    op.create_index("ix_tasks_claim", "tasks", ["lane", "owner", "status", "seq"], unique=False)
    op.drop_column("turns", "ready_at")
    for column in ("cascading", "blocked"):
        op.drop_column("tasks", column)
