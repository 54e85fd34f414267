"""Answers of models for validation images, which later answers are compared with."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    for table in ("checkpoints", "models"):
        op.add_column(table, sa.Column("reference", json, nullable=True))


def downgrade() -> None:
    for table in ("checkpoints", "models"):
        op.drop_column(table, "reference")
