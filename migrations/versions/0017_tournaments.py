"""Tournaments and sweeps: jobs that race on a dataset, and where each of them pauses."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "tournaments",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(256), nullable=True),
        sa.Column("dataset", sa.String(40), nullable=False),
        sa.Column("request", json, nullable=False),
        sa.Column("standings", json, nullable=False),
        sa.Column("metadata", json, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tournaments"),
    )
    op.create_index("ix_tournaments_owner_created", "tournaments", ["owner", "kind", "created_at", "id"])
    op.add_column("jobs", sa.Column("tournament", sa.String(40), nullable=True))
    op.add_column("jobs", sa.Column("pause_after", sa.Double(), nullable=True))
    op.create_index("ix_jobs_tournament", "jobs", ["tournament"])


def downgrade() -> None:
    op.drop_index("ix_jobs_tournament", "jobs")
    op.drop_column("jobs", "pause_after")
    op.drop_column("jobs", "tournament")
    op.drop_table("tournaments")
