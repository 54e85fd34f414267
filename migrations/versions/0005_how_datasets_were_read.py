"""Datasets say whether tests alone have labels, and which of their pictures they have more than once."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    labelled: sa.Column[bool] = sa.Column(
        "only_tests_labelled", sa.Boolean(), server_default=sa.text("false"), nullable=False
    )
    op.add_column("datasets", labelled)
    op.add_column("datasets", sa.Column("duplicates", json, nullable=True))


def downgrade() -> None:
    op.drop_column("datasets", "duplicates")
    op.drop_column("datasets", "only_tests_labelled")
