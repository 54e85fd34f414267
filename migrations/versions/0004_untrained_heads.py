"""Checkpoints and models whose head was drawn at random are known as such."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

HELD = ("checkpoints", "models")


def upgrade() -> None:
    for table in HELD:
        op.add_column(table, sa.Column("untrained_head", sa.Boolean(), server_default=sa.text("false"), nullable=False))


def downgrade() -> None:
    for table in HELD:
        op.drop_column(table, "untrained_head")
