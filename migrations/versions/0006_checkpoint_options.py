"""Options of checkpoints: what a request said of how its file is to be read."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("checkpoints", sa.Column("options", json, nullable=True))


def downgrade() -> None:
    op.drop_column("checkpoints", "options")
