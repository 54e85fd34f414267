"""Splits of metrics may have longer names: `source_validation` has 17 characters, and PostgreSQL counts them."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("metrics") as metrics:
        metrics.alter_column("split", type_=sa.String(64), existing_type=sa.String(16), existing_nullable=False)


def downgrade() -> None:
    """Points whose split has a longer name than the older schema knows are lost."""
    op.execute(sa.text("DELETE FROM metrics WHERE length(split) > 16"))
    with op.batch_alter_table("metrics") as metrics:
        metrics.alter_column("split", type_=sa.String(16), existing_type=sa.String(64), existing_nullable=False)
