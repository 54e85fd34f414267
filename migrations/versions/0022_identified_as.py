"""Identifications may be told what input and classes the network is for."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    for column in ("input", "classes"):
        op.add_column("identifications", sa.Column(column, json, nullable=True))


def downgrade() -> None:
    for column in ("input", "classes"):
        op.drop_column("identifications", column)
