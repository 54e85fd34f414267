"""Revisions of datasets: their parents, what became of the labels, and the bytes of pixels that they share."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("datasets", sa.Column("parent", sa.String(40), nullable=True))
    op.add_column("datasets", sa.Column("revision", json, nullable=True))
    op.add_column("datasets", sa.Column("shared_bytes", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    for column in ("shared_bytes", "revision", "parent"):
        op.drop_column("datasets", column)
