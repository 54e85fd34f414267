"""Keys know which key made them, and how many requests a minute they are good for."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("keys", sa.Column("made_by", sa.String(40), nullable=True))
    op.add_column("keys", sa.Column("rate_limit", sa.Integer(), nullable=True))
    op.create_index("ix_keys_made_by", "keys", ["made_by"], unique=False)
    op.create_table(
        "rates",
        sa.Column("key", sa.String(40), nullable=False),
        sa.Column("spent_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_rates"),
    )


def downgrade() -> None:
    op.drop_table("rates")
    op.drop_index("ix_keys_made_by", table_name="keys")
    op.drop_column("keys", "rate_limit")
    op.drop_column("keys", "made_by")
