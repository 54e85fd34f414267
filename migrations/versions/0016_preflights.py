"""Preflights: what jobs take, as a worker has measured it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "preflights",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("request", json, nullable=False),
        sa.Column("key", sa.String(64), nullable=True),
        sa.Column("place", sa.String(400), nullable=True),
        sa.Column("result", json, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_preflights"),
    )
    op.create_index("ix_preflights_owner_key", "preflights", ["owner", "key", "created_at"])


def downgrade() -> None:
    op.drop_table("preflights")
