"""Identifications: what files of weights were found to be of, with a checkpoint made of them or without."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("checkpoints", sa.Column("identified", json, nullable=True))
    op.create_table(
        "identifications",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("file", sa.String(40), nullable=False),
        sa.Column("result", json, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_identifications"),
    )


def downgrade() -> None:
    op.drop_table("identifications")
    op.drop_column("checkpoints", "identified")
