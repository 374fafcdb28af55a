"""What a restored hub gathers to take back into its log, and sets whose lines are missing (protocol §10.6)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger()
_PLACE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Three tables, empty but after a disaster."""
    op.create_table(
        "recovered_leaf",
        sa.Column("idx", _PLACE, primary_key=True),
        sa.Column("agency", sa.String(), index=True),
        sa.Column("seq", _BIG),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.Column("changes_frame", sa.LargeBinary()),
        sa.Column("contents_frame", sa.LargeBinary()),
        sa.Column("hidden", sa.Integer(), nullable=False),
    )
    op.create_table(
        "recovered_checkpoint",
        sa.Column("size", _PLACE, primary_key=True),
        sa.Column("note", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "missing_set",
        sa.Column("idx", _PLACE, primary_key=True),
        sa.Column("agency", sa.String(), nullable=False, index=True),
        sa.Column("seq", _BIG, nullable=False),
    )
