"""Complaints, refused changes, totals, last ticks, and the cursor that moves with them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_BIG = sa.BigInteger()
_PLACE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """All tables of the first version."""
    op.create_table(
        "complaint",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("pointers", sa.LargeBinary(), nullable=False),
        sa.UniqueConstraint("key"),
    )
    op.create_table(
        "refused",
        sa.Column("idx", _PLACE, primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("agency", sa.String(), nullable=False),
        sa.Column("seq", _BIG, nullable=False),
        sa.Column("change_id", sa.String(), nullable=False),
        sa.Column("verdict", sa.Integer(), nullable=False),
    )
    op.create_index("refused_by_agency", "refused", ["agency", "seq"])
    op.create_table(
        "total",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("count", _BIG, nullable=False),
    )
    op.create_table(
        "last_heard",
        sa.Column("agency", sa.String(), primary_key=True),
        sa.Column("tick_ms", _BIG),
    )
    op.create_table(
        "cursor",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("size", _BIG, nullable=False),
        sa.Column("state_hash", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at_ms", _BIG, nullable=False),
    )
