"""Models that are served in eight bits, too."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("models", sa.Column("quantized", sa.String(length=64), nullable=True))
    op.add_column("models", sa.Column("quantization", json, nullable=True))


def downgrade() -> None:
    op.drop_column("models", "quantization")
    op.drop_column("models", "quantized")
