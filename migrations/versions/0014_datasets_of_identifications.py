"""A labelled dataset decides between networks that a file fits alike."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("identifications", sa.Column("dataset", sa.String(40), nullable=True))


def downgrade() -> None:
    op.drop_column("identifications", "dataset")
