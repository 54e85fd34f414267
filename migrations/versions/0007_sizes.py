"""Sizes of objects: bytes that they store, and memory that their networks take for each image.

Of objects that are there already neither is known: they count as nothing, and as a guess.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STORED = ("checkpoints", "datasets", "models")
SERVED = ("checkpoints", "models")


def upgrade() -> None:
    for table in STORED:
        op.add_column(table, sa.Column("stored_bytes", sa.BigInteger(), server_default="0", nullable=False))
    for table in SERVED:
        op.add_column(table, sa.Column("image_bytes", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    for table in SERVED:
        op.drop_column(table, "image_bytes")
    for table in STORED:
        op.drop_column(table, "stored_bytes")
