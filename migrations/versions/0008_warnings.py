"""Objects show their warnings: those that events have told so far are gathered."""

from collections import defaultdict

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

Json = sa.JSON().with_variant(JSONB(), "postgresql")
MAX_WARNINGS = 50
OF_THE_QUEUE = ("requeued", "queued", "running", "succeeded", "failed", "cancelled", "paused")  # moves, not warnings


def upgrade() -> None:
    for table in ("tasks", "models"):
        op.add_column(table, sa.Column("warnings", Json, nullable=False, server_default="[]"))
    events = sa.table("events", sa.column("seq"), *map(sa.column, ("subject", "level", "type", "message")))
    told = sa.select(events.c.subject, events.c.type, events.c.message).order_by(events.c.seq)
    told = told.where(events.c.level == "warning", events.c.type.not_in(OF_THE_QUEUE))
    connection = op.get_bind()
    warnings: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for subject, type_, message in connection.execute(told):
        warning = {"code": type_, "message": message}
        if warning not in warnings[subject] and len(warnings[subject]) < MAX_WARNINGS:
            warnings[subject].append(warning)
    for table, subject_column in (("tasks", "id"), ("models", "job")):
        rows = sa.table(table, sa.column(subject_column), sa.column("warnings", Json))
        for subject, found in warnings.items():
            connection.execute(sa.update(rows).where(rows.c[subject_column] == subject).values(warnings=found))


def downgrade() -> None:
    for table in ("models", "tasks"):
        op.drop_column(table, "warnings")
