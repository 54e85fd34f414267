"""Recommendations: what to try on a dataset, what was measured for it, and the jobs that came of it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "recommendations",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("dataset", sa.String(40), nullable=False),
        sa.Column("source_dataset", sa.String(40), nullable=True),
        sa.Column("request", json, nullable=False),
        sa.Column("planned", json, nullable=True),
        sa.Column("result", json, nullable=True),
        sa.Column("jobs", json, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_recommendations"),
    )
    op.create_index("ix_recommendations_owner_created", "recommendations", ["owner", "created_at", "id"])


def downgrade() -> None:
    op.drop_table("recommendations")
